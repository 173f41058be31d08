"""A Server offers TLS when it is asked to, with a certificate that holds, and else none."""

from __future__ import annotations

import re
import socket
import ssl
import threading
from pathlib import Path

import pymysql
import pytest
from sqlalchemy import create_engine, text

from sqlalchemy_holdfast.lab import Server
from sqlalchemy_holdfast.lab.database import _tls
from tests.lab.helpers import connect


def test_tls_is_offered_and_its_certificate_holds(tls_server: Server, driver: str) -> None:
    assert tls_server.tls_ca is not None
    engine = create_engine(tls_server.url(driver, query={"ssl_ca": tls_server.tls_ca}))
    with engine.connect() as connection:
        assert connection.execute(text("SHOW STATUS LIKE 'Ssl_cipher'")).one()[1] != ""
    engine.dispose()


def test_without_tls_none_is_offered(server: Server) -> None:
    assert server.tls_ca is None
    with pytest.raises(pymysql.err.OperationalError):
        connect("pymysql", server.host, server.port, ssl={"check_hostname": False, "verify_mode": "none"})


EXPECTED = {
    "valid": "",
    "wrong-name": "mismatch",
    "expired": "has expired",
    "self-signed": "self-signed certificate|self signed certificate",
}


@pytest.mark.slow
@pytest.mark.parametrize("make", [_tls._with_cryptography, _tls._with_openssl])
def test_certificates_of_either_make_have_the_one_thing_wrong_that_they_are_named_for(
    make: object, tmp_path: Path
) -> None:
    assert callable(make)
    make(tmp_path)
    assert set(EXPECTED) == set(_tls.CERTIFICATES)
    for kind in _tls.CERTIFICATES:
        _tls.use_certificate(tmp_path, kind)
        for name in ("127.0.0.1", "localhost"):
            said = handshake(tmp_path, name)
            assert re.search(EXPECTED[kind], said) if EXPECTED[kind] else said == "", (kind, said)


def handshake(folder: Path, name: str) -> str:
    """What a client that trusts the folder's authority says of its certificate; nothing when it is content."""
    accepting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    accepting.load_cert_chain(folder / "server-cert.pem", folder / "server-key.pem")
    near, far = socket.socketpair()
    context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    if hasattr(ssl, "VERIFY_X509_STRICT"):
        context.verify_flags |= ssl.VERIFY_X509_STRICT  # the default from Python 3.13 on

    def accept() -> None:
        try:
            accepting.wrap_socket(far, server_side=True).close()
        except OSError:
            far.close()

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        with context.wrap_socket(near, server_hostname=name) as client:
            assert client.version() in ("TLSv1.2", "TLSv1.3")
            return ""
    except ssl.SSLError as error:
        return str(error)
    finally:
        near.close()
        thread.join()


def test_a_certificate_that_nobody_knows_is_refused(server: Server) -> None:
    with pytest.raises(ValueError, match="is none of valid, wrong-name, expired, self-signed"):
        Server(tls="perfect")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="offers no TLS"):
        server.use_certificate("valid")


@pytest.mark.mysql
@pytest.mark.slow
def test_mysql_offers_tls_when_asked(mysql_server: Server, driver: str) -> None:
    with Server(tls=True, executable=mysql_server._executable.path) as server:
        assert server.tls_ca is not None
        engine = create_engine(server.url(driver, query={"ssl_ca": server.tls_ca}))
        with engine.connect() as connection:
            assert connection.execute(text("SHOW STATUS LIKE 'Ssl_cipher'")).one()[1] != ""
        engine.dispose()
