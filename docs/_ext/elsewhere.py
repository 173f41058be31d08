"""Links from docstrings and signatures to other projects' documentation.

Not intersphinx: its inventories are fetched from the network at each build, and they do not have the names that
signatures show (`sqlalchemy.engine.base.Engine`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from docutils import nodes

if TYPE_CHECKING:
    from sphinx.application import Sphinx

__all__ = ["setup"]

_PYTHON = "https://docs.python.org/3/library/"
_SQLALCHEMY = "https://docs.sqlalchemy.org/en/21/"
_FLASK_SQLALCHEMY = "https://flask-sqlalchemy.readthedocs.io/en/stable/"

PAGES = {
    **{
        f"collections.abc.{name}": f"{_PYTHON}collections.abc.html#collections.abc.{name}"
        for name in ("Callable", "Collection", "Iterable", "Iterator", "Mapping", "Sequence")
    },
    "collections.Counter": f"{_PYTHON}collections.html#collections.Counter",
    "os.PathLike": f"{_PYTHON}os.html#os.PathLike",
    "pathlib.Path": f"{_PYTHON}pathlib.html#pathlib.Path",
    **dict.fromkeys(
        ("sqlalchemy.engine.Engine", "sqlalchemy.engine.base.Engine"),
        f"{_SQLALCHEMY}core/connections.html#sqlalchemy.engine.Engine",
    ),
    **dict.fromkeys(("URL", "sqlalchemy.engine.url.URL"), f"{_SQLALCHEMY}core/engines.html#sqlalchemy.engine.URL"),
    "sqlalchemy.create_engine": f"{_SQLALCHEMY}core/engines.html#sqlalchemy.create_engine",
    **{
        f"sqlalchemy.exc.{name}": f"{_SQLALCHEMY}core/exceptions.html#sqlalchemy.exc.{name}"
        for name in ("ArgumentError", "DBAPIError", "InvalidRequestError", "OperationalError", "SQLAlchemyError")
    },
    **dict.fromkeys(
        ("sqlalchemy.engine.Connection", "sqlalchemy.engine.base.Connection"),
        f"{_SQLALCHEMY}core/connections.html#sqlalchemy.engine.Connection",
    ),
    "sqlalchemy.orm.Session": f"{_SQLALCHEMY}orm/session_api.html#sqlalchemy.orm.Session",
    **dict.fromkeys(
        ("sessionmaker", "sqlalchemy.orm.sessionmaker"),
        f"{_SQLALCHEMY}orm/session_api.html#sqlalchemy.orm.sessionmaker",
    ),
    **dict.fromkeys(
        ("scoped_session", "sqlalchemy.orm.scoped_session"),
        f"{_SQLALCHEMY}orm/contextual.html#sqlalchemy.orm.scoped_session",
    ),
    "sqlalchemy.schema.Table": f"{_SQLALCHEMY}core/metadata.html#sqlalchemy.schema.Table",
    "datetime.datetime": f"{_PYTHON}datetime.html#datetime.datetime",
    "datetime.timedelta": f"{_PYTHON}datetime.html#datetime.timedelta",
    "flask.app.Flask": "https://flask.palletsprojects.com/en/stable/api/#flask.Flask",
    **dict.fromkeys(
        ("flask_sqlalchemy.SQLAlchemy", "flask_sqlalchemy.extension.SQLAlchemy"),
        f"{_FLASK_SQLALCHEMY}api/#flask_sqlalchemy.SQLAlchemy",
    ),
    "pymysql.err.MySQLError": "https://pymysql.readthedocs.io/en/latest/modules/",
}
"""Where each name of another project is described."""

_TYPE_VARIABLES = {"P", "R", "S"}


def link(app: Sphinx, env: Any, node: Any, contents: nodes.TextElement) -> nodes.TextElement | None:
    target = node.get("reftarget", "")
    if target.rpartition(".")[2] in _TYPE_VARIABLES:
        return contents
    page = PAGES.get(target)
    return nodes.reference("", "", contents, internal=False, refuri=page) if page else None


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("missing-reference", link)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
