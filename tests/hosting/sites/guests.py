"""The page's site: its recipes word for word, chosen by BLOCK; STOCK=1 takes holdfast away."""

from __future__ import annotations

import os

import sqlalchemy
from flask import Flask
from sqlalchemy import text

BLOCK, STOCK, RECYCLE = os.environ["BLOCK"], "STOCK" in os.environ, int(os.environ["RECYCLE"])
HACK = os.environ.get("HACK", "")
DRIVER, USERNAME, PASSWORD = os.environ["DRIVER"], os.environ["USERNAME"], os.environ["PASSWORD"]
HOSTNAME, DATABASENAME = os.environ["HOSTNAME"], os.environ["DATABASENAME"]

if STOCK:
    from flask_sqlalchemy import SQLAlchemy
else:
    from sqlalchemy_holdfast.flask import SQLAlchemy

app = application = Flask(__name__)

SQLALCHEMY_DATABASE_URI = "mysql+{driver}://{username}:{password}@{hostname}/{databasename}".format(  # noqa: UP032
    driver=DRIVER, username=USERNAME, password=PASSWORD, hostname=HOSTNAME, databasename=DATABASENAME
)

if BLOCK == "sqlalchemy":
    plugin = "" if STOCK else "?plugin=holdfast"
    engine = sqlalchemy.create_engine(SQLALCHEMY_DATABASE_URI + plugin, pool_recycle=RECYCLE)
else:
    app.config["SQLALCHEMY_DATABASE_URI"] = SQLALCHEMY_DATABASE_URI
    app.config["SQLALCHEMY_TRACK_MODIFICATIONS"] = False
    if BLOCK == "older":
        app.config["SQLALCHEMY_POOL_RECYCLE"] = RECYCLE
    elif BLOCK != "nothing":
        app.config["SQLALCHEMY_ENGINE_OPTIONS"] = {"pool_recycle": RECYCLE}
    if BLOCK == "init_app":
        db = SQLAlchemy()
        db.init_app(app)
    else:
        db = SQLAlchemy(app)


def run(statement: str, **values: object) -> object:
    """What a view function does with the database, whichever way it is set up."""
    if BLOCK == "sqlalchemy":
        with engine.connect() as connection:
            value = connection.execute(text(statement), values)
            found = value.scalar() if value.returns_rows else None
            connection.commit()
            return found
    result = db.session.execute(text(statement), values)
    found = result.scalar() if "SELECT" in statement else None
    db.session.commit()
    return found


@app.get("/number/<int:number>")
def number(number: int) -> str:
    return str(run("SELECT :number", number=number))


@app.post("/sign/<token>")
def sign(token: str) -> str:
    run("INSERT INTO guests (token) VALUES (:token)", token=token)
    return "signed"


@app.get("/connection")
def connection() -> str:
    return f"{os.getpid()} {run('SELECT CONNECTION_ID()')}"


# Outside of any view function, which the page warns of.
if BLOCK == "sqlalchemy":
    run("SELECT 1")
elif HACK:
    app.app_context().push()
    run("SELECT 1")
else:
    with app.app_context():
        run("SELECT 1")


def hack() -> None:
    db.session.close()
    db.get_engine(app).dispose()  # type: ignore[arg-type]


if HACK == "after start-up":
    hack()
if HACK == "after the fork":
    done: set[int] = set()

    @app.before_request
    def once() -> None:
        if os.getpid() not in done:
            done.add(os.getpid())
            hack()
