"""One connection, operations in any order: the model says what each must see. Hypothesis shrinks a failure."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError, OperationalError

from sqlalchemy_holdfast.lab import Server
from tests.conftest import EngineFactory, wait_until_ended

WORDS = st.sampled_from(["SELECT {}", "  select {}", "/* no word first */ SELECT {}", "(SELECT {})"])


class OneConnection(RuleBasedStateMachine):
    """A pool of one; whoever checks out gets what the one before gave back."""

    make: Callable[[], Engine]
    observer: Engine
    """Of another account, without holdfast: what is committed, and the one who kills."""

    @initialize()
    def begin(self) -> None:
        with self.observer.connect() as connection:
            connection.execute(text("DELETE FROM any_order"))
        self.engine = type(self).make()
        self.connection: Connection | None = None
        self.number = 0
        self.committed: set[int] = set()
        self.written: set[int] = set()

    @property
    def held(self) -> Connection:
        assert self.connection is not None
        return self.connection

    def dead(self) -> bool:
        """Whether the connection is known to have been killed while it was in use."""
        return getattr(self, "killed", None) is self.connection and self.connection is not None

    @precondition(lambda self: self.connection is None)
    @rule(autocommit=st.booleans())
    def check_out(self, autocommit: bool) -> None:
        level: Any = {"isolation_level": "AUTOCOMMIT"} if autocommit else {}
        self.connection = self.engine.connect().execution_options(**level)
        self.autocommit = autocommit
        self.killed: Connection | None = None

    @precondition(lambda self: self.connection is not None and not self.dead())
    @rule(words=WORDS)
    def read(self, words: str) -> None:
        self.number += 1
        assert self.held.exec_driver_sql(words.format(self.number)).scalar() == self.number

    @precondition(lambda self: self.connection is not None and not self.dead())
    @rule(many=st.booleans())
    def write(self, many: bool) -> None:
        numbers = {self.number + 1, self.number + 2} if many else {self.number + 1}
        self.number += 2
        self.held.execute(text("INSERT INTO any_order VALUES (:n)"), [{"n": n} for n in numbers])
        if self.autocommit:
            self.committed |= numbers
        else:
            self.written |= numbers

    @precondition(lambda self: self.connection is not None and not self.dead())
    @rule()
    def read_own_rows(self) -> None:
        rows = set(self.held.execute(text("SELECT n FROM any_order")).scalars())
        assert rows == self.committed | self.written

    @precondition(lambda self: self.connection is not None and not self.dead())
    @rule()
    def fail(self) -> None:
        with pytest.raises(DBAPIError):
            self.held.execute(text("SELECT * FROM nowhere"))

    @precondition(lambda self: self.connection is not None and not self.dead())
    @rule()
    def commit(self) -> None:
        self.held.commit()
        self.committed |= self.written
        self.written = set()

    @precondition(lambda self: self.connection is not None)
    @rule()
    def roll_back(self) -> None:
        self.held.rollback()
        self.written = set()

    @precondition(lambda self: self.connection is not None)
    @rule()
    def invalidate(self) -> None:
        self.held.invalidate()
        self.held.rollback()
        self.written = set()
        self.killed = None
        self.autocommit = False  # SQLAlchemy sets it on the first connection only, with holdfast or without

    @precondition(lambda self: self.connection is not None)
    @rule()
    def check_in(self) -> None:
        self.held.close()
        self.connection = None
        self.written = set()

    @rule()
    def kill(self) -> None:
        connection = self.connection or self.engine.connect()
        driver_connection: Any = connection.connection.driver_connection
        if self.connection is None:
            connection.close()
        elif self.connection.invalidated:
            return
        with self.observer.connect() as observer:
            ids = observer.execute(text("SELECT id FROM information_schema.processlist WHERE user = 'app'")).scalars()
            for id in ids.all():
                with contextlib.suppress(OperationalError):  # 1094: it has just ended by itself
                    observer.execute(text(f"KILL {id}"))
        if not self.dead():
            wait_until_ended(driver_connection)
        self.killed = self.connection
        self.written = set()

    @invariant()
    def others_see_what_was_committed(self) -> None:
        if hasattr(self, "committed"):
            with self.observer.connect() as connection:
                assert set(connection.execute(text("SELECT n FROM any_order")).scalars()) == self.committed

    def teardown(self) -> None:
        if getattr(self, "connection", None) is not None:
            self.held.close()
        if hasattr(self, "engine"):
            with self.engine.connect() as connection:
                assert connection.execute(text("SELECT 4711")).scalar() == 4711
            self.engine.dispose()


@pytest.mark.slow
@pytest.mark.chaos
def test_one_connection_in_any_order(driver: str, held: EngineFactory, stock: EngineFactory) -> None:
    with Server() as server:
        server.create_account("observer", "observer")
        server.execute("GRANT ALL PRIVILEGES ON *.* TO observer@'%'")
        observer = stock(
            server.url("pymysql", user="observer", password="observer", query={"ssl_disabled": "1"}),
            isolation_level="AUTOCOMMIT",
        )
        server.execute("CREATE TABLE any_order (n INT) ENGINE=InnoDB", database="test")

        def make() -> Engine:
            return held(server.url(driver), pool_size=1, max_overflow=0, pool_timeout=2)

        class Machine(OneConnection):
            pass

        Machine.make, Machine.observer = staticmethod(make), observer
        run_state_machine_as_test(
            Machine,
            settings=settings(
                max_examples=25,
                stateful_step_count=30,
                deadline=None,
                database=None,
                phases=(Phase.generate, Phase.shrink),
                suppress_health_check=list(HealthCheck),
            ),
        )
