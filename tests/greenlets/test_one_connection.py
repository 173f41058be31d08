"""Two greenlets and one connection: the second is told who is using it, and at which line each of them is."""

from __future__ import annotations

import subprocess
import sys

import pytest

from sqlalchemy_holdfast.lab import Server

pytestmark = pytest.mark.slow

PROGRAM = """
import sys
import {library}
if "{library}" == "gevent":
    from gevent.monkey import patch_all
else:
    from eventlet import monkey_patch as patch_all
patch_all()
from sqlalchemy import text
import sqlalchemy_holdfast as holdfast

connection = holdfast.create_engine(sys.argv[1]).connect()
connection.execute(text("SELECT 1"))
answers = []

def the_first():
    answers.append(connection.execute(text("SELECT SLEEP(1), 'mine'")).one()[1])

first = {library}.spawn(the_first)
while not connection.connection.driver_connection._holdfast.in_flight:
    {library}.sleep(0)
try:
    connection.execute(text("SELECT 2"))
except Exception as error:
    print(error)
while not answers:
    {library}.sleep(0.01)
print(answers)
"""


@pytest.mark.parametrize("library", ["gevent", "eventlet"])
@pytest.mark.parametrize("driver", ["pymysql", "mysqlconnector"])  # mysqlclient lets nobody else run meanwhile
def test_both_are_told_apart_and_the_first_gets_its_answer(server: Server, driver: str, library: str) -> None:
    query = {"use_pure": "1"} if driver == "mysqlconnector" else {}
    url = server.url(driver, query=query).render_as_string(hide_password=False)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM.format(library=library), url],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert "(<string>, line " in done.stdout
    assert ", in <module>) used a connection while " in done.stdout
    assert ", in the_first) was in the middle of a command on it" in done.stdout
    assert "gone away" not in done.stdout
    assert done.stdout.endswith("['mine']\n")
