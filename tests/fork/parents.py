"""A parent in one of three states, which can be judged after a fork."""

from __future__ import annotations

import gc
import itertools
import os
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

TABLE = "fork_ledger"
ROWS = 4000


STATES = ("idle", "in_transaction", "half_read")
_numbers = itertools.count(os.getpid() * 1000)


class Parent:
    """An engine with one connection in one of :data:`STATES`.

    ``idle``: in the pool, with a ROLLBACK whose reply nobody has read. ``in_transaction``: a Session with an
    uncommitted INSERT. ``half_read``: the same, in the middle of a streamed result.
    """

    def __init__(self, url: Any, state: str, **options: Any) -> None:
        self.url, self.state, self.number, self.pid = url, state, next(_numbers), os.getpid()
        if "plugins" not in options:  # connections are left to the garbage collector on purpose
            options = {"plugins": ["holdfast"], "holdfast_leak_warning": None, **options}
        self.engine: Engine = create_engine(url, **options)
        self.held = "plugins" not in options
        self.outside: Engine = create_engine(url, poolclass=NullPool)
        self.session: Session | None = None
        self.connection: Connection | None = None
        self.result: Any = None
        self.driver_connection: Any = None
        """What the driver made, as code that went round SQLAlchemy may hold it."""
        self.first: list[Any] = []
        self.closed = False
        if state == "idle":
            with self.engine.connect() as connection:
                self.id = server_id(connection)
                self.driver_connection = connection.connection.dbapi_connection
            return
        self.session = Session(self.engine)
        self.connection = self.session.connection()
        self.id = server_id(self.connection)
        self.connection.execute(text(f"INSERT INTO {TABLE} VALUES ({self.number}, 1)"))
        if state == "half_read":
            sql = f"SELECT seq, REPEAT('x', 100) FROM {TABLE}_rows ORDER BY seq"
            if self.engine.dialect.supports_server_side_cursors:
                options = {"stream_results": True, "max_row_buffer": 10}
                self.result = self.connection.execution_options(**options).execute(text(sql))
            else:  # mysql-connector's dialect always has all rows read
                self.result = self.connection.connection.cursor(buffered=False)
                self.result.execute(sql)
            self.first = [row[0] for row in self.result.fetchmany(100)]

    def judge(self) -> None:
        """Go on as if there had been no fork, and fail if there is a difference.

        :raises AssertionError: saying which.
        """
        import sqlalchemy_holdfast as holdfast

        if self.session is None:
            with self.engine.connect() as connection:
                assert server_id(connection) == self.id, f"{self.state}: the parent's session is another"
        else:
            assert self.connection is not None
            if self.result is not None:
                rest = [row[0] for row in self.result]
                assert self.first + rest == list(range(1, ROWS + 1)), f"{self.state}: the result did not go on"
            assert self.rows() == 0, f"{self.state}: the parent's transaction was committed by somebody else"
            assert server_id(self.connection) == self.id, f"{self.state}: the parent's session is another"
            inside = self.connection.execute(text(f"SELECT COUNT(*) FROM {TABLE} WHERE id = {self.number}")).scalar()
            assert inside == 1, f"{self.state}: the parent's transaction lost its INSERT"
            self.session.commit()
            assert self.rows() == 1, f"{self.state}: the parent's COMMIT did not commit"
        hold = holdfast.status(self.engine)
        if hold.active:
            assert hold.counters.replaced == {}
            assert hold.counters.connects == 1, "the parent had to connect again"
        else:
            assert not self.held, hold

    def rows(self, more: int = 0) -> int:
        """How many rows of this parent's number the rest of the world sees."""
        with self.outside.connect() as connection:
            sql = f"SELECT COUNT(*) FROM {TABLE} WHERE id = {self.number + more}"
            return int(connection.execute(text(sql)).scalar_one())

    def close(self) -> None:
        if self.closed:
            return
        if self.result is not None:
            self.result.close()
        if self.session is not None:
            self.session.close()
        self.engine.dispose()

    def forget_connections(self) -> None:
        self.session = self.connection = self.result = self.driver_connection = None
        gc.collect()

    def forget(self) -> None:
        """Drop the last reference to everything inherited."""
        self.__dict__.clear()
        gc.collect()


def server_id(connection: Any) -> int:
    return int(connection.execute(text("SELECT CONNECTION_ID()")).scalar_one())
