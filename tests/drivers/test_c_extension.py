"""mysql-connector-python with its C extension: never worse than stock, and liveness where the socket can be found.

The extension needs OpenSSL 3.2. Where the machine's is older, the libraries that come with an unpacked MySQL server
do: the last test then runs this file again under their loader.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import mysql.connector
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast import Cause
from sqlalchemy_holdfast.lab import Proxy, Server
from tests.conftest import MYSQLD, connection_id, read

c_extension = pytest.mark.skipif(
    not mysql.connector.HAVE_CEXT, reason="the C extension does not load with this machine's OpenSSL"
)


def engine_for(server: Server, plugin: bool = True, **options: Any) -> Any:
    url = server.url("mysqlconnector", query={"use_pure": "0"})
    options.setdefault("pool_size", 5)
    if options.get("poolclass"):
        del options["pool_size"]
    return create_engine(url.update_query_dict({"plugin": "holdfast"} if plugin else {}), **options)


@c_extension
def test_right_answers_and_clean_tracking(server: Server) -> None:
    engine = engine_for(server)
    server.execute("CREATE OR REPLACE TABLE c_ledger (id INT PRIMARY KEY) ENGINE=InnoDB", database="test")
    with engine.connect() as connection:
        driver_connection = connection.connection.driver_connection
        assert type(driver_connection).__name__ == "CMySQLConnection"
    for number in range(20):
        assert read(engine, number) == number
        with engine.connect() as connection:
            connection.execute(text(f"INSERT INTO c_ledger VALUES ({number})"))
        with engine.connect() as connection:
            assert connection.execute(text("SELECT COUNT(*) FROM c_ledger")).scalar() == 0
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO c_ledger VALUES (1)"))
    assert server.execute("SELECT * FROM c_ledger", database="test") == [(1,)]
    counters = holdfast.status(engine).counters
    assert counters.rollbacks_deferred == 0
    assert counters.rollbacks_skipped > 0
    engine.dispose()


@c_extension
@pytest.mark.parametrize("transport", ["tcp", "unix"])
def test_a_killed_connection_is_replaced_before_use(server: Server, transport: Any) -> None:
    url = server.url("mysqlconnector", transport=transport, query={"use_pure": "0", "plugin": "holdfast"})
    engine = create_engine(url)
    for _ in range(3):
        victim = connection_id(engine)
        with engine.connect() as connection:
            state = connection.connection.dbapi_connection._holdfast  # type: ignore[union-attr]
            assert state.fd is not None, "nothing else connected at the same time"
        server.kill_connection(victim)
        assert state.events(5.0)
        assert read(engine, 6) == 6
    assert holdfast.status(engine).counters.replaced == {Cause.CLOSED: 3}
    engine.dispose()


@c_extension
def test_no_ping_for_each_cursor(server: Server) -> None:
    with Proxy.for_server(server) as proxy:
        counts = {}
        for plugin in ("", "holdfast"):
            query = {"use_pure": "0", **({"plugin": plugin} if plugin else {})}
            url = server.url("mysqlconnector", host=proxy.host, port=proxy.port, query=query)
            engine = create_engine(url)
            read(engine)
            proxy.reset_counts()
            read(engine)
            counts[plugin] = dict(proxy.commands)
            engine.dispose()
    assert counts == {"": {"COM_PING": 1, "COM_QUERY": 2}, "holdfast": {"COM_QUERY": 2}}


@c_extension
def test_reconnect_and_null_pool(server: Server) -> None:
    engine = engine_for(server, poolclass=NullPool)
    for number in range(3):
        assert read(engine, number) == number
    fairy = engine.raw_connection()
    fairy.driver_connection.reconnect()
    cursor = fairy.cursor()
    cursor.execute("SELECT 12345")
    assert cursor.fetchall() == [(12345,)]
    cursor.close()
    fairy.close()


@pytest.mark.mysql
@pytest.mark.skipif(mysql.connector.HAVE_CEXT, reason="the C extension loads here: the tests above have run")
def test_the_tests_above_under_newer_libraries() -> None:
    if MYSQLD is None:
        pytest.skip("HOLDFAST_LAB_MYSQLD names no MySQL server")
    root = Path(MYSQLD).parent / "root"
    loader = next(root.glob("usr/lib/*/ld-linux*.so*"), None)
    if loader is None:
        pytest.skip("that MySQL brings no libraries of its own")
    command = [
        str(loader),
        "--library-path",
        str(loader.parent),
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        __file__,
        str(Path(__file__).with_name("test_every_method_is_covered.py")),
        str(Path(__file__).parents[1] / "tls" / "test_c_extension.py"),
    ]
    environment = {key: value for key, value in os.environ.items() if key != "HOLDFAST_LAB_MYSQLD"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "does not load" not in done.stdout
