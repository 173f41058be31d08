"""holdfast_tls has one meaning: every driver, in every set-up, on both servers.

There is no connection that was not asked for."""

from __future__ import annotations

import time
from typing import Any

import MySQLdb
import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast.server.tls import MODES
from tests.conftest import EngineFactory
from tests.tls.conftest import Place

VERIFYING = ("verify-ca", "verify-identity")
NO_TLS = "the server offers no TLS"
TLS_ONLY = r"1045|the server takes only connections with TLS"  # MariaDB 10.11 says no more than 1045
UNTRUSTED = "signed by an authority that is not among the trusted ones"


NO_LOCAL_NAME = "does not look for the name of this machine itself"


WITHOUT_REASON = "the server's certificate was refused"
LIBRARY = MySQLdb.get_client_info()
"""Of mysqlclient. MariaDB's own is the only one that tells why a certificate was refused."""


def expected(place: Place, mode: str, ca: str, driver: str) -> str:
    """What a connection has (clear, nothing, authority or authority and name verified), or what its refusal says."""
    setup = place.setup
    if setup == "no TLS":
        return "clear" if mode in ("off", "preferred") else NO_TLS
    if mode == "off":
        return TLS_ONLY if setup == "TLS only" else "clear"
    if mode in ("preferred", "required"):
        return "nothing"
    refused = refused_because(setup, mode, wrong=ca == place.other_ca)
    if refused:
        return WITHOUT_REASON if driver == "mysqldb" and LIBRARY[0] in "589" else refused
    if mode == "verify-ca":
        return "authority"
    return NO_LOCAL_NAME if driver == "mysqldb" and LIBRARY.startswith("3.4") else "authority and name"


def refused_because(setup: str, mode: str, *, wrong: bool) -> str:
    if setup == "self-signed":
        return "signed by nobody but itself"
    if wrong:
        return f"{UNTRUSTED}|has expired" if setup == "expired" else UNTRUSTED
    if setup == "expired":
        return "the server's certificate has expired"
    if setup != "wrong-name" or mode == "verify-ca":
        return ""
    # MariaDB Connector/C 3.4 accepts any name for 127.0.0.1, and holdfast does not.
    return f"the server's certificate is for another host|{NO_LOCAL_NAME}"


CURES = {
    NO_TLS: "holdfast_tls=preferred",
    NO_LOCAL_NAME: "set holdfast_tls=verify-ca",
    UNTRUSTED: "holdfast_tls_ca=<path>",
    "signed by nobody but itself": "holdfast_tls_ca=<path>",
    "the server's certificate has expired": "renew",
    f"the server's certificate is for another host|{NO_LOCAL_NAME}": "holdfast_tls=verify-ca",
    WITHOUT_REASON: "holdfast_tls_ca=<path>",
}


@pytest.mark.slow
def test_a_connection_is_what_was_asked_for_or_there_is_none(place: Place, driver: str, held: EngineFactory) -> None:
    for mode in MODES:
        for ca in (place.ca, place.other_ca) if mode in VERIFYING else ("",):
            query = {"holdfast_tls": mode, **({"holdfast_tls_ca": ca} if ca else {})}
            engine = held(place.server.url(driver, query=query))
            due = expected(place, mode, ca, driver)
            if due in ("clear", "nothing", "authority", "authority and name"):
                with engine.connect() as connection:
                    on_server = connection.execute(text("SHOW SESSION STATUS LIKE 'Ssl_version'")).one()[1]
                (seen,) = holdfast.status(engine).encryption
                assert seen.version == on_server
                assert bool(on_server) is (due != "clear"), (mode, on_server)
                assert seen.verified == ("nothing" if due == "clear" else due), (mode, seen)
            else:
                refuse(engine, due, mode)
            engine.dispose()


def refuse(engine: Engine, due: str, mode: str) -> None:
    began = time.monotonic()
    with pytest.raises((DBAPIError, holdfast.TLSError), match=due) as caught:
        engine.connect()
    message = str(caught.value)
    assert CURES.get(due, "") in message, (mode, message)
    counters = holdfast.status(engine).counters
    assert (counters.unanswered, counters.refused, counters.checkouts) == (0, 0, 0), "it is not tried again"
    assert time.monotonic() - began < 8, "nor waited for"
    pool: Any = engine.pool
    assert pool.checkedin() == pool.checkedout() == 0
    assert holdfast.status(engine).encryption == ()
    assert "app:app" not in message
