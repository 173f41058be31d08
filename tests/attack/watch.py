"""A sequence that stands still is ended from outside, which is a finding; one that cannot be ended ends the program."""

from __future__ import annotations

import faulthandler
import os
import threading

import pymysql

from .fuzz import Finding, Pair
from .lab import SIDES
from .script import Script, format_steps

__all__ = ["watched"]

_SECONDS = 25.0


def watched(pair: Pair, steps: Script) -> list[Finding]:
    """Run a sequence, for so long at the most."""
    done = threading.Event()
    ended: list[Finding] = []

    def watch() -> None:
        while not done.wait(_SECONDS):
            if len(ended) > 1:
                print(f"It stands still, and cannot be ended: {pair.driver}, '0:{format_steps(steps)}'", flush=True)
                faulthandler.dump_traceback()
                os._exit(3)
            ended.append(Finding("held", "stands still", f"for {_SECONDS:g} s; then its connections were ended"))
            _end_connections(pair)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        return pair.run(steps) + ended[:1]
    finally:
        done.set()
        watcher.join()


def _end_connections(pair: Pair) -> None:
    for proxy in (*pair.lab.proxies.values(), *pair.lab.refusing.values()):
        proxy.drop()
        proxy.restore()
    with pymysql.connect(unix_socket=pair.lab.server.socket, user="root", autocommit=True) as connection:
        for name in SIDES:
            for number in pair.lab.sessions_by(connection, name):
                with connection.cursor() as cursor:
                    try:
                        cursor.execute(f"KILL {number}")
                    except pymysql.err.MySQLError:
                        continue
