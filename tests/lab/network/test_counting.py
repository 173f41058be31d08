"""A Proxy counts the commands that pass, by name, and leaves alone what it cannot read."""

from __future__ import annotations

import math
import time

import pytest

from sqlalchemy_holdfast.lab import Proxy, Server
from tests.lab.helpers import connect, eventually
from tests.lab.network.clients import Connect, query

pytestmark = pytest.mark.usefixtures("nobody_else")


def test_commands_of_every_driver_are_counted_exactly(proxy: Proxy, driver: str) -> None:
    connection = connect(driver, proxy.host, proxy.port)
    cursor = connection.cursor()
    proxy.reset_counts()
    cursor.execute("SELECT 'é' AS name")
    assert cursor.fetchall()
    connection.rollback()
    connection.ping()
    connection.close()
    assert proxy.commands == {"COM_QUERY": 2, "COM_PING": 1, "COM_QUIT": 1}
    assert proxy.statements == ["SELECT 'é' AS name", "ROLLBACK"]
    assert proxy.connections == 0


def test_commands_beyond_queries_have_their_names(proxy: Proxy) -> None:
    connection = connect("mysqlconnector", proxy.host, proxy.port)
    proxy.reset_counts()
    connection.cmd_init_db("mysql")
    connection.cmd_reset_connection()
    connection.cmd_change_user("app", "app", "test")
    counts = proxy.commands
    assert {name: counts[name] for name in ("COM_INIT_DB", "COM_RESET_CONNECTION", "COM_CHANGE_USER")} == {
        "COM_INIT_DB": 1,
        "COM_RESET_CONNECTION": 1,
        "COM_CHANGE_USER": 1,
    }
    cursor = connection.cursor(prepared=True)
    proxy.reset_counts()
    for value in (1, 2):
        cursor.execute("SELECT ?", (value,))
        assert cursor.fetchall() == [(value,)]
    counts = proxy.commands
    assert (counts["COM_STMT_PREPARE"], counts["COM_STMT_EXECUTE"], counts["COM_QUERY"]) == (1, 2, 0)
    connection.close()


def test_local_data_of_some_megabytes_are_one_command(proxy: Proxy, server: Server, client: Connect) -> None:
    server.execute("CREATE OR REPLACE TABLE test.loaded (line VARCHAR(100)) ENGINE=InnoDB")
    connection = client(local_infile=True, read_timeout=20)
    lines = b"".join(b"%090d\n" % number for number in range(60_000))
    path = server.directory / "tmp" / "lines"
    path.write_bytes(lines)
    with proxy.measure() as work:
        query(connection, f"LOAD DATA LOCAL INFILE '{path}' INTO TABLE loaded")
    assert work.commands == {"COM_QUERY": 1}
    assert query(connection, "SELECT COUNT(*) FROM loaded") == ((60_000,),)
    server.execute("DROP TABLE test.loaded")


def test_measure_counts_only_its_block(proxy: Proxy, client: Connect) -> None:
    connection = client()
    query(connection)
    began = time.monotonic()
    with proxy.measure(units=4) as work:
        for number in range(4):
            query(connection, f"SELECT {number}")
            connection.ping(reconnect=False)
    query(connection)
    assert work.commands == {"COM_QUERY": 4, "COM_PING": 4}
    assert work.statements == ["SELECT 0", "SELECT 1", "SELECT 2", "SELECT 3"]
    assert work.commands_per_unit == 2
    assert math.isnan(work.waits_per_unit)
    assert 0 < work.seconds < time.monotonic() - began
    with pytest.raises(ValueError, match="units"), proxy.measure(units=0):
        pass


def test_connections_are_counted(proxy: Proxy, client: Connect) -> None:
    first, second = client(), client()
    assert (proxy.connections, proxy.open_connections) == (2, 2)
    first.close()
    eventually(lambda: proxy.open_connections == 1)
    assert proxy.connections == 2
    query(second)


def test_tls_passes_unread(tls_server: Server) -> None:
    with Proxy.for_server(tls_server) as proxy:
        for driver in ("pymysql", "mysqldb"):
            connection = connect(driver, proxy.host, proxy.port, ssl={"ca": tls_server.tls_ca})
            assert query(connection, "SHOW STATUS LIKE 'Ssl_cipher'")[0][1] != ""
            connection.close()
        assert (proxy.connections, proxy.commands) == (2, {})


def test_compression_passes_unread(proxy: Proxy) -> None:
    connection = connect("mysqldb", proxy.host, proxy.port, compress=True)
    assert len(query(connection, "SELECT REPEAT('a', 100000)")[0][0]) == 100_000
    connection.close()
    assert proxy.commands == {}


@pytest.mark.mysql
def test_commands_to_mysql_are_counted_exactly(mysql_server: Server, driver: str) -> None:
    with Proxy.for_server(mysql_server) as proxy:
        connection = connect(driver, proxy.host, proxy.port)
        cursor = connection.cursor()
        proxy.reset_counts()
        cursor.execute("SELECT 'é' AS name")
        assert cursor.fetchall()
        connection.rollback()
        connection.ping()
        connection.close()
        assert proxy.commands == {"COM_QUERY": 2, "COM_PING": 1, "COM_QUIT": 1}
        assert proxy.statements == ["SELECT 'é' AS name", "ROLLBACK"]
