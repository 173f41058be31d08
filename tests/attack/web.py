"""Requests to a Flask application whose views do things: with HOLDFAST_RETRY_SAFE_REQUESTS some are done once more."""

from __future__ import annotations

from typing import Any

import flask
import flask_sqlalchemy

import sqlalchemy_holdfast.flask

from .hands import watch
from .ledger import Fate
from .registry import action
from .script import Step
from .side import Side
from .units import Unit

__all__ = ["Site"]


class Site:
    """One side's application."""

    def __init__(self, side: Side) -> None:
        self.app = flask.Flask("attack")
        self.app.config.update(
            SQLALCHEMY_DATABASE_URI=side.url(plugin=False),
            SQLALCHEMY_ENGINE_OPTIONS={"connect_args": side.arguments(), **side.options()},
            HOLDFAST_RETRY_SAFE_REQUESTS=True,
            PROPAGATE_EXCEPTIONS=True,
        )
        extension: Any = sqlalchemy_holdfast.flask.SQLAlchemy if side.held else flask_sqlalchemy.SQLAlchemy
        self.db = extension(self.app)
        self.unit: Unit | None = None
        self.app.add_url_rule("/", "view", self.view, methods=["GET", "POST"])
        with self.app.app_context():
            side.engines.append(self.db.engine)
            watch(self.db.session)

    def view(self) -> str:
        """Do what is inside of the step."""
        assert self.unit is not None
        with self.unit.side.own_work():
            self.unit.begin(self.db.session())
            self.unit.do()
        return "done"


@action
def get(side: Side, step: Step) -> Any:
    """A GET request: its view does what is inside, and commits if that does."""
    return _request(side, step, "get")


@action
def post(side: Side, step: Step) -> Any:
    """A POST request."""
    return _request(side, step, "post")


def _request(side: Side, step: Step, method: str) -> Any:
    if side.site is None:
        side.site = Site(side)
    site: Site = side.site
    outer, site.unit = site.unit, Unit(side, step, plain=True)
    try:
        with side.interruptible():
            answer = getattr(site.app.test_client(), method)("/")
        return answer.status_code
    finally:
        unit, site.unit = site.unit, outer
        if unit is not None and unit.hand is not None:
            unit.settle(Fate.ABSENT, "its view has ended without a commit")
