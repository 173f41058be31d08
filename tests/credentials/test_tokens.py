"""A token of 1,800 characters as the password, which the server asks for in clear: over TLS, and not without."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL, Engine, text
from sqlalchemy.exc import DBAPIError

from sqlalchemy_holdfast import HoldfastError, Password
from sqlalchemy_holdfast.lab import Server
from tests.conftest import EngineFactory, read

PLUGIN = Path(__file__).with_name("clear_text.c")
USER = "iam"
PIECE = secrets.token_hex(45)
TOKEN = PIECE * 20


@pytest.fixture(scope="module")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the plugin, built by the compiler that mysqlclient needs as well."""
    directory = tmp_path_factory.mktemp("plugins")
    target = directory / "clear_text.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-Wall", "-Werror", "-o", str(target), str(PLUGIN)], check=True)
    return directory


def serve(plugins: Path, *, tls: bool) -> Iterator[Server]:
    with Server(tls=tls, options={"plugin_dir": str(plugins)}) as server:
        server.execute("INSTALL SONAME 'clear_text'")
        server.execute(f"CREATE USER {USER} IDENTIFIED VIA clear_text USING %s", (PIECE,))
        server.execute(f"GRANT ALL PRIVILEGES ON test.* TO {USER}")
        yield server


@pytest.fixture(scope="module")
def cloud(plugins: Path) -> Iterator[Server]:
    """A server that asks for a token, as clouds have them."""
    yield from serve(plugins, tls=True)


@pytest.fixture(scope="module")
def thief(plugins: Path) -> Iterator[Server]:
    """One that asks for it, and has no TLS."""
    yield from serve(plugins, tls=False)


def url(server: Server, driver: str, ca: str | None) -> URL:
    """As the documentation has it."""
    query = {"ssl_ca": ca} if ca is not None else {}
    if driver == "mysqldb" and ca is not None:
        query["ssl_mode"] = "VERIFY_IDENTITY"
    return server.url(driver, user=USER, password="", query=query)


def version_of_tls(engine: Engine) -> str:
    with engine.connect() as connection:
        return str(connection.execute(text("SHOW STATUS LIKE 'Ssl_version'")).one()[1])


def test_a_token_of_1800_characters_logs_in_over_tls(cloud: Server, driver: str, held: EngineFactory) -> None:
    assert len(TOKEN) == 1800
    asked = []

    def ask() -> Password:
        asked.append(1)
        return Password(TOKEN, 900)

    engine = held(url(cloud, driver, cloud.tls_ca), holdfast_password=ask)
    for number in range(3):
        assert read(engine, number) == number
        engine.dispose()
    assert version_of_tls(engine).startswith("TLS")
    assert len(asked) == 1


def test_a_token_with_holdfasts_own_words_for_tls(
    cloud: Server, thief: Server, driver: str, held: EngineFactory
) -> None:
    """What holdfast_tls asks of the driver counts as well, and the token is not sent before it is known."""
    tls: dict[str, Any] = {"holdfast_tls": "verify-identity", "holdfast_tls_ca": cloud.tls_ca}
    engine = held(url(cloud, driver, None), holdfast_password=lambda: TOKEN, **tls)
    assert version_of_tls(engine).startswith("TLS")
    before = thief.status("Access_denied_errors")
    with pytest.raises((DBAPIError, HoldfastError)) as caught:
        read(held(url(thief, driver, None), holdfast_password=lambda: TOKEN, **tls))
    assert "TLS" in str(caught.value) or "SSL" in str(caught.value)
    assert thief.status("Access_denied_errors") == before


@pytest.mark.parametrize("mode", ["preferred", "required"])
def test_what_is_advised_for_a_token_goes_with_holdfasts_own_words_for_tls(
    thief: Server, driver: str, held: EngineFactory, mode: str
) -> None:
    """The drivers' words for TLS are refused beside holdfast_tls."""
    with pytest.raises((DBAPIError, HoldfastError)) as caught:
        read(held(url(thief, driver, None), holdfast_password=lambda: TOKEN, holdfast_tls=mode))
    assert not any(word in str(caught.value) for word in ("ssl_mode", "ssl_ca="))


def test_a_token_that_has_run_out_is_asked_for_again(cloud: Server, driver: str, held: EngineFactory) -> None:
    tokens = [TOKEN, TOKEN[:-1] + "!"]
    engine = held(url(cloud, driver, cloud.tls_ca), holdfast_password=lambda: Password(tokens.pop(), 900))
    assert read(engine, 7) == 7
    assert tokens == []


def sent_in_clear(engine: Engine) -> bool:
    """Whether the token was sent: then the server lets its owner in."""
    try:
        read(engine)
    except DBAPIError as error:
        said = str(error)
    else:
        return True
    assert TOKEN not in said
    assert "TLS" in said or "SSL" in said
    return False


def test_a_token_is_not_sent_without_tls(thief: Server, driver: str, held: EngineFactory) -> None:
    """To whoever asks for it: not by default, and not where the application wants TLS and the server has none."""
    wanting: dict[str, dict[str, str]] = {"mysqldb": {"ssl_mode": "REQUIRED"}, "mysqlconnector": {"ssl_disabled": "1"}}
    for query in ({}, wanting.get(driver, {})):
        address = url(thief, driver, None).update_query_dict(query)
        assert not sent_in_clear(held(address, holdfast_password=lambda: TOKEN))


def test_without_holdfasts_setting_two_drivers_would_send_it(thief: Server, driver: str, stock: EngineFactory) -> None:
    """Why holdfast looks: a driver that has learned to refuse needs no help any more."""
    engine = stock(url(thief, driver, None).set(password=TOKEN))
    assert sent_in_clear(engine) is (driver != "mysqlconnector")


def test_an_applications_own_plugin_decides(thief: Server, held: EngineFactory) -> None:
    class Sends:
        def __init__(self, connection: Any) -> None:
            self.connection = connection

        def authenticate(self, packet: Any) -> Any:
            self.connection.write_packet(self.connection.password + b"\0")
            return self.connection._read_packet()

    own = {"auth_plugin_map": {"mysql_clear_password": Sends}}
    engine = held(url(thief, "pymysql", None), connect_args=own, holdfast_password=lambda: TOKEN)
    assert read(engine, 7) == 7


@pytest.mark.parametrize("driver", ["mysqldb", "pymysql"])
def test_a_unix_socket_needs_no_tls(thief: Server, driver: str, held: EngineFactory) -> None:
    address = thief.url(driver, user=USER, password="", transport="unix")
    assert read(held(address, holdfast_password=lambda: TOKEN), 7) == 7
