"""`run()` on a current session: what its transaction has done already is never rolled back in silence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import Engine, select, text
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import Session, scoped_session, sessionmaker

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast.flask import SQLAlchemy
from sqlalchemy_holdfast.lab import Server
from tests.conftest import EngineFactory
from tests.transactions.conftest import WRITE, Entry

Names = Callable[[], list[str]]

PADDING = " AND 'x' <> 'yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy'"

CHANGES = {
    "a function that writes": "SELECT next_number()",
    "in a view": "SELECT n FROM numbered",
    "in a subquery": "SELECT (SELECT next_number())",
    "behind a comment": "/* page */ SELECT next_number()",
    "in another schema's name": "SELECT test.next_number()",
    "in a CTE": "WITH a AS (SELECT next_number() AS n) SELECT n FROM a",
    "in an executable comment": "SELECT /*!50000 next_number() */",
    "a locking read": "SELECT id FROM entry FOR UPDATE",
    "in a derived table": f"SELECT * FROM (SELECT id FROM entry FOR UPDATE) a WHERE 1 = 1{PADDING}",
    "a locking read in parentheses": "(SELECT id FROM entry FOR UPDATE)",
    "LOCK IN SHARE MODE and more": f"SELECT id FROM (SELECT id FROM entry LOCK IN SHARE MODE) a WHERE 1 = 1{PADDING}",
    "a user variable": "SELECT @a := 1",
    "a lock of its own": "SELECT GET_LOCK('holdfast', 1)",
    "a sequence": "SELECT NEXTVAL(numbers)",
    "a write": "UPDATE entry SET name = name",
}
VIEWS = ("in a view",)
"""What a text cannot tell; docs/transactions.md says so."""

READS = {
    "a read": "SELECT name FROM entry",
    "with functions of the server's": "SELECT COUNT(*), MAX(id), NOW() FROM entry WHERE name LIKE 'a%'",
}


@pytest.fixture(autouse=True)
def routines(_schema: Server) -> None:
    for sql in (
        "CREATE TABLE IF NOT EXISTS number (n INT)",
        "DELETE FROM number",
        "INSERT INTO number VALUES (0)",
        "CREATE OR REPLACE FUNCTION next_number() RETURNS INT MODIFIES SQL DATA "
        "BEGIN UPDATE number SET n = n + 1; RETURN (SELECT n FROM number); END",
        "CREATE OR REPLACE VIEW numbered AS SELECT next_number() AS n",
        "CREATE SEQUENCE IF NOT EXISTS numbers",
    ):
        _schema.execute(sql, database="test")


@pytest.fixture
def registry(server: Server, driver: str, held: EngineFactory) -> Any:
    registry = scoped_session(sessionmaker(held(server.url(driver))))
    yield registry
    registry.remove()


@pytest.mark.parametrize("statement", [sql for name, sql in CHANGES.items() if name not in VIEWS])
def test_a_session_that_may_have_changed_something_is_refused(
    registry: scoped_session[Session], entries: Names, statement: str
) -> None:
    registry.execute(text(statement))
    with pytest.raises(InvalidRequestError, match="may have changed something"):
        holdfast.run(registry, lambda session: session.execute(WRITE, {"name": "no"}))
    registry.commit()
    assert entries() == []


def test_the_numbers_of_a_function_that_writes_are_not_taken_back(
    server: Server, registry: scoped_session[Session]
) -> None:
    given = []
    for _ in range(3):
        given.append(registry.execute(text("SELECT next_number()")).scalar())
        with pytest.raises(InvalidRequestError):
            holdfast.run(registry, lambda session: None)
        registry.commit()
    assert given == [1, 2, 3]
    assert server.execute("SELECT n FROM number", database="test") == [(3,)]


@pytest.mark.parametrize("statement", READS.values(), ids=READS)
def test_one_that_has_only_read_is_begun_anew(
    registry: scoped_session[Session], entries: Names, statement: str
) -> None:
    registry.execute(text(statement)).all()
    holdfast.run(registry, lambda session: session.execute(WRITE, {"name": "Ada"}))
    assert entries() == ["Ada"]


@pytest.mark.parametrize(
    "value",
    [
        "O'Brien",
        "back\\slash",
        'double"quote',
        "semi;colon",
        "/* no comment",
        "-- nor this",
        "é",
        "😀",
        "日\\'日;",
        "\\\\",
        "%s %(a)s",
    ],
)
def test_what_was_looked_for_makes_no_difference(registry: scoped_session[Session], entries: Names, value: str) -> None:
    """Drivers put values into the text."""
    registry.scalars(select(Entry).where(Entry.name == value, Entry.name.in_([value, "x"]))).all()
    holdfast.run(registry, lambda session: session.execute(WRITE, {"name": "Ada"}))
    assert entries() == ["Ada"]


def test_nor_does_how_often(registry: scoped_session[Session], entries: Names) -> None:
    for number in range(200):
        registry.execute(select(Entry).where(Entry.id == number)).all()
    holdfast.run(registry, lambda session: session.execute(WRITE, {"name": "Ada"}))
    assert entries() == ["Ada"]


def test_a_change_among_many_reads_is_not_forgotten(registry: scoped_session[Session], entries: Names) -> None:
    registry.execute(text("SELECT next_number()"))
    for number in range(200):
        registry.execute(select(Entry).where(Entry.id == number)).all()
    with pytest.raises(InvalidRequestError, match="may have changed something"):
        holdfast.run(registry, lambda session: None)


def test_what_was_sent_besides_the_session_counts(registry: scoped_session[Session], entries: Names) -> None:
    cursor = registry.connection().connection.cursor()
    cursor.execute("INSERT INTO entry (name) VALUES ('raw')")
    cursor.close()
    with pytest.raises(InvalidRequestError, match="may have changed something"):
        holdfast.run(registry, lambda session: None)
    registry.commit()
    assert entries() == ["raw"]


def test_in_flask_too(server: Server, entries: Names) -> None:
    app = Flask("site")
    app.config["SQLALCHEMY_DATABASE_URI"] = server.url("pymysql").render_as_string(hide_password=False)
    db = SQLAlchemy(app)
    with app.app_context():
        db.session.execute(text("SELECT next_number()"))
        with pytest.raises(InvalidRequestError, match="may have changed something"):
            db.run(lambda: None)
        db.session.rollback()
        db.engine.dispose()


def test_a_request_shares_a_session_whose_function_wrote(server: Server, entries: Names) -> None:
    """A context was pushed at module level, and its session has called a function that writes: not a read alone."""
    app = Flask("site")
    app.config["SQLALCHEMY_DATABASE_URI"] = server.url("pymysql").render_as_string(hide_password=False)
    db = SQLAlchemy(app)

    @app.get("/")
    def home() -> str:
        return str(db.session.execute(text("SELECT n FROM number")).scalar())

    with app.app_context():
        db.session.execute(text("SELECT next_number()"))
        assert app.test_client().get("/").text == "1"
        db.session.rollback()
        assert app.test_client().get("/").text == "0"
        db.engine.dispose()


def test_a_session_whose_connection_was_lost_is_begun_anew(server: Server, engine: Engine, entries: Names) -> None:
    registry = scoped_session(sessionmaker(engine))
    number = registry.execute(text("SELECT CONNECTION_ID()")).scalar_one()
    server.kill_connection(number)
    holdfast.run(registry, lambda session: session.execute(WRITE, {"name": "Ada"}))
    registry.remove()
    assert entries() == ["Ada"]
