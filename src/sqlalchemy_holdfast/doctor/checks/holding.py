"""How an engine comes to be held: one advice for each kind of application, which every check gives."""

from __future__ import annotations

from ..application.facts import ApplicationFacts, EngineFacts

__all__ = ["by_stock_extension", "how_to_hold"]

_FLASK = "Import SQLAlchemy from sqlalchemy_holdfast.flask, in place of flask_sqlalchemy"
_PLUGIN = "Add ?plugin=holdfast to this engine's URL"
_SWITCHED_ON = "Remove holdfast_enabled=false from this engine's URL or arguments"
_DRIVER = "Use a driver that holdfast knows: mysql+mysqldb://, mysql+pymysql:// or mysql+mysqlconnector://"


def by_stock_extension(engine: EngineFacts, facts: ApplicationFacts) -> bool:
    """Say whether Flask-SQLAlchemy's own class has made an engine."""
    return engine.by_flask and facts.flask is not None and facts.flask.extension == "flask_sqlalchemy"


def how_to_hold(facts: ApplicationFacts | None, engine: EngineFacts | None = None) -> str:
    """Say what makes holdfast hold an engine, without a full stop.

    :param facts: the application; ``None`` where it is not known.
    :param engine: the engine; ``None`` for the first of the application's that is not held.
    """
    if facts is not None and engine is None:
        engine = next((one for one in facts.ours if not one.held), None)
    if facts is None or engine is None:
        return _PLUGIN
    if engine.switched_off:
        return _SWITCHED_ON
    if engine.why_not.startswith("the driver "):
        return _DRIVER
    return _FLASK if by_stock_extension(engine, facts) else _PLUGIN
