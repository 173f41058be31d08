"""holdfast_tls and mysql-connector's C extension: the matrix on MariaDB.

Where the machine's OpenSSL is too old for the extension, ``tests/drivers/test_c_extension.py`` runs this file with
newer libraries.
"""

from __future__ import annotations

import mysql.connector
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast.server.tls import MODES
from tests.tls.conftest import Place
from tests.tls.test_matrix import NO_TLS, TLS_ONLY, VERIFYING, expected

pytestmark = pytest.mark.skipif(
    not mysql.connector.HAVE_CEXT, reason="the C extension does not load with this machine's OpenSSL"
)
REFUSED = "the server's certificate was refused|verified|SSL connection error"
"""libmysqlclient does not tell why."""


def test_a_connection_is_what_was_asked_for_or_there_is_none(place: Place) -> None:
    for mode in MODES:
        for ca in (place.ca, place.other_ca) if mode in VERIFYING else ("",):
            query = {"holdfast_tls": mode, "plugin": "holdfast", "use_pure": "0"}
            query |= {"holdfast_tls_ca": ca} if ca else {}
            engine = create_engine(place.server.url("mysqlconnector", query=query))
            due = expected(place, mode, ca, "mysqlconnector")
            if due in ("clear", "nothing", "authority", "authority and name"):
                with engine.connect() as connection:
                    assert type(connection.connection.driver_connection).__name__ == "CMySQLConnection"
                    on_server = connection.execute(text("SHOW SESSION STATUS LIKE 'Ssl_version'")).one()[1]
                (seen,) = holdfast.status(engine).encryption
                assert seen.version == on_server
                assert bool(on_server) is (due != "clear"), (mode, on_server)
                assert seen.verified == ("nothing" if due == "clear" else due), (mode, seen)
            else:
                match = due if due in (NO_TLS, TLS_ONLY) else REFUSED
                with pytest.raises((DBAPIError, holdfast.TLSError), match=match):
                    engine.connect()
                counters = holdfast.status(engine).counters
                assert (counters.unanswered, counters.refused, counters.checkouts) == (0, 0, 0), (mode, due)
            engine.dispose()
