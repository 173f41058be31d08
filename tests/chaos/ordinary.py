"""What applications do with a connection, each method one operation."""

from __future__ import annotations

import contextlib
import gc
import weakref
from typing import Any

from sqlalchemy import Connection, func, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from tests.chaos.tables import ADD, FIND, INSERT, LOCK, ROWS, Entry, value_of
from tests.chaos.worker import Refused, Worker


class Ordinary(Worker):
    """Operations without a fault of their own."""

    def do_number(self) -> None:
        with self.unit() as connection:
            self.number_asked(connection)

    def do_row(self) -> None:
        with self.unit() as connection:
            self.check_row(connection)
            self.check_row(connection)

    def do_locked_row(self) -> None:
        if self.outcome.get(self.last) == "committed":  # no gap is locked then
            with self.unit() as connection:
                got = connection.execute(LOCK, {"token": self.last}).scalar()
                self.check(got, value_of(self.last), "locked row")

    def do_nothing(self) -> None:
        with self.unit():
            pass

    def do_write(self) -> None:
        with self.unit() as connection:
            self.insert(connection)
            self.commit(connection)

    def do_write_in_begin(self) -> None:
        with self.engine.begin() as connection:
            self.insert(connection)
            self.number_asked(connection)
            self.about_to_commit()
        self.committed()

    def do_write_then_read(self) -> None:
        with self.unit() as connection:
            token = self.insert(connection)
            self.commit(connection)
            self.check(connection.execute(FIND, {"token": token}).scalar(), value_of(token), "own row")

    def do_write_and_roll_back(self) -> None:
        with self.unit() as connection:
            self.insert(connection)
            connection.rollback()
            self.forget()
            self.number_asked(connection)

    def do_write_and_close(self) -> None:
        with self.unit() as connection:
            self.insert(connection)

    def do_roll_back_then_write(self) -> None:
        with self.unit() as connection:
            self.insert(connection)
            connection.rollback()
            self.forget()
            self.insert(connection)
            self.commit(connection)

    def do_roll_back_twice(self) -> None:
        with self.unit() as connection:
            self.number_asked(connection)
            connection.rollback()
            connection.rollback()
            self.number_asked(connection)
            connection.rollback()
            connection.rollback()

    def do_savepoint_released(self) -> None:
        with self.unit() as connection:
            self.insert(connection)
            with connection.begin_nested():
                self.insert(connection)
            self.commit(connection)

    def do_savepoint_rolled_back(self) -> None:
        with self.unit() as connection:
            self.insert(connection)
            with contextlib.suppress(Refused), connection.begin_nested():
                token = self.insert(connection)
                self.undo(token)
                raise Refused
            self.commit(connection)

    def do_two_statements(self) -> None:
        with self.unit() as connection:
            self.insert(connection)
            amount = self.chance.randrange(1, 1000)
            self.amount += amount
            if self.run.plan.autocommit:
                self.about_to_commit()
            connection.execute(ADD, {"amount": amount, "id": self.number})
            self.commit(connection)

    def do_two_statements_and_close(self) -> None:
        with self.unit() as connection:
            connection.execute(ADD, {"amount": 5, "id": self.number})
            self.insert(connection)

    def do_many(self) -> None:
        with self.unit() as connection:
            tokens = [self.token() for _ in range(self.chance.choice((2, 30)))]
            self.open += tokens
            connection.execute(INSERT, [{"token": token, "value": value_of(token)} for token in tokens])
            self.commit(connection)

    def do_stream(self) -> None:
        factor = self.chance.randrange(1, 1 << 20)
        with self.engine.connect().execution_options(stream_results=True, max_row_buffer=10) as connection:
            got = sum(row[0] for row in connection.execute(ROWS, {"k": factor}))
            self.check(int(got), factor * 300 * 301 // 2, "stream")
            self.number_asked(connection)

    def do_half_a_stream(self) -> None:
        factor = self.chance.randrange(1, 1 << 20)
        with self.engine.connect().execution_options(stream_results=True, max_row_buffer=10) as connection:
            result = connection.execute(ROWS, {"k": factor})
            for i in range(self.chance.choice((1, 3, 12, 299))):
                self.check(int(result.fetchone()[0]), factor * (i + 1), "half a stream")  # type: ignore[index]

    def do_big(self) -> None:
        size = self.chance.choice((40_000, 300_000))
        letter = self.chance.choice("abcdef")
        with self.unit() as connection:
            self.check(connection.execute(text("SELECT :b"), {"b": letter * size}).scalar(), letter * size, "big")

    def do_exception(self) -> None:
        with self.engine.begin() as connection:
            self.insert(connection)
            raise Refused

    def do_wrong_statement(self) -> None:
        with self.unit() as connection:
            with contextlib.suppress(DBAPIError):
                connection.execute(text(self.chance.choice(("SELECT * FROM nowhere", "SELEC 1"))))
                raise AssertionError("a wrong statement was accepted")
            self.check_alive(connection)

    def do_duplicate_key(self) -> None:
        with self.unit() as connection:
            token = self.insert(connection)
            with contextlib.suppress(DBAPIError):
                connection.execute(text(f"INSERT INTO chaos_account VALUES ({self.number}, 0)"))
                raise AssertionError("a duplicate key was accepted")
            self.check(connection.execute(FIND, {"token": token}).scalar(), value_of(token), "row before a failure")
            self.commit(connection)

    def check_alive(self, connection: Connection) -> None:
        self.number_asked(connection)
        connection.rollback()
        self.number_asked(connection)

    def do_autocommit(self) -> None:
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            token = self.token()
            self.open.append(token)
            self.about_to_commit()
            connection.execute(INSERT, {"token": token, "value": value_of(token)})
            self.committed()
            self.check_row(connection)

    def do_serializable(self) -> None:
        with self.engine.connect().execution_options(isolation_level="SERIALIZABLE") as connection:
            self.number_asked(connection)
            self.check(connection.get_isolation_level(), "SERIALIZABLE", "isolation level")

    def do_isolation_level(self) -> None:
        """What others set for one checkout must be gone."""
        with self.unit() as connection:
            if not self.run.plan.autocommit:  # there SQLAlchemy leaves the level of another as it was
                self.check(connection.get_isolation_level(), "REPEATABLE READ", "isolation level")
            else:
                self.check(connection.execute(text("SELECT @@autocommit")).scalar(), 1, "autocommit")

    def do_orm(self) -> None:
        with Session(self.engine) as session:
            tokens = [self.token(), self.token()]
            self.open += tokens
            if self.run.plan.autocommit:
                self.about_to_commit()
            session.add_all(Entry(token=token, value=value_of(token)) for token in tokens)
            session.flush()
            self.check(session.scalar(select(func.count()).where(Entry.token.in_(tokens))), 2, "ORM count")
            self.commit(session)
            entry = session.scalars(select(Entry).where(Entry.token == tokens[0])).one()
            self.check(entry.value, value_of(tokens[0]), "ORM row")

    def do_orm_rolled_back(self) -> None:
        if self.run.plan.autocommit:
            return
        with Session(self.engine) as session:
            token = self.token()
            session.add(Entry(token=token, value=value_of(token)))
            session.flush()
            session.rollback()
            self.check(session.scalar(select(func.count()).where(Entry.token == token)), 0, "ORM count rolled back")

    def do_raw(self) -> None:
        fairy = self.engine.raw_connection()
        try:
            asked = self.chance.randrange(1 << 30)
            cursor = fairy.cursor()
            cursor.execute(f"SELECT {asked}")
            self.check(tuple(cursor.fetchall()), ((asked,),), "raw")
            cursor.close()
            how = self.chance.randrange(3)
            if how == 1:
                fairy.rollback()
            if how == 2:
                fairy.commit()
        finally:
            fairy.close()

    def do_two_results(self) -> None:
        if self.run.plan.driver == "pymysql":  # has to be asked for at connect
            return
        fairy = self.engine.raw_connection()
        try:
            asked = self.chance.randrange(1 << 30)
            cursor = fairy.cursor()
            if self.run.plan.driver == "mysqldb":
                cursor.execute(f"SELECT {asked}; SELECT {asked + 1}")
                self.check(tuple(cursor.fetchall()), ((asked,),), "first of two results")
                if self.chance.random() < 0.7:
                    cursor.nextset()
                    self.check(tuple(cursor.fetchall()), ((asked + 1,),), "second of two results")
                    cursor.close()
            else:
                inner: Any = fairy.driver_connection
                for more, _ in enumerate(inner.cmd_query_iter(f"SELECT {asked}; SELECT {asked + 1}")):
                    rows, _ = inner.get_rows()
                    self.check(int(rows[0][0]), asked + more, "one of two results")
                    if self.chance.random() < 0.2:
                        break
        finally:
            fairy.close()

    def do_nested(self) -> None:
        with self.run.second_connection, self.unit() as outer:
            token = self.insert(outer)
            with self.unit() as inner:
                self.number_asked(inner)
                expected = value_of(token) if self.run.plan.autocommit else None
                self.check(inner.execute(FIND, {"token": token}).scalar(), expected, "uncommitted row of another")
            self.number_asked(outer)

    def do_detach(self) -> None:
        with self.unit() as connection:
            self.insert(connection)
            connection.detach()
            self.number_asked(connection)

    def do_soft_invalidate(self) -> None:
        with self.unit() as connection:
            self.number_asked(connection)
            connection.connection.invalidate(soft=True)
            self.number_asked(connection)

    def do_invalidate(self) -> None:
        with self.unit() as connection:
            self.insert(connection)
            connection.invalidate()
            connection.rollback()
            self.forget()
            self.number_asked(connection)

    def do_dispose(self) -> None:
        if self.chance.random() < 0.05:
            self.report.faults["dispose"] += 1
            self.engine.dispose()
        else:
            self.do_number()

    def do_leak(self) -> None:
        connection: Connection | None = self.engine.connect()
        assert connection is not None
        self.insert(connection)
        leaked = weakref.ref(connection)
        del connection
        while leaked() is not None:
            gc.collect()  # returns at once while another thread's collection is under way
