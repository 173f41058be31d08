"""A request has a session of its own where an application context was pushed at module level."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import flask_sqlalchemy
from flask import Flask, Response, g, has_app_context
from flask.globals import app_ctx
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from sqlalchemy_holdfast.flask import SQLAlchemy
from sqlalchemy_holdfast.lab import Server
from tests.flask.conftest import NUMBER, the_engine


def site(app: Flask, db: SQLAlchemy, table: str) -> None:
    @app.get("/")
    def home() -> str:
        g.seen = g.get("seen", 0) + 1
        return f"{db.session.execute(text(f'SELECT COUNT(*) FROM {table}')).scalar()} {id(db.session())} {g.seen}"


def test_a_request_ends_its_session_where_a_context_was_pushed_at_module_level(
    app: Flask, server: Server, table: str
) -> None:
    db = SQLAlchemy(app)
    site(app, db, table)
    with app.app_context():  # stands for a module's app.app_context().push()
        outer = db.session()
        assert db.session.execute(text(f"SELECT COUNT(*) FROM {table}")).scalar() == 0
        client = app.test_client()
        for number in range(3):
            count, session, seen = client.get("/").text.split()
            assert count == str(number), "an old snapshot"
            assert session != str(id(outer))
            assert seen == str(number + 1), "flask.g is the outer context's, as in Flask"
            server.execute(f"INSERT INTO {table} VALUES ({number}, 0)", database="test")
        assert db.session() is outer
        assert db.engine.pool.checkedout() == 1  # type: ignore[attr-defined]
        db.session.remove()
        db.engine.dispose()


def test_stock_flask_sqlalchemy_reads_an_old_snapshot_there(app: Flask, server: Server, table: str) -> None:
    db = flask_sqlalchemy.SQLAlchemy(app)
    site(app, db, table)  # type: ignore[arg-type]
    with app.app_context():
        counts = []
        for number in range(3):
            counts.append(app.test_client().get("/").text.split()[0])
            server.execute(f"INSERT INTO {table} VALUES ({number}, 0)", database="test")
        assert counts == ["0", "0", "0"]
        db.session.remove()
        db.engine.dispose()


def test_a_request_that_fails_ends_its_session_too(app: Flask, table: str) -> None:
    db = SQLAlchemy(app)

    @app.get("/")
    def view() -> str:
        db.session.execute(text(f"INSERT INTO {table} VALUES (1, 1)"))
        raise ValueError("half done")

    with app.app_context():
        for _ in range(3):
            assert app.test_client().get("/").status_code == 500
        assert db.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
        assert db.session.execute(text(f"SELECT COUNT(*) FROM {table}")).scalar() == 0
        db.session.remove()
        db.engine.dispose()


def test_a_streamed_answer_is_made_with_the_requests_session_which_then_ends(app: Flask) -> None:
    db = SQLAlchemy(app)

    @app.get("/")
    def view() -> Response:
        def parts() -> Iterator[str]:
            for number in range(3):
                yield f"{db.session.execute(text(f'SELECT {number}')).scalar()} {id(db.session())}\n"

        return Response(parts())

    with app.app_context():
        outer = db.session()
        answer = app.test_client().get("/")
        lines = answer.text.splitlines()
        answer.close()
        assert [line.split()[0] for line in lines] == ["0", "1", "2"]
        assert len({line.split()[1] for line in lines} - {str(id(outer))}) == 1
        assert db.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
        db.engine.dispose()


def test_a_request_inside_a_request_and_one_amid_uncommitted_work_share_the_session(app: Flask, table: str) -> None:
    """A script's or a test's own client must not wait for the row locks of the code that calls it."""
    db = SQLAlchemy(app)
    site(app, db, table)

    @app.get("/outer")
    def outer() -> str:
        db.session.execute(text(f"INSERT INTO {table} VALUES (7, 7)"))
        return app.test_client().get("/").text

    assert app.test_client().get("/outer").text.startswith("1 ")
    with app.app_context():
        db.session.execute(text(f"INSERT INTO {table} VALUES (1, 1)"))
        assert app.test_client().get("/").text.startswith(f"1 {id(db.session())} ")
        db.session.commit()
        assert app.test_client().get("/").text.startswith("1 ")
        db.session.remove()
        db.engine.dispose()


def test_a_session_that_has_failed_outside_of_requests_costs_no_request(app: Flask, table: str, server: Server) -> None:
    db = SQLAlchemy(app)
    site(app, db, table)
    with app.app_context():
        server.kill_connection(int(db.session.execute(NUMBER).scalar() or 0))
        with contextlib.suppress(DBAPIError):
            db.session.execute(text("SELECT 1"))
        assert app.test_client().get("/").text.startswith("0 ")
        db.session.remove()
        db.engine.dispose()


def test_with_another_database_nothing_is_changed() -> None:
    """SQLite in memory has one connection for all sessions: a second session's end would undo the first one's work."""
    app = Flask("site")
    app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite://"
    db = SQLAlchemy(app)

    @app.get("/")
    def view() -> str:
        return str(id(db.session()))

    with app.app_context():
        assert app.test_client().get("/").text == str(id(db.session()))
        db.engine.dispose()


def test_a_view_may_push_a_context_and_forget_it(app: Flask) -> None:
    db = SQLAlchemy(app)

    @app.get("/")
    def view() -> str:
        app.app_context().push()
        return str(db.session.execute(text("SELECT 5")).scalar())

    with contextlib.ExitStack() as stack:
        stack.enter_context(app.app_context())
        assert app.test_client().get("/").text == "5"
        stack.pop_all()
    for engine in db.engines.values():
        engine.dispose()
    while has_app_context():
        app_ctx._get_current_object().pop()  # type: ignore[attr-defined]


def test_a_test_shares_its_session_with_its_requests_as_in_flask_sqlalchemy(app: Flask, table: str) -> None:
    app.testing = True
    db = SQLAlchemy(app)
    site(app, db, table)
    with app.app_context():
        db.session.execute(text(f"INSERT INTO {table} VALUES (1, 1)"))
        assert app.test_client().get("/").text.startswith(f"1 {id(db.session())} ")
        db.session.rollback()
        db.session.remove()
        db.engine.dispose()


def test_the_pages_hack_works_outside_of_a_context(app: Flask) -> None:
    db = SQLAlchemy(app)
    with app.app_context():
        db.session.execute(text("SELECT 1"))
    db.session.close()
    db.get_engine(app).dispose()
    with app.app_context():
        assert db.session.execute(text("SELECT 1")).scalar() == 1
        db.session.close()
        db.get_engine(app).dispose()


def test_the_session_can_be_invalidated(app: Flask) -> None:
    db = SQLAlchemy(app)
    with app.app_context():
        before = db.session.execute(NUMBER).scalar()
        db.session.invalidate()  # type: ignore[attr-defined]
        assert db.session.execute(NUMBER).scalar() != before
    the_engine(db, app).dispose()
