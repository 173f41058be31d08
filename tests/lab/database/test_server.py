"""A Server is up at once, keeps its data and its address, and says what went wrong."""

from __future__ import annotations

import dataclasses
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pymysql
import pytest
import sqlalchemy
import typing_extensions
from sqlalchemy import create_engine, text

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast.lab import Proxy, Server, ServerFailed, _ports
from tests.lab.helpers import connect, eventually, exists


@pytest.fixture(scope="module")
def own_server() -> Iterator[Server]:
    """One that these tests may stop and kill."""
    with Server() as server:
        yield server.start()


def rows(server: Server) -> list[tuple[int]]:
    return server.execute("SELECT n FROM test.kept ORDER BY n")


@pytest.fixture
def kept(own_server: Server) -> Iterator[None]:
    own_server.execute("CREATE TABLE test.kept (n INT PRIMARY KEY) ENGINE=InnoDB")
    own_server.execute("INSERT INTO test.kept VALUES (1), (2)")
    yield
    own_server.start().execute("DROP TABLE test.kept")


@pytest.mark.slow
@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize("how", ["stop", "kill", "restart"])
def test_data_port_and_socket_outlive_the_server_process(own_server: Server, how: str) -> None:
    before = own_server.pid, own_server.port, own_server.socket
    getattr(own_server, how)()
    if how != "restart":
        assert (own_server.running, own_server.pid) == (False, None)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((own_server.host, own_server.port))
        own_server.start()
    assert rows(own_server) == [(1,), (2,)]
    assert (own_server.port, own_server.socket) == before[1:]
    assert own_server.pid != before[0]


@pytest.mark.slow
@pytest.mark.usefixtures("kept")
def test_what_was_committed_just_before_a_kill_is_there_after_it(own_server: Server) -> None:
    client = connect("pymysql", own_server.host, own_server.port, autocommit=True)
    for n in range(10, 60):
        client.cursor().execute(f"INSERT INTO kept VALUES ({n})")
    own_server.kill()
    with pytest.raises(pymysql.err.OperationalError):
        client.ping(reconnect=False)
    assert rows(own_server.start()) == [(1,), (2,), *((n,) for n in range(10, 60))]


def test_a_statement_for_a_stopped_server_says_that_it_is_stopped(own_server: Server) -> None:
    own_server.stop()
    with pytest.raises(ServerFailed, match="is not running"):
        own_server.execute("SELECT 1")
    own_server.start()


def test_stopping_twice_and_starting_twice_do_no_harm(own_server: Server) -> None:
    pid = own_server.pid
    assert own_server.start().pid == pid
    own_server.stop()
    own_server.stop()
    own_server.kill()
    assert own_server.start().running


@pytest.mark.slow
def test_options_reach_the_server_and_may_be_changed_while_it_is_stopped() -> None:
    with Server(options={"wait_timeout": 7, "sql_mode": "ANSI_QUOTES", "skip-slave-start": None}) as server:
        assert server.execute("SELECT @@GLOBAL.wait_timeout, @@sql_mode") == [(7, "ANSI_QUOTES")]
        server.options["wait_timeout"] = 8
        assert server.restart().execute("SELECT @@GLOBAL.wait_timeout") == [(8,)]


@pytest.mark.slow
def test_an_unknown_option_fails_with_the_words_of_the_servers_log() -> None:
    server = Server(options={"no_such_option": 1})
    with pytest.raises(ServerFailed, match=r"unknown variable 'no_such_option=1'") as caught:
        server.start()
    assert str(server.directory) in str(caught.value)
    assert not server.running
    assert not server.directory.exists()
    del server.options["no_such_option"]
    with server:
        assert server.running


@pytest.mark.parametrize("name", ["port", "datadir", "pid-file", "--wait_timeout", "a=b"])
def test_options_that_the_lab_sets_itself_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        Server(options={name: 1})


def test_the_server_writes_files_in_its_own_directory_and_nowhere_else(server: Server, tmp_path: Path) -> None:
    own, other = server.directory / "tmp" / "numbers", tmp_path / "numbers"
    server.execute(f"SELECT 7 INTO OUTFILE '{own}'")
    assert own.read_text() == "7\n"
    own.unlink()
    with pytest.raises(pymysql.err.MySQLError, match=r"1290.*secure-file-priv"):
        server.execute(f"SELECT 7 INTO OUTFILE '{other}'")
    assert not other.exists()


@pytest.mark.slow
def test_many_started_at_the_same_moment_do_not_collide() -> None:
    servers = [Server() for _ in range(3)]
    threads = [threading.Thread(target=server.start) for server in servers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    try:
        assert all(server.running for server in servers)
        assert len({server.port for server in servers}) == 3
    finally:
        for server in servers:
            server.close()


@pytest.mark.slow
def test_a_port_that_was_lost_to_someone_else_is_replaced_at_the_first_start(monkeypatch: pytest.MonkeyPatch) -> None:
    with _ports.bind("127.0.0.1") as taken:
        taken.listen(1)
        offers = [taken.getsockname()[1], _ports.free_port("127.0.0.1")]
        monkeypatch.setattr(_ports, "free_port", lambda host: offers.pop(0))
        with Server() as server:
            assert offers == []
            assert server.execute("SELECT @@port") == [(server.port,)]


@pytest.mark.slow
def test_an_ordinary_user_can_run_a_server_and_break_its_connections(server: Server, readable_packages: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("the whole run is by an ordinary user")
    code = (
        "import os, socket; from sqlalchemy_holdfast.lab import Proxy, Server\n"
        "with Server() as server, Proxy.for_server(server) as proxy:\n"
        "    print(server.execute('SELECT CURRENT_USER()'), os.stat(server.directory).st_uid)\n"
        "    with socket.create_connection((proxy.host, proxy.port)) as client:\n"
        "        print(client.recv(1) != b'')\n"
        "        for fault in (proxy.lose_packets, proxy.freeze, proxy.reset): fault()\n"
    )
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("XDG_", "PYTHON"))}
    environ |= {"HOME": "/nowhere", "PYTHONPATH": str(readable_packages), "PYTHONDONTWRITEBYTECODE": "1"}
    for interpreter in interpreters():
        if as_nobody(environ, interpreter, "-c", "import sys; sys.exit(sys.version_info < (3, 10))").returncode == 0:
            break
    else:
        pytest.skip("no Python here that an ordinary user may run")
    if as_nobody(environ, "test", "-x", str(server._executable.path)).returncode:
        pytest.skip("an ordinary user may not run this server")
    done = as_nobody(environ, interpreter, "-c", code)
    assert (done.stdout, done.stderr) == ("[('root@localhost',)] 65534\nTrue\n", "")


def interpreters() -> list[str]:
    """This run's Python, and where that lies in root's home directory, whatever the machine has for everybody."""
    folders = ("/usr/bin", "/usr/local/bin")
    others = [f"{folder}/python3{minor}" for folder in folders for minor in (f".{sys.version_info[1]}", "")]
    return [sys.executable, os.path.realpath(sys.executable), *others]


def as_nobody(environ: dict[str, str], *command: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            user=65534,
            group=65534,
            extra_groups=(),
            cwd="/",
            env=environ,
            timeout=100,
            capture_output=True,
            text=True,
        )
    except OSError as error:
        return subprocess.CompletedProcess(command, 127, "", str(error))


@pytest.fixture
def readable_packages() -> Iterator[Path]:
    """What the lab imports, where everybody may read it: the clone may lie in its owner's home directory."""
    with tempfile.TemporaryDirectory(prefix="holdfast-packages-", dir="/tmp") as folder:
        os.chmod(folder, 0o755)
        for module in (holdfast, pymysql, sqlalchemy, typing_extensions):
            source = Path(str(module.__file__))
            if source.name == "__init__.py":
                shutil.copytree(source.parent, Path(folder, source.parent.name))
            else:
                shutil.copy(source, folder)
        for path in Path(folder).rglob("*"):  # whatever the clone's own modes and the umask are
            path.chmod(0o755 if path.is_dir() else 0o644)
        yield Path(folder)


def test_the_directory_is_for_its_owner_only(server: Server) -> None:
    assert server.directory.stat().st_mode & 0o777 == 0o700
    assert len(server.socket) < 100
    assert "ready for connections" in server.log


def test_the_administrator_is_not_let_in_by_tcp(server: Server) -> None:
    with pytest.raises(pymysql.err.OperationalError) as caught:
        pymysql.connect(host=server.host, port=server.port, user="root", password="")
    assert caught.value.args[0] in (1045, 1130, 1698)


def test_the_account_can_work_and_cannot_lift_limits(server: Server) -> None:
    client = connect("pymysql", server.host, server.port)
    with client, client.cursor() as cursor:
        for statement in (
            "CREATE DATABASE made",
            "DROP DATABASE made",
            "XA START 'x'",
            "XA END 'x'",
            "XA ROLLBACK 'x'",
        ):
            cursor.execute(statement)
        cursor.execute("SHOW FULL PROCESSLIST")
        assert cursor.rowcount >= 1
        for statement in ("SET GLOBAL max_connections = 500", "SHUTDOWN", "KILL 1"):
            with pytest.raises(pymysql.err.OperationalError) as caught:
                cursor.execute(statement)
            assert caught.value.args[0] in (1227, 1094, 1095)


def test_an_account_is_held_to_its_limit_and_to_its_databases(server: Server) -> None:
    server.create_database("hers")
    server.create_account("her`s", "p'w%", databases=["hers"], max_connections=1)
    arguments = {"user": "her`s", "password": "p'w%"}
    with connect("pymysql", server.host, server.port, **arguments, database="hers"):
        with pytest.raises(pymysql.err.OperationalError) as full:
            connect("pymysql", server.host, server.port, **arguments, database="hers")
        assert full.value.args[0] == 1226
    eventually(lambda: server.processlist(user="her`s") == [])
    with pytest.raises(pymysql.err.OperationalError) as denied:
        connect("pymysql", server.host, server.port, **arguments, database="test")
    assert denied.value.args[0] == 1044
    server.execute("DROP USER 'her`s'@'%'")
    server.execute("DROP DATABASE hers")


@pytest.mark.slow
def test_the_administrator_gets_in_when_the_server_is_full() -> None:
    with Server(options={"max_connections": 10}) as server:
        clients = [connect("pymysql", server.host, server.port) for _ in range(10)]
        with pytest.raises(pymysql.err.OperationalError) as caught:
            connect("pymysql", server.host, server.port)
        assert caught.value.args[0] == 1040
        assert len(server.processlist()) == 10
        for client in clients:
            client.close()


def test_processes_are_listed_by_account_and_can_be_killed(server: Server) -> None:
    server.create_account("other", "x")
    clients = [connect("pymysql", server.host, server.port) for _ in range(2)]
    other = connect("pymysql", server.host, server.port, user="other", password="x")
    mine = server.processlist(user="app")
    assert [process.id for process in mine] == [client.thread_id() for client in clients]
    assert (mine[0].database, mine[0].command, mine[0].info) == ("test", "Sleep", None)
    assert {process.user for process in server.processlist()} == {"app", "other"}
    with pytest.raises(dataclasses.FrozenInstanceError):
        mine[0].id = 1  # type: ignore[misc]
    server.kill_connection(clients[0].thread_id())
    server.kill_connection(clients[0].thread_id())
    eventually(lambda: len(server.processlist(user="app")) == 1)
    assert server.kill_connections() == 1
    eventually(lambda: server.processlist(user="app") == [])
    assert server.kill_connections() == 0
    other.ping(reconnect=False)
    other.close()
    server.execute("DROP USER other")
    for client in clients:
        with pytest.raises(pymysql.err.OperationalError):
            client.ping(reconnect=False)


def test_status_reads_one_counter(server: Server) -> None:
    before = int(server.status("Com_rollback"))
    with connect("pymysql", server.host, server.port) as client:
        client.rollback()
    assert int(server.status("Com_rollback")) == before + 1
    with pytest.raises(KeyError):
        server.status("No_such_thing")


def test_execute_takes_arguments_and_a_database(server: Server) -> None:
    assert server.execute("SELECT %s, DATABASE()", ("50 %",), database="test") == [("50 %", "test")]
    assert server.execute("SELECT '50 %%' LIKE %(a)s", {"a": "50%"}) == [(1,)]
    assert server.execute("DO 1") == []


def test_url_leads_every_driver_to_the_server(server: Server, driver: str) -> None:
    for url in (server.url(driver), server.url(driver, transport="unix")):
        engine = create_engine(url)
        with engine.connect() as connection:
            assert connection.execute(text("SELECT CURRENT_USER()")).scalar() == "app@%"
        engine.dispose()


def test_url_refuses_what_it_does_not_know(server: Server) -> None:
    with pytest.raises(ValueError, match="psycopg"):
        server.url("psycopg")
    with pytest.raises(ValueError, match="transport"):
        server.url(transport="unix", port=1)
    with pytest.raises(ServerFailed, match="no port"):
        Server().url()
    assert server.url(query={"charset": "latin1"}).query == {"charset": "latin1"}


@pytest.mark.slow
def test_a_closed_server_leaves_nothing_and_says_so() -> None:
    server = Server().start()
    pid = server.pid
    server.close()
    server.close()
    assert pid is not None
    assert not exists(pid)
    assert not server.directory.exists()
    with pytest.raises(ServerFailed, match="closed"):
        server.start()
    with Proxy.for_server(server) as proxy, pytest.raises(pymysql.err.OperationalError):
        connect("pymysql", proxy.host, proxy.port)


@pytest.mark.mysql
@pytest.mark.slow
def test_mysql_keeps_its_data_and_its_address_too(mysql_server: Server) -> None:
    assert mysql_server.flavour == "mysql"
    port = mysql_server.port
    mysql_server.execute("CREATE TABLE test.kept (n INT PRIMARY KEY)")
    mysql_server.execute("INSERT INTO test.kept VALUES (1)")
    mysql_server.kill()
    mysql_server.start()
    assert (rows(mysql_server), mysql_server.port) == ([(1,)], port)
    mysql_server.execute("DROP TABLE test.kept")


@pytest.mark.mysql
def test_mysql_lets_every_driver_in_without_tls(mysql_server: Server, driver: str) -> None:
    assert mysql_server.execute("SELECT plugin FROM mysql.user WHERE user = 'app'") == [("caching_sha2_password",)]
    for url in (mysql_server.url(driver), mysql_server.url(driver, transport="unix")):
        engine = create_engine(url)
        with engine.connect() as connection:
            assert connection.execute(text("SHOW STATUS LIKE 'Ssl_cipher'")).one()[1] == ""
        engine.dispose()


@pytest.mark.mysql
def test_mysqls_processes_are_listed_without_its_own(mysql_server: Server) -> None:
    with connect("pymysql", mysql_server.host, mysql_server.port) as client:
        assert [process.id for process in mysql_server.processlist()] == [client.thread_id()]
        assert mysql_server.kill_connections() == 1
        eventually(lambda: mysql_server.processlist() == [])
        client._force_close()
