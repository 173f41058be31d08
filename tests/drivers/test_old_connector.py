"""An old mysql-connector-python, from before 9.2, as ``tools/setup.sh`` puts it aside: pure, and with its C extension.

It lacks what later ones have (``errors.ReadTimeoutError``, timeouts of their own for reading); a program of its own
uses it here, for this process has imported the new one.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sqlalchemy_holdfast.lab import Server

OLD = Path(__file__).parents[2] / ".lab" / "old-mysql-connector"

PROGRAM = """
import os, sys, time
import mysql.connector
from mysql.connector import errors
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import ProgrammingError
import sqlalchemy_holdfast as holdfast

assert not hasattr(errors, "ReadTimeoutError"), mysql.connector.__version__
pure = sys.argv[2] == "pure"
url = make_url(sys.argv[1]).update_query_dict({"use_pure": str(pure), "plugin": "holdfast"})
engine = create_engine(url, pool_size=1)

def connection_id():
    with engine.connect() as connection:
        return connection.execute(text("SELECT CONNECTION_ID()")).scalar()

for attempt in range(3):
    with engine.connect() as connection:
        assert mysql.connector.HAVE_CEXT or pure
        name = type(connection.connection.driver_connection).__name__
        assert name == ("MySQLConnection" if pure else "CMySQLConnection"), name
        try:
            connection.execute(text("SELECT * FROM no_such_table"))
        except ProgrammingError as error:
            assert error.orig.errno == 1146, error
        assert connection.execute(text("SELECT :n"), {"n": attempt}).scalar() == attempt
own = connection_id()
for attempt in range(20):
    with engine.connect() as connection:
        assert connection.execute(text(f"SELECT {attempt}")).scalar() == attempt
assert connection_id() == own, "an error of the server's, and a ROLLBACK, leave a connection in the pool"

child = os.fork()
if child == 0:
    os._exit(0 if connection_id() != own else 1)
assert os.waitpid(child, 0)[1] == 0
assert connection_id() == own, "a child leaves the parent's connection alone"

with create_engine(url.difference_update_query(["plugin"])).connect() as other:
    other.execute(text(f"KILL {own}"))
    deadline = time.monotonic() + 10
    while other.execute(text(f"SELECT COUNT(*) FROM information_schema.processlist WHERE id = {own}")).scalar():
        assert time.monotonic() < deadline
    time.sleep(0.05)
assert connection_id() != own
counters = holdfast.status(engine).counters
assert counters.replaced == {"closed by the server": 1}, counters
assert not pure or counters.rollbacks_deferred >= 20, counters
engine = create_engine(url, pool_size=1, max_overflow=0, holdfast_reset="changed")
own = connection_id()
for attempt in range(5):
    with engine.connect() as connection:
        assert connection.execute(text("SELECT @a, @@autocommit, DATABASE()")).one() == (None, 0, "test")
        connection.execute(text("SET @a = 1, autocommit = 1"))
        connection.execute(text("USE information_schema"))
assert connection_id() == own
assert holdfast.status(engine).counters.resets == 5
print("held")
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pure", "C"])
def test_a_connector_from_before_9_2_is_held(server: Server, kind: str) -> None:
    if not OLD.exists():
        pytest.skip(f"no {OLD}: tools/setup.sh test puts it there")
    url = server.url("mysqlconnector").render_as_string(hide_password=False)
    environment = {**os.environ, "PYTHONPATH": str(OLD)}
    command = [sys.executable, "-c", PROGRAM, url, kind]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "held\n"
