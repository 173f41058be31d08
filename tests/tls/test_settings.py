"""What holdfast_tls contradicts is refused when the engine is made, with what to do instead."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast import SettingError
from sqlalchemy_holdfast.lab import Server
from sqlalchemy_holdfast.server.tls import MODES

PLACE = "127.0.0.1:1/test?plugin=holdfast"
"""Never connected to."""


def make(driver: str = "pymysql", query: str = "", **options: Any) -> Any:
    return create_engine(f"mysql+{driver}://app:app@{PLACE}{query}", **options)


def refusal(*given: Any, **options: Any) -> str:
    with pytest.raises(SettingError) as caught:
        make(*given, **options)
    return str(caught.value)


def test_each_mode_is_accepted_in_any_case_and_off_as_false(secure: Server) -> None:
    for mode in MODES:
        options: dict[str, Any] = {"holdfast_tls_ca": secure.tls_ca} if mode == "verify-ca" else {}
        assert holdfast.status(make(holdfast_tls=mode.upper(), **options)).settings.tls == mode
    assert holdfast.status(make(holdfast_tls=False)).settings.tls == "off"
    assert holdfast.status(make(holdfast_tls=None, holdfast_tls_ca=None)).settings.tls is None


@pytest.mark.parametrize("wrong", ["true", "yes", "require", "verify_ca", "verify-full", "REQUIRED;", 1, True, ["off"]])
def test_another_word_is_refused_with_all_of_them(wrong: Any) -> None:
    said = refusal(holdfast_tls=wrong)
    assert (
        "holdfast_tls takes off, preferred, required, verify-ca or verify-identity. Without it, the driver decides."
        in said
    )
    assert ("write required." in said) is (wrong in ("true", "yes", 1, True))


@pytest.mark.parametrize("mode", [None, "off", "preferred", "required"])
@pytest.mark.parametrize("ca", ["system", "a file"])
def test_an_authority_needs_a_mode_that_verifies(secure: Server, mode: str | None, ca: str) -> None:
    said = refusal(holdfast_tls=mode, holdfast_tls_ca=secure.tls_ca if ca == "a file" else ca)
    assert "has no effect" in said
    assert "Set holdfast_tls=verify-identity, or remove holdfast_tls_ca." in said


def test_verify_ca_needs_a_file_because_a_public_authority_signs_for_everybody() -> None:
    assert "holdfast_tls=verify-ca needs holdfast_tls_ca=<path" in refusal(holdfast_tls="verify-ca")
    said = refusal(holdfast_tls="verify-ca", holdfast_tls_ca="system")
    assert "would accept everybody's certificate" in said
    assert "Set holdfast_tls=verify-identity." in said


def test_a_file_that_is_not_there_or_holds_no_certificate(secure: Server, tmp_path: Path) -> None:
    verify = {"holdfast_tls": "verify-identity"}
    said = refusal(**verify, holdfast_tls_ca=str(tmp_path / "ca.pem"))
    assert f"holdfast_tls_ca={tmp_path}/ca.pem cannot be read: No such file or directory." in said
    assert "the file with the certificate of the authority" in said
    assert "cannot be read" in refusal(**verify, holdfast_tls_ca=tmp_path)
    for name, content in (("empty", ""), ("words", "not a certificate"), ("key", "-----BEGIN PRIVATE KEY-----\n")):
        (tmp_path / name).write_text(content)
        assert "holds no certificate in PEM form" in refusal(**verify, holdfast_tls_ca=tmp_path / name)
    for wrong in (5, b"/ca.pem", True, "", "a\0b"):
        assert "takes the path of a file, or system" in refusal(**verify, holdfast_tls_ca=wrong)


def test_a_relative_path_is_what_it_was_when_the_engine_was_made(
    secure: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(secure.directory)
    engine = make(holdfast_tls="verify-identity", holdfast_tls_ca="ca.pem")
    assert holdfast.status(engine).settings.tls_ca == os.path.realpath(secure.directory / "ca.pem")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("driver", "query", "connect_args", "named"),
    [
        ("pymysql", f"&ssl_ca={__file__}", {}, "ssl_ca"),
        ("mysqldb", "&ssl_mode=REQUIRED", {}, "ssl_mode"),
        ("mysqldb", "", {"ssl": {"ca": "/ca.pem"}}, "ssl"),
        ("mysqldb", "", {"ssl": True}, "ssl"),
        ("mysqlconnector", "&ssl_verify_cert=true", {}, "ssl_verify_cert"),
        ("pymysql", "", {"ssl_verify_identity": True}, "ssl_verify_identity"),
        ("pymysql", "&ssl_check_hostname=false", {}, "ssl_check_hostname"),
    ],
    ids=str,
)
def test_the_drivers_own_words_for_the_same(
    secure: Server, mode: str, driver: str, query: str, connect_args: dict[str, Any], named: str
) -> None:
    ca = {"holdfast_tls_ca": secure.tls_ca} if mode.startswith("verify") else {}
    said = refusal(driver, query, connect_args=connect_args, holdfast_tls=mode, **ca)
    assert f"holdfast_tls={mode} and {named} both say how TLS is used" in said
    assert f"remove {named}." in said


def test_a_client_certificate_contradicts_off_alone(secure: Server) -> None:
    own = f"&ssl_cert={__file__}&ssl_key={__file__}"
    make("pymysql", own, holdfast_tls="required")
    make("mysqldb", "", connect_args={"ssl": {"cert": "/cert.pem", "key": "/key.pem"}}, holdfast_tls="required")
    assert "holdfast_tls=off and ssl_cert, ssl_key both" in refusal("pymysql", own, holdfast_tls="off")


def test_an_engine_that_is_not_held_cannot_keep_it() -> None:
    said = refusal(holdfast_tls="required", holdfast_enabled=False)
    assert "holdfast_tls=required cannot be kept for mysql+pymysql://127.0.0.1:1/test, which is not held" in said
    assert "ask the driver for TLS in its own words" in said
    assert "is not one that holdfast knows" in refusal("cymysql", holdfast_tls="required")
    make("pymysql", holdfast_enabled=False)
    create_engine("sqlite://?plugin=holdfast", holdfast_tls="required")  # as every setting: it is of no concern there


def test_a_driver_that_is_not_known_is_refused_when_it_comes_from_a_creator(secure: Server) -> None:
    import cymysql

    def connect() -> Any:
        return cymysql.connect(host=secure.host, port=secure.port, user="app", passwd="app", db="test")

    engine = make(creator=connect, holdfast_tls="required")
    with pytest.raises(holdfast.TLSError, match=r"a connection of class cymysql\.connections\.Connection was not used"):
        engine.connect()
