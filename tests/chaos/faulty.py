"""Operations with a fault: a connection is killed, idles too long, or is interrupted in the middle of a call."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, text

from tests.chaos.interruption import Interruption
from tests.chaos.ordinary import Ordinary
from tests.chaos.tables import FIND, INSERT, ROWS, value_of


class Faulty(Ordinary):
    """All operations: those of :class:`Ordinary`, and those with a fault."""

    def _kill(self, *, idle: bool, query: bool = False) -> None:
        known = self.connections.pick(self.chance, idle=idle)
        if known is None:
            return
        before = time.monotonic()
        fault = ("kill query" if query else "kill", before, before + 60)  # in force until it is known to have ended
        known.killed.append(fault)
        if query:
            with contextlib.suppress(Exception):  # gone already
                self.server.execute(f"KILL QUERY {known.id}")
        else:
            self.server.kill_connection(known.id)
        known.killed[known.killed.index(fault)] = (fault[0], before, time.monotonic())
        self.report.faults[f"{fault[0]}, {'idle' if idle else 'in use'}"] += 1

    def do_kill_idle(self) -> None:
        self._kill(idle=True)
        self.do_number()

    def do_kill_in_use(self) -> None:
        self._kill(idle=False)
        self.do_number()

    def do_kill_query_idle(self) -> None:
        self._kill(idle=True, query=True)
        self.do_number()

    def do_kill_query_in_use(self) -> None:
        self._kill(idle=False, query=True)
        self.do_number()

    def do_kill_own_then_return(self) -> None:
        """Lost while it was checked out and not used again: nobody's error, and nothing of it is committed."""
        with self.unit() as connection:
            self.insert(connection)
            known = next(iter(self.connections.mine().values()))[0]
            before = time.monotonic()
            self.server.kill_connection(known.id)
            known.killed.append(("kill", before, time.monotonic()))
            self.report.faults["kill, own"] += 1

    def do_kill_own_with_a_level_then_return(self) -> None:
        """SQLAlchemy puts an isolation level back when the connection is returned; by then it is dead."""
        level: Any = self.chance.choice(("SERIALIZABLE", "AUTOCOMMIT"))
        with self.engine.connect().execution_options(isolation_level=level) as connection:
            self.number_asked(connection)
            if self.chance.random() < 0.5:
                connection.commit()
            known = next(iter(self.connections.mine().values()))[0]
            before = time.monotonic()
            self.server.kill_connection(known.id)
            known.killed.append(("kill", before, time.monotonic()))
            self.report.faults["kill, own with a level"] += 1

    def do_kill_own_then_commit(self) -> None:
        """COMMIT must not report success, or the row must be there."""
        with self.unit() as connection:
            self.insert(connection)
            known = next(iter(self.connections.mine().values()))[0]
            before = time.monotonic()
            known.killed.append(("kill", before, before + 60))
            self.server.kill_connection(known.id)
            self.report.faults["kill, own before commit"] += 1
            self.commit(connection)

    def do_idle_limit(self) -> None:
        if self.chance.random() > 0.1:
            return
        with self.unit() as connection:
            connection.execute(text("SET SESSION wait_timeout = 1"))
            known = next(iter(self.connections.mine().values()))[0]
            known.killed.append(("mortal", time.monotonic(), 0.0))
            self.report.faults["idle limit"] += 1

    def do_slow(self) -> None:
        """Something for KILL and KILL QUERY to hit."""
        with self.unit() as connection:
            token = self.insert(connection)
            connection.execute(text("SELECT SLEEP(0.003)")).scalar()
            self.check(connection.execute(FIND, {"token": token}).scalar(), value_of(token), "row after a pause")
            self.commit(connection)

    def _interrupt(self, body: Callable[[], object]) -> bool:
        moment = int(self.chance.choice((6, 25, 90, 250)) * self.chance.random())
        with Interruption(moment) as interruption:
            try:
                body()
            except Exception:
                if not interruption.fired:
                    raise
        if interruption.fired:
            self.fault = "interrupted"
            self.report.faults["interrupted"] += 1
            self.run.moments[interruption.fired] += 1
        return bool(interruption.fired)

    def _go_on(self, connection: Connection) -> None:
        """What an application does after a time limit: any of these, and none may give a wrong answer."""
        how = self.chance.randrange(4)
        if how == 1:
            connection.rollback()
            self.forget()
            self.number_asked(connection)
        elif how == 2:
            self.number_asked(connection)
        elif how == 3:
            self.about_to_commit()
            try:
                connection.commit()
            finally:
                self.in_doubt()
            self.number_asked(connection)

    def do_interrupted_read(self) -> None:
        with self.unit() as connection:
            if self.chance.random() < 0.5:
                self.number_asked(connection)
            slow = text("SELECT SLEEP(0.002)" if self.chance.random() < 0.3 else "SELECT 1, 2, 3, 4, 5, 6")
            if self._interrupt(lambda: connection.execute(slow).all()):
                self._go_on(connection)

    def do_interrupted_write(self) -> None:
        with self.unit() as connection:
            token = self.token()
            values = {"token": token, "value": value_of(token)}
            self.open.append(token)
            if self.run.plan.autocommit:
                self.about_to_commit()
            if self._interrupt(lambda: connection.execute(INSERT, values)):
                if self.run.plan.autocommit:
                    self.in_doubt()
                self._go_on(connection)
            elif self.run.plan.autocommit:
                self.committed()

    def do_interrupted_stream(self) -> None:
        with self.engine.connect().execution_options(stream_results=True, max_row_buffer=10) as connection:
            result = connection.execute(ROWS, {"k": 1})
            if self._interrupt(lambda: [result.fetchone() for _ in range(30)]):
                self._go_on(connection)

    def do_interrupted_commit(self) -> None:
        with self.unit() as connection:
            self.insert(connection)
            self.about_to_commit()
            if self._interrupt(connection.commit):
                self.in_doubt()
                self._go_on(connection)
            else:
                self.committed()

    def do_interrupted_rollback(self) -> None:
        with self.unit() as connection:
            self.insert(connection)
            if self._interrupt(connection.rollback):
                self.number_asked(connection)

    def do_interrupted_close(self) -> None:
        connection = self.engine.connect()
        self.insert(connection)
        self._interrupt(connection.close)

    def do_interrupted_unit(self) -> None:
        def body() -> None:
            with self.engine.connect() as connection:
                self.number_asked(connection)

        self._interrupt(body)
