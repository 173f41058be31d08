"""A machine that sleeps: time that ``time.monotonic()`` does not count is idle time of a connection.

A time namespace stands for the sleep: a process that moves into one whose ``CLOCK_BOOTTIME`` is an hour ahead sees what
it would see after an hour of suspend. ``CLOCK_MONOTONIC`` goes on as if nothing had been.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from sqlalchemy_holdfast.lab import Server

PROGRAM = """
import ctypes, json, os, sys, time
from sqlalchemy import create_engine, text
import sqlalchemy_holdfast as holdfast

url, namespace = sys.argv[1:]
engine = create_engine(url, pool_size=1, holdfast_probe_after_idle=60, holdfast_leak_warning=300)

def read():
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))

def sleep_for_an_hour():
    before = time.monotonic(), time.clock_gettime(time.CLOCK_BOOTTIME)
    with open(namespace) as there:
        if ctypes.CDLL(None, use_errno=True).setns(there.fileno(), 0x80) != 0:
            raise OSError(ctypes.get_errno(), "setns")
    assert time.monotonic() - before[0] < 5
    assert time.clock_gettime(time.CLOCK_BOOTTIME) - before[1] > 3500

read()
read()
probes = [holdfast.status(engine).counters.probes]
engine_two = create_engine(url, pool_size=1, holdfast_leak_warning=300)
out = engine_two.connect()
sleep_for_an_hour()
read()
probes.append(holdfast.status(engine).counters.probes)
read()
probes.append(holdfast.status(engine).counters.probes)
out.close()
print(json.dumps({"probes": probes, "leaks": holdfast.status(engine_two).counters.leaks}))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has time namespaces")
@pytest.mark.parametrize("name", ["mysqldb", "pymysql"])
def test_a_connection_that_slept_with_the_machine_is_probed_before_it_is_used(server: Server, name: str) -> None:
    hour_ahead = subprocess.Popen(
        ["unshare", "--time", "--boottime", "3600", "sh", "-c", "echo there; exec sleep 60"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert hour_ahead.stdout is not None
        if hour_ahead.stdout.readline() != "there\n":
            pytest.skip("this user may not make a time namespace")
        url = server.url(name).update_query_dict({"plugin": "holdfast"}).render_as_string(hide_password=False)
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, url, f"/proc/{hour_ahead.pid}/ns/time"],
            capture_output=True,
            text=True,
            timeout=60,
        )
    finally:
        hour_ahead.kill()
        hour_ahead.communicate()
    if "setns" in done.stderr and "OSError" in done.stderr:
        pytest.skip("this user may not enter a time namespace")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"probes": [0, 1, 1], "leaks": 1}
