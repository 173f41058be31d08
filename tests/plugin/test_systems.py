"""Systems that lack what Linux has: everything that can work does, and what cannot is said once.

Each test takes something away in a process of its own, before holdfast is imported there. A real Windows and a real
macOS were not to be had.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from sqlalchemy_holdfast.lab import Server

PROGRAM = """
import logging, os, select, socket, sys, threading

TAKE = {
    "AF_UNIX": lambda: delattr(socket, "AF_UNIX"),
    "geteuid": lambda: [delattr(os, name) for name in ("geteuid", "getuid")],
    "fcntl": lambda: sys.modules.__setitem__("fcntl", None),
    "poll": lambda: [delattr(select, name) for name in dir(select) if "poll" in name.lower()],
    "fork": lambda: [delattr(os, name) for name in ("fork", "register_at_fork")],
    "register_at_fork": lambda: delattr(os, "register_at_fork"),
    "O_NOFOLLOW": lambda: [delattr(os, name) for name in ("O_NOFOLLOW", "O_DIRECTORY", "O_CLOEXEC", "O_NONBLOCK")],
    "pread": lambda: [delattr(os, name) for name in ("pread", "pwrite")],
    "get_blocking": lambda: [delattr(os, name) for name in ("get_blocking", "set_blocking")],
    "resource": lambda: sys.modules.__setitem__("resource", None),
    "SO_KEEPALIVE": lambda: [
        delattr(socket, name) for name in ("TCP_USER_TIMEOUT", "TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT")
    ],
    "SOCK_SEQPACKET": lambda: delattr(socket, "SOCK_SEQPACKET"),
    "boottime": lambda: [delattr(__import__("time"), n) for n in dir(__import__("time")) if n.startswith("CLOCK_BOOT")],
    "greenlet": lambda: sys.modules.__setitem__("greenlet", None),
    "/proc": lambda: setattr(os.path, "isdir", lambda path, stock=os.path.isdir: "/proc" not in str(path)
                             and "/dev" not in str(path) and stock(path)),
}
url, *taken = sys.argv[1:]
import pymysql, MySQLdb, mysql.connector  # a driver's own needs are not the matter
from sqlalchemy import create_engine, make_url, text
import sqlalchemy.dialects.mysql.mysqldb, sqlalchemy.dialects.mysql.pymysql
import sqlalchemy.dialects.mysql.mysqlconnector
if "platform" in taken:
    sys.platform = "elsewhere"  # as "win32" the standard library would look for Windows itself
for name in taken:
    TAKE.get(name, lambda: None)()

said = []
class Keep(logging.Handler):
    def emit(self, record):
        said.append(record.getMessage())
logging.getLogger("holdfast").addHandler(Keep())
logging.getLogger("holdfast").setLevel(logging.INFO)

import sqlalchemy_holdfast as holdfast

engines = []
for driver in ("pymysql", "mysqldb", "mysqlconnector"):
    query = {"use_pure": "1"} if driver == "mysqlconnector" else {}
    target = make_url(url).set(drivername=f"mysql+{driver}").update_query_dict(query)
    for again in range(2):
        engine = create_engine(target, plugins=["holdfast"], pool_size=2)
        engines.append(engine)
        for number in range(5):
            with engine.connect() as connection:
                assert connection.execute(text(f"SELECT {number}")).scalar() == number
        with engine.begin() as connection:
            connection.execute(text("UPDATE seen SET value = value + 1 WHERE id = 1"))
        holdfast.run(engine, lambda c: c.execute(text("UPDATE seen SET value = value + 1 WHERE id = 1")))
        with engine.connect() as connection:
            own = connection.execute(text("SELECT CONNECTION_ID()")).scalar()
        with create_engine(target).connect() as other:
            other.execute(text(f"KILL {own}"))
        import time
        time.sleep(0.05)
        lost = 0
        for number in range(3):
            try:
                with engine.connect() as connection:
                    assert connection.execute(text(f"SELECT {number}")).scalar() == number
            except Exception as error:
                lost += 1
        assert lost <= (1 if "poll" in taken else 0), lost
        repr(holdfast.status(engine))
        assert holdfast.status(engine).active
for engine in engines:
    engine.dispose()
system = [line for line in said if line.startswith("holdfast on ")]
assert not [line for line in said if "not shared out between the processes. holdfast" in line], said
print(len(system), *system)
"""

SINGLE = ("AF_UNIX", "geteuid", "fcntl", "poll", "fork", "register_at_fork", "O_NOFOLLOW", "pread", "get_blocking",
          "resource", "SO_KEEPALIVE", "SOCK_SEQPACKET", "boottime", "greenlet", "/proc")  # fmt: skip
WINDOWS = ("platform", "AF_UNIX", "geteuid", "fcntl", "poll", "fork", "O_NOFOLLOW", "pread", "get_blocking", "resource",
           "SOCK_SEQPACKET", "boottime", "/proc")  # fmt: skip
MACOS = ("SO_KEEPALIVE", "SOCK_SEQPACKET", "boottime", "/proc")


@pytest.fixture
def seen(server: Server) -> Server:
    server.execute("CREATE OR REPLACE TABLE seen (id INT PRIMARY KEY, value INT NOT NULL)", database="test")
    server.execute("INSERT INTO seen VALUES (1, 0)", database="test")
    return server


@pytest.mark.slow
@pytest.mark.parametrize("taken", [*[(one,) for one in SINGLE], WINDOWS, MACOS], ids="-".join)
def test_what_a_system_lacks_costs_that_and_no_more(seen: Server, taken: tuple[str, ...]) -> None:
    url = seen.url("pymysql").render_as_string(hide_password=False)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, url, *taken], capture_output=True, text=True, timeout=90
    )
    assert done.returncode == 0, done.stderr
    assert seen.execute("SELECT value FROM seen", database="test") == [(12,)]
    number, _, text = done.stdout.partition(" ")
    looks, shares = "poll" in taken, bool({"geteuid", "fcntl", "O_NOFOLLOW", "pread", "platform"} & set(taken))
    assert int(number) == (1 if looks or shares else 0), done.stdout
    assert ("does not see that a connection is closed" in text) is looks
    assert ("do not share connections" in text) is shares
