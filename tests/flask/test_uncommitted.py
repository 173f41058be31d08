"""In Flask's debug mode, a warning names what a request has changed and not committed. An ordinary site has none."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask, abort, redirect
from sqlalchemy import text
from sqlalchemy.orm import Mapped, mapped_column

from sqlalchemy_holdfast._pages import page
from sqlalchemy_holdfast.flask import SQLAlchemy
from sqlalchemy_holdfast.lab import Server
from tests.flask.conftest import uri

Log = Callable[[], list[str]]


class Refused(Exception):
    pass


class Book:
    """A site with a view for each way in which a request may end."""

    def __init__(self, server: Server, driver: str, *, debug: bool = True, late: bool = False, **config: Any) -> None:
        self.app = app = Flask("site")
        app.config["SQLALCHEMY_DATABASE_URI"] = uri(server, driver)
        app.config.update(config)
        app.debug = debug and not late
        self.db = db = SQLAlchemy(app)
        app.debug = debug  # as app.run(debug=True) does

        class Entry(db.Model):  # type: ignore[name-defined,misc]
            __tablename__ = "ledger"
            id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
            value: Mapped[int]

        self.views: list[str] = []

        def view(function: Callable[[], Any]) -> None:
            app.add_url_rule(f"/{function.__name__}", view_func=function)
            self.views.append(function.__name__)

        @view
        def flushed() -> str:
            db.session.add(Entry(id=1, value=4711))
            db.session.flush()
            return "lost"

        @view
        def added() -> str:
            db.session.add(Entry(id=1, value=4711))
            return "lost"

        @view
        def changed() -> str:
            db.session.execute(db.select(Entry)).scalar_one().value = 2
            return "lost"

        @view
        def deleted() -> str:
            db.session.delete(db.session.execute(db.select(Entry)).scalar_one())
            return "lost"

        @view
        def committed() -> str:
            db.session.add(Entry(id=1, value=4711))
            db.session.commit()
            return str(db.session.execute(text("SELECT 'kept'")).scalar_one())

        @view
        def rolled_back() -> str:
            db.session.add(Entry(id=1, value=4711))
            db.session.flush()
            db.session.rollback()
            return "not wanted"

        @view
        def aborted() -> str:
            db.session.add(Entry(id=1, value=4711))
            db.session.flush()
            abort(400)

        @view
        def refused() -> str:
            db.session.add(Entry(id=1, value=4711))
            db.session.flush()
            raise Refused

        @view
        def answered_with_an_error() -> tuple[str, int]:
            db.session.add(Entry(id=1, value=4711))
            db.session.flush()
            db.session.add(Entry(id=2, value=4711))
            return "no", 422

        @view
        def failed() -> str:
            db.session.add(Entry(id=1, value=4711))
            db.session.flush()
            raise KeyError

        @view
        def read() -> str:
            entry = db.session.execute(db.select(Entry)).scalar_one()
            entry.value = entry.value  # no change
            return str(entry.value)

        app.register_error_handler(Refused, lambda error: redirect("/"))

    def get(self, view: str) -> int:
        with self.app.test_client() as client:
            try:
                return client.get(f"/{view}").status_code
            except KeyError:  # debug mode lets it through
                return 500


class Books:
    """Makes sites, and closes their connections at the end."""

    def __init__(self) -> None:
        self.made: list[Book] = []

    def __call__(self, server: Server, driver: str, **options: Any) -> Book:
        self.made.append(Book(server, driver, **options))
        return self.made[-1]


@pytest.fixture
def a_book() -> Iterator[Books]:
    books = Books()
    yield books
    for book in books.made:
        with book.app.app_context():
            book.db.engine.dispose()


@pytest.fixture
def warned(log: Log) -> Log:
    return lambda: [line for line in log() if "was rolled back: " in line or "are lost: " in line]


@pytest.fixture
def row(server: Server, table: str) -> None:
    server.execute("INSERT INTO ledger VALUES (9, 1)", database="test")


@pytest.mark.parametrize("late", [False, True], ids=["flask run --debug", "app.run(debug=True)"])
def test_the_line_that_wrote_is_named(
    a_book: Books, server: Server, table: str, driver: str, warned: Log, late: bool
) -> None:
    book = a_book(server, driver, late=late)
    assert [book.get("flushed"), book.get("flushed")] == [200, 200]
    (line,) = warned()
    assert "INSERT INTO ledger (id, value) VALUES (" in line
    assert f", sent by {__file__}, line " in line
    assert ", in flushed, was rolled back: " in line
    assert "holdfast_uncommitted_warning" in line


@pytest.mark.parametrize(
    ("view", "what"), [("added", "1 new Entry"), ("changed", "1 changed Entry"), ("deleted", "1 deleted Entry")]
)
def test_so_is_the_view_that_changed_something_and_did_not_even_send_it(
    a_book: Books, server: Server, row: None, warned: Log, view: str, what: str
) -> None:
    book = a_book(server, "pymysql")
    assert [book.get(view), book.get(view)] == [200, 200]
    (line,) = warned()
    assert f"The view '{view}' ({__file__}, line " in line
    assert f"db.session that are lost: {what}. To keep them, call db.session.commit()" in line
    assert line.endswith(page("errors/uncommitted"))
    assert "4711" not in line


@pytest.mark.parametrize(
    ("view", "status"),
    [
        *(("committed", 200), ("rolled_back", 200), ("aborted", 400), ("refused", 302)),
        *(("answered_with_an_error", 422), ("failed", 500), ("read", 200)),
    ],
)
def test_what_ends_as_it_was_meant_to_is_not(
    a_book: Books, server: Server, row: None, warned: Log, view: str, status: int
) -> None:
    book = a_book(server, "pymysql")
    assert book.get(view) == status
    assert warned() == []
    server.execute("DELETE FROM ledger", database="test")
    book.get("flushed")
    assert len(warned()) == 1, "the next request is not taken for one that was given up"


QUIET: dict[str, dict[str, Any]] = {
    "an ordinary site": {"debug": False},
    "tests": {"TESTING": True},
    "switched off": {"SQLALCHEMY_ENGINE_OPTIONS": {"holdfast_uncommitted_warning": False}},
}


@pytest.mark.parametrize("config", QUIET.values(), ids=QUIET)
def test_there_is_no_warning_for(a_book: Books, server: Server, row: None, warned: Log, config: dict[str, Any]) -> None:
    book = a_book(server, "pymysql", **config)
    for view in book.views:
        book.get(view)
        server.execute("DELETE FROM ledger WHERE id = 1", database="test")
    assert warned() == []
    with book.app.app_context():
        assert not book.db.engine._has_events, "nobody listens to statements, which would cost time"


def test_the_setting_asks_for_it_without_debug_mode(a_book: Books, server: Server, table: str, warned: Log) -> None:
    book = a_book(server, "pymysql", debug=False, SQLALCHEMY_ENGINE_OPTIONS={"holdfast_uncommitted_warning": True})
    book.get("aborted")
    assert warned() == []
    book.get("flushed")
    assert len(warned()) == 1


def test_a_site_on_another_database_has_none_of_it(log: Log) -> None:
    app = Flask("local")
    app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite://"
    app.debug = True
    SQLAlchemy(app)
    app.add_url_rule("/", view_func=lambda: "hello")
    assert app.test_client().get("/").status_code == 200
    assert "handle_user_exception" not in vars(app)


def test_first_requests_of_several_threads(a_book: Books, server: Server, table: str, driver: str, warned: Log) -> None:
    """The development server has threads, and the first request of each may come at once."""
    book = a_book(server, driver, late=True)
    begin = threading.Barrier(4)
    statuses: list[int] = []

    def visit() -> None:
        begin.wait()
        statuses.extend(book.get("read") for _ in range(5))

    server.execute("INSERT INTO ledger VALUES (9, 1)", database="test")
    threads = [threading.Thread(target=visit) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(statuses) <= {200}, statuses
    assert warned() == []
