"""A small WSGI site that asks the database something while it is imported, as many do without knowing.

Under a prefork server the import happens in the master, so every worker inherits what it leaves behind. The
environment says what that is (``LEDGER_LEAVES``, a key of :data:`LEFT`) and where the database is (``LEDGER_URL``).
Nothing in here knows of holdfast: with or without is a matter of the URL.

* ``GET /read/7`` answers with the number 7 and the words that the table ``page`` has under it;
* ``POST /write/7/token`` does the same, enters the token into the table ``ledger``, commits, and says so;
* ``GET /who`` tells the process, its database connection, and the one that the import used.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterable
from typing import Any

from sqlalchemy import create_engine, text
from sqlalchemy.orm import scoped_session, sessionmaker

__all__ = ["LEFT", "application"]

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

URL = os.environ["LEDGER_URL"]
NUMBER = text("SELECT :number")
WORDS = text("SELECT words FROM page WHERE id = :number")
ENTER = text("INSERT INTO ledger (token) VALUES (:token)")
CONNECTION = text("SELECT CONNECTION_ID()")

imported_on = 0
"""The server's number of the connection that the import used."""


def import_time_query(work: Any) -> None:
    """Ask what a site asks while it is imported: its settings, its categories, who it is."""
    global imported_on
    work.execute(WORDS, {"number": 1}).scalar_one()
    imported_on = work.execute(CONNECTION).scalar_one()


def answer(work: Any, path: str) -> str:
    """Answer a request on a session or a connection; whoever calls ends the unit of work."""
    page, *rest = path.strip("/").split("/")
    if page == "who":
        return f"{os.getpid()} {work.execute(CONNECTION).scalar_one()} {imported_on}"
    asked = {"number": int(rest[0])}
    number = work.execute(NUMBER, asked).scalar_one()
    words = work.execute(WORDS, asked).scalar_one_or_none()
    if page == "read":
        return f"{number} {words}"
    work.execute(ENTER, {"token": rest[1]})
    work.commit()
    return f"{number} {words} written"


def wsgi(work: Any, on_error: Callable[[], object], at_end: Callable[[], object]) -> Application:
    """Make an application of functions that end a request."""

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        status = "200 OK"
        try:
            try:
                body = answer(work, environ["PATH_INFO"])
            except Exception:
                on_error()
                raise
            finally:
                at_end()
        except Exception as error:
            status, body = "500 Internal Server Error", f"{type(error).__name__}: {error}"
            traceback.print_exc(limit=-3)
        start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
        return [body.encode()]

    return application


def nothing() -> None:
    """Leave everything as it is."""


def session_closed() -> Application:
    """Close the session after the query: what is inherited is an idle connection in the pool."""
    session = scoped_session(sessionmaker(create_engine(URL)))
    import_time_query(session)
    session.remove()
    return wsgi(session, session.rollback, session.remove)


def session_open() -> Application:
    """Forget to close the session: what is inherited is the session, in a transaction, on a connection."""
    session = scoped_session(sessionmaker(create_engine(URL)))
    import_time_query(session)
    return wsgi(session, session.rollback, session.remove)


def uncommitted() -> Application:
    """Write, and neither commit nor roll back."""
    session = scoped_session(sessionmaker(create_engine(URL)))
    import_time_query(session)
    session.execute(ENTER, {"token": "import"})
    return wsgi(session, session.rollback, session.remove)


def connection_open() -> Application:
    """Keep one connection for all requests of a worker; sync workers have one request at a time."""
    connection = create_engine(URL).connect()
    import_time_query(connection)
    return wsgi(connection, connection.rollback, nothing)


def context_pushed() -> Application:
    """Push a Flask application context and leave it: the requests share it, and Flask-SQLAlchemy's session in it."""
    from flask import Flask, g
    from flask_sqlalchemy import SQLAlchemy

    app = Flask(__name__)
    app.config["SQLALCHEMY_DATABASE_URI"] = URL
    db = SQLAlchemy(app)
    app.app_context().push()
    g.left = True
    import_time_query(db.session)

    @app.route("/<path:path>", methods=["GET", "POST"])
    def page(path: str) -> str:
        if not g.get("left"):
            raise RuntimeError("this request has a context of its own, which is not what is to be shown")
        return answer(db.session, path)

    return app


LEFT: dict[str, Callable[[], Application]] = {
    make.__name__: make for make in (session_closed, session_open, context_pushed, connection_open, uncommitted)
}

application = LEFT[os.environ["LEDGER_LEAVES"]]()
