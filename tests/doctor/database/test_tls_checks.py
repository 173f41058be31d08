"""The connection's encryption: each check finds it."""

from __future__ import annotations

import shlex
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sqlalchemy_holdfast.doctor import Severity
from sqlalchemy_holdfast.doctor.facts import TlsFacts
from sqlalchemy_holdfast.lab import Server
from tests.conftest import MYSQLD
from tests.doctor.database.examining import account, examine, facts_of, found, held_url, silent, with_connect

pytestmark = pytest.mark.slow


def own_address() -> str:
    """An address of this machine's that is not only its own."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("198.51.100.1", 9))  # nothing is sent
            found = str(sock.getsockname()[0])
        except OSError:
            found = "127.0.0.1"
    if found.startswith("127."):
        pytest.skip("this machine has no network")
    return found


@pytest.fixture(scope="module")
def in_a_network() -> Iterator[Server]:
    with Server(options={"bind_address": "0.0.0.0"}, tls=True) as server:
        yield server


def test_a_connection_in_clear(in_a_network: Server) -> None:
    address = own_address()
    clear = {"ssl_disabled": "1"}
    url = held_url(in_a_network, host=address, query=clear)
    seen = facts_of(url)
    assert seen.connect is not None
    assert seen.connect.network in ("private", "public")
    found("HF110", examine(url), f"The connection to {address} is not encrypted")
    found("HF110", with_connect(seen, peer="203.0.113.9"), severity=Severity.NOTE)  # no address of anybody's
    found("HF110", with_connect(seen, peer="8.8.8.8"), severity=Severity.WARNING)
    silent("HF110", examine(held_url(in_a_network, query=clear)))  # 127.0.0.1
    silent("HF110", examine(held_url(in_a_network, transport="unix", query=clear)))
    encrypted = held_url(in_a_network, host=address, query={"ssl_ca": in_a_network.tls_ca, "ssl_check_hostname": "0"})
    silent("HF110", examine(encrypted))


def test_a_certificate_that_nobody_checks(in_a_network: Server, driver: str) -> None:
    wanted = {"holdfast_tls": "required"}
    url = held_url(in_a_network, driver, host=own_address(), query=wanted)
    found("HF111", examine(url), "TLSv1.3", "accepts any certificate")
    checked = {"holdfast_tls": "verify-ca", "holdfast_tls_ca": str(in_a_network.tls_ca)}
    silent("HF111", examine(held_url(in_a_network, driver, host=own_address(), query=checked)))
    silent("HF111", examine(held_url(in_a_network, driver, query=wanted)))  # 127.0.0.1


def test_a_connection_that_is_less_than_was_asked_for(driver: str) -> None:
    with Server() as without:
        found("HF108", examine(held_url(without, driver, query={"holdfast_tls": "required"})))


@pytest.mark.skipif(shutil.which("openssl") is None, reason="the command openssl makes the certificate")
@pytest.mark.parametrize("executable", [None, pytest.param(MYSQLD, marks=pytest.mark.mysql, id="mysql")])
def test_a_certificate_that_ends_soon(executable: str | None, tmp_path: Path) -> None:
    key, certificate = str(tmp_path / "key.pem"), str(tmp_path / "certificate.pem")
    subprocess.run(
        [
            *shlex.split("openssl req -x509 -newkey rsa:2048 -nodes -days 9 -subj /CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key, "-out", certificate),
        ],
        check=True,
        capture_output=True,
    )
    own = {"ssl_ca": certificate, "ssl_cert": certificate, "ssl_key": key}
    with Server(executable=executable, options=own, tls=True) as server:
        report = examine(held_url(server, query={"ssl_ca": certificate}))
        found("HF112", report, "ends in 9 days", severity=Severity.WARNING)
        seen = facts_of(held_url(server, query={"ssl_ca": certificate}))
    tls = TlsFacts("TLSv1.3", "TLS_AES_256_GCM_SHA384", True, -2.0)
    found("HF112", with_connect(seen, tls=tls), "ended 2 days ago", severity=Severity.ERROR)


@pytest.mark.mysql
def test_a_login_that_needs_tls_after_a_restart() -> None:
    """mysql-connector-python is let in only as long as the server remembers the account: the doctor is right."""
    if MYSQLD is None:
        pytest.skip("HOLDFAST_LAB_MYSQLD names no MySQL server")
    with Server(executable=MYSQLD) as server, account(server) as url:
        connector = url.set(drivername="mysql+mysqlconnector").update_query_dict({"use_pure": "1"})
        found("HF117", examine(connector), "patient@% logs in with caching_sha2_password, without TLS")
        silent("HF117", examine(url))
        silent("HF117", examine(url.set(drivername="mysql+mysqldb")))
        server.execute("FLUSH PRIVILEGES")
        report = examine(connector)
        assert {"HF105", "HF108"} & {finding.id for finding in report.findings}, report.findings
