"""The set-ups in which a client can find a server's TLS, on both servers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sqlalchemy_holdfast.lab import Server
from sqlalchemy_holdfast.lab.database import _tls
from tests.conftest import MYSQLD

SETUPS = ("no TLS", "valid", "wrong-name", "expired", "self-signed", "TLS only")
"""No TLS; the kinds of certificates that the lab has; and a server that lets nobody in without TLS."""


@dataclass(frozen=True)
class Place:
    """A server in one of the set-ups."""

    setup: str
    server: Server
    ca: str
    """The certificate of the authority that has signed the server's, if any has."""
    other_ca: str
    """The certificate of another one."""

    @property
    def is_mysql(self) -> bool:
        return self.server.flavour == "mysql"


@pytest.fixture(scope="session")
def mysql_tls_server() -> Iterator[Server]:
    if MYSQLD is None:
        pytest.skip("HOLDFAST_LAB_MYSQLD names no MySQL server")
    with Server(executable=MYSQLD, tls=True) as server:
        yield server


@pytest.fixture(scope="session")
def other_ca(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("authority")
    _tls.make_certificates(Path(folder))
    return str(folder / "ca.pem")


PLACES = [pytest.param(("mariadb", setup), id=f"mariadb-{setup}") for setup in SETUPS] + [
    pytest.param(("mysql", setup), id=f"mysql-{setup}", marks=pytest.mark.mysql) for setup in SETUPS
]


@pytest.fixture(scope="module", params=PLACES)
def place(request: pytest.FixtureRequest, other_ca: str) -> Iterator[Place]:
    flavour, setup = request.param
    prefix = "mysql_" if flavour == "mysql" else ""
    secure: Server = request.getfixturevalue(f"{prefix}tls_server")
    assert secure.tls_ca is not None
    if setup == "no TLS":
        yield Place(setup, request.getfixturevalue(f"{prefix}server"), secure.tls_ca, other_ca)
        return
    kind: _tls.Certificate = "valid" if setup == "TLS only" else setup
    if kind != "valid":
        secure.use_certificate(kind)
    if setup == "TLS only":
        secure.execute("SET GLOBAL require_secure_transport = 1")
    yield Place(setup, secure, secure.tls_ca, other_ca)
    secure.execute("SET GLOBAL require_secure_transport = 0")
    if kind != "valid":
        secure.use_certificate("valid")


@pytest.fixture(scope="session")
def secure(tls_server: Server) -> Server:
    """A server with TLS and a valid certificate."""
    assert tls_server.tls_ca is not None
    return tls_server
