"""What an application has set up on a connection, beyond what its connect listeners do to each.

A connection may be replaced by a new one in the middle of a checkout, before anything was sent on it. The new one has
what the ``connect`` listeners set up, and lacks what was set up in an earlier checkout: a tenant that was selected and
is remembered in ``Connection.info``, a cursor class or a decoder of the driver's object. The application goes by what
it remembers, so a connection that has more than it was given when it was made is not replaced.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..drivers import HeldConnection

__all__ = ["SetUp", "note"]

_PLAIN = (str, bytes, int, float, bool, type(None), frozenset)
_EMPTY = (list, dict, set, tuple)


@dataclass(frozen=True)
class SetUp:
    """How one connection was set up at one moment."""

    info: Mapping[Any, Any]
    """Its pool's record's ``info``."""
    attributes: Mapping[str, Any]
    """The attributes of the driver's object that do not change while it is used."""
    autocommits: bool
    """Whether the server commits each statement, and not because SQLAlchemy has set that isolation level."""

    def has_more_than(self, made: SetUp) -> bool:
        """Say whether the driver's object was changed since the moment when the connection was made.

        :param made: how the same connection was then.
        """
        return self.autocommits != made.autocommits or not _same(made.attributes, self.attributes)

    def is_told_of_more_than(self, made: SetUp, other: Mapping[Any, Any]) -> bool:
        """Say whether ``info`` tells the application of something that another connection does not have.

        What the ``connect`` listeners have written counts as had by both, and so does what the other one's ``info``
        tells as well. A container that is empty tells nothing: recipes that time statements leave one behind.

        :param made: how the same connection was when it was made.
        :param other: the other connection's ``info``.
        """
        return not all(
            (isinstance(value, _EMPTY) and not value)
            or (key in made.info and _same(made.info[key], value))
            or (key in other and _same(other[key], value))
            for key, value in self.info.items()
        )


def note(connection: HeldConnection, info: Mapping[Any, Any]) -> SetUp:
    """Note how a connection is set up.

    :param connection: the driver's own connection object, held.
    :param info: its record's ``info``.
    """
    volatile = connection._holdfast_volatile
    found = vars(connection) | {name: getattr(connection, name, None) for name in connection._holdfast_members}
    attributes = {name: _copy(value) for name, value in found.items() if name != "_holdfast" and name not in volatile}
    autocommits = connection._holdfast_autocommits() and connection._holdfast.isolation_level != "AUTOCOMMIT"
    return SetUp({key: _copy(value) for key, value in info.items()}, attributes, autocommits)


def _copy(value: Any) -> Any:
    """Copy what may be changed in place: the tables of converters that drivers keep."""
    if type(value) is dict:
        return {key: list(inner) if type(inner) is list else inner for key, inner in value.items()}
    return set(value) if type(value) is set else list(value) if type(value) is list else value


def _same(before: Any, now: Any) -> bool:
    """Compare what can be compared without running foreign code; everything else is the same if it is one object."""
    if before is now:
        return True
    if type(before) is not type(now):
        return False
    if isinstance(before, dict):
        return before.keys() == now.keys() and all(_same(before[key], now[key]) for key in before)
    if isinstance(before, (list, tuple)):
        return len(before) == len(now) and all(map(_same, before, now))
    return bool(before == now) if type(before) in _PLAIN or type(before) is set else False
