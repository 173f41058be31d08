"""What is said when nobody answers, when it is somebody else, or when it says nothing; and how soon."""

from __future__ import annotations

import gc
import os
import shutil
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from sqlalchemy import URL

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast._pages import page
from sqlalchemy_holdfast.lab import Server
from sqlalchemy_holdfast.server.hints import Place, hint_for
from tests.conftest import DRIVERS, EngineFactory
from tests.messages.cases import SECRET
from tests.messages.conftest import Message
from tests.messages.ports import SMTP, SSH, X_PROTOCOL, error_packet, speaking, web_server


def at(driver: str, port: int, host: str = "127.0.0.1", **query: str) -> URL:
    return URL.create(f"mysql+{driver}", "app", SECRET, host, port, "test", query)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A greeting may take one second, in place of thirty."""
    for module in ("patience", "mysqldb", "mysqlconnector"):
        monkeypatch.setattr(f"sqlalchemy_holdfast.drivers.{module}.HANDSHAKE_SECONDS", 1)


# -- nobody ------------------------------------------------------------------------------------------------------------


def test_a_port_where_no_server_listens(driver: str, message: Message) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        said = message(at(driver, port), holdfast_wait_for_server=None)
    assert f"no server listens at 127.0.0.1:{port}" in said
    assert "the host is the database service's name" in said
    assert page("errors/2003") in said


@pytest.mark.filterwarnings(r"ignore:Exception ignored .*<socket\.:pytest.PytestUnraisableExceptionWarning")
def test_a_socket_that_is_not_there(driver: str, message: Message, tmp_path: Path) -> None:
    url = at(driver, 3306, "localhost", unix_socket=str(tmp_path / "s"))
    said = message(url, holdfast_wait_for_server=None)
    gc.collect()  # PyMySQL does not close a unix socket that it could not connect
    assert "the server's socket file is not there" in said
    assert f"(no file {tmp_path}/s: unix_socket in the URL)" in " ".join(said.split())
    assert "write 127.0.0.1" in said
    assert ("To mysqlclient, localhost means the socket" in said) is (driver == "mysqldb")
    assert page("errors/2002") in said


def test_a_socket_that_is_not_there_is_not_localhost_where_the_url_has_another_host() -> None:
    place = Place(driver="mysqlclient", socket="/nofile.sock")
    said = hint_for(ConnectionError(2002, "Can't connect through socket '/nofile.sock' (2)"), place)
    assert "no file /nofile.sock" in said
    assert "localhost" not in said


@pytest.mark.skipif(os.geteuid() == 0, reason="root may use every socket")
def test_a_socket_that_may_not_be_used(driver: str, message: Message, server: Server, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        listening.listen()
        (tmp_path / "s").chmod(0)
        said = message(at(driver, 3306, "localhost", unix_socket=str(tmp_path / "s")), holdfast_wait_for_server=None)
    assert "this program may not use it" in said


def test_a_host_name_that_nobody_has(driver: str, message: Message) -> None:
    said = message(at(driver, 3306, "no.such.host.invalid"), holdfast_wait_for_server=None)
    if "could not be looked up at the moment" in said:  # a machine without a name server
        return
    assert "there is no host called no.such.host.invalid" in said
    assert page("errors/2003#dns") in said


@pytest.mark.slow
def test_a_network_without_a_way_there() -> None:
    for said in in_a_namespace(DRIVERS, "192.0.2.1", "holdfast_wait_for_server=off"):
        assert "there is no way from here to 192.0.2.1" in said
        assert page("errors/2003") in said


NO_NAME_SERVER = "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n"


@pytest.mark.slow
def test_a_name_server_that_is_away_is_waited_for(tmp_path: Path) -> None:
    """With mysqlclient as well, whose library (libmariadb) has then tried for its connect_timeout by itself."""
    (tmp_path / "resolv.conf").write_text(NO_NAME_SERVER)
    found = in_a_namespace(
        DRIVERS,
        "db.example.org",
        "holdfast_wait_for_server=2&connect_timeout=1",
        first=f"mount --bind {tmp_path}/resolv.conf /etc/resolv.conf",
    )
    for said in found:
        assert "the host name db.example.org could not be looked up at the moment" in said
        assert page("errors/2003#dns") in said
        assert float(said.rpartition("took ")[2]) >= 2


def in_a_namespace(drivers: tuple[str, ...], host: str, query: str, *, first: str = ":") -> list[str]:
    """Connect with each driver where there is no network but loopback; return what each says, and how long it took."""
    if shutil.which("unshare") is None:
        pytest.skip("there is no unshare here")
    code = f"""
        import time, sqlalchemy_holdfast as holdfast
        for driver in {drivers!r}:
            began = time.monotonic()
            try:
                holdfast.create_engine(f"mysql+{{driver}}://app:{SECRET}@{host}/test?{query}").connect()
            except Exception as error:
                print(" ".join(str(error).split()), "took", time.monotonic() - began)
    """
    done = subprocess.run(
        ["unshare", "-Urnm", "sh", "-c", f'{first} && ip link set lo up; exec {sys.executable} -c "$CODE"'],
        env={**os.environ, "CODE": textwrap.dedent(code)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    if "unshare failed" in done.stderr or "Operation not permitted" in done.stderr:
        pytest.skip(f"no namespaces here: {done.stderr.strip()[:100]}")
    assert SECRET not in done.stdout
    said = done.stdout.splitlines()
    assert len(said) == len(drivers), done.stderr
    return said


# -- somebody else -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "then_close", "shown"),
    [
        (SSH, False, '"SSH-2.0-OpenSSH'),
        (SSH, True, '"SSH-2.0-OpenSSH'),
        (SMTP, True, '"220 mail.example.org'),
    ],
    ids=["ssh", "ssh that hangs up", "mail that hangs up"],
)
def test_a_port_that_speaks_first_and_is_no_mysql_server(
    driver: str, message: Message, words: bytes, then_close: bool, shown: str, short: None
) -> None:
    with speaking(words, then_close=then_close) as port:
        began = time.monotonic()
        said = message(at(driver, port), pool_timeout=60)
        took = time.monotonic() - began
    assert f"something answers at 127.0.0.1:{port}, and this is not a MySQL server" in said
    assert shown in said
    assert page("errors/silent-port") in said
    assert took < 9, "and not for the ten seconds of holdfast_wait_for_server"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_mysqls_own_x_protocol(driver: str, held: EngineFactory, short: None) -> None:
    with speaking(X_PROTOCOL) as port:
        engine = held(at(driver, port))
        with pytest.raises(Exception, match="something answers at") as caught:
            engine.connect()
    assert "MySQL's X protocol" in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.fixture(params=["silent", "web server", "web server over TLS"])
def silent_port(request: pytest.FixtureRequest, tls_server: Server) -> Iterator[int]:
    """Ports that wait for the client to speak first."""
    files = str(tls_server.directory / "server-cert.pem"), str(tls_server.directory / "server-key.pem")
    kinds: dict[str, AbstractContextManager[int]] = {
        "silent": speaking(),
        "web server": web_server(),
        "web server over TLS": web_server(files),
    }
    with kinds[request.param] as port:
        yield port


def test_a_port_that_says_nothing(driver: str, message: Message, silent_port: int, short: None) -> None:
    began = time.monotonic()
    said = message(at(driver, silent_port), pool_timeout=1)
    option = "read_timeout (or a longer connect_timeout)" if driver == "pymysql" else "connect_timeout"
    assert f"as long as {option} in connect_args says; holdfast begins another one until 10 s are over" in said
    assert 0.9 < time.monotonic() - began < 20
    assert f"something accepts connections at 127.0.0.1:{silent_port}, and then says nothing" in said
    assert "this is not a MySQL server" in said
    assert "Is the port right?" in said
    assert "connect_timeout" in said
    assert page("errors/silent-port") in said


def test_a_port_that_hangs_up(driver: str, message: Message) -> None:
    with speaking(then_close=True) as port:
        said = message(at(driver, port), holdfast_wait_for_server=None)
    assert "hangs up before it lets anybody in" in said
    assert "HAProxy" in said
    assert page("errors/silent-port") in said


def test_a_server_that_blocks_this_host(driver: str, message: Message) -> None:
    """An address that a server looks up the name of; it never blocks loopback, so these are its bytes alone."""
    words = "Host '192.0.2.9' is blocked because of many connection errors; unblock with 'mariadb-admin flush-hosts'"
    with speaking(error_packet(1129, words), then_close=True) as port:
        said = message(at(driver, port))
    assert "the server has blocked your host" in said
    assert "FLUSH HOSTS" in said
    assert page("errors/1129") in said


def test_a_usual_port_of_another_program_is_named() -> None:
    from sqlalchemy_holdfast.server.connect_texts import Place, refused, silent

    assert "Port 5432 is usually PostgreSQL's" in silent(Place(host="db", port=5432), "")
    assert "Port" not in silent(Place(host="db", port=3307), "").replace("Is the port right?", "")
    assert "db:3306" in refused(Place(host="db"), "")


@pytest.mark.chaos
def test_the_limit_is_thirty_seconds() -> None:
    """Without a setting, and with no driver for ever."""
    from concurrent.futures import ThreadPoolExecutor

    def wait(driver: str, port: int) -> float:
        began = time.monotonic()
        with pytest.raises(Exception, match="says nothing"):
            holdfast.create_engine(at(driver, port)).connect()
        return time.monotonic() - began

    with speaking() as port, ThreadPoolExecutor(3) as threads:
        took = list(threads.map(lambda driver: wait(driver, port), DRIVERS))
    assert all(29 < seconds < 50 for seconds in took), took
