"""What is known of one connection's session: how it was set up while connecting, and whether it was changed since.

Only where ``holdfast_reset`` is on. The statements that set a session up are noted when they are sent (by SQLAlchemy's
dialect and the application's ``connect`` listeners); those that the driver has sent before, it tells. After a reset
they are sent again. Where that cannot be done the connection is to be closed instead (:attr:`Session.cannot`).
"""

from __future__ import annotations

from typing import Any, Protocol

from ..server.session_changes import (
    changes_session,
    is_plainly_clean,
    may_be_said_again,
    may_change_database,
    may_fire_trigger,
)

__all__ = ["Session"]


class _Reader(Protocol):
    """A held connection, as far as it knows how to read a statement."""

    def _holdfast_readable(self, statement: Any) -> Any: ...

    def _holdfast_backslash_escapes(self) -> bool | None: ...


class Session:
    """The session of one connection, as far as it matters for a reset.

    :param names: a SET NAMES with the connection's character set, and whatever else the driver sends while it connects;
        ``None`` where that is not known.
    """

    __slots__ = (
        "autocommits",
        "backslash_escapes",
        "cannot",
        "changed",
        "charset",
        "connecting",
        "database_changed",
        "driver",
        "isolation_level",
        "level_changed",
        "of_driver",
        "paused",
        "resetting",
        "statements",
        "triggers",
    )

    def __init__(self, names: list[bytes] | None) -> None:
        self.connecting = True
        """The connection is being set up: what changes its session now belongs to it."""
        self.triggers = False
        """There are triggers, which may change it whenever something is written."""
        self.changed = False
        """Something that was sent since then may have changed the session."""
        self.database_changed = False
        """Another database may be selected."""
        self.level_changed = False
        """SQLAlchemy has set an isolation level, and has not put it back."""
        self.paused = False
        """SQLAlchemy is setting an isolation level, or putting it back."""
        self.resetting = False
        """A reset was sent, and the replies to it have not been read."""
        self.of_driver: list[bytes] = names or []
        """What the driver has sent to set the session up."""
        self.statements: list[bytes] = []
        """What was sent behind that, while connecting."""
        self.cannot = "" if names is not None else "holdfast does not know how the connection was made"
        """Why a reset would not do, in words; empty where it does."""
        self.isolation_level: Any = None
        """The isolation level that SQLAlchemy set while connecting."""
        self.autocommits = False
        """Whether the server commits each statement, by how the session was set up."""
        self.backslash_escapes: bool | None = None
        """Whether a backslash in a string is an escape, by how the session was set up."""
        self.charset = ""
        """The character set of the driver's, or of its library."""
        self.driver: Any = None
        """What the driver's object remembers of the session."""

    @property
    def is_changed(self) -> bool:
        """Whether the next user must not have the session as it is."""
        return self.changed or self.level_changed

    def sees(self, statement: Any, connection: _Reader) -> None:
        """Note what is about to be sent.

        :param statement: a statement's text, or ``None`` for another command, which may do anything.
        """
        if self.paused:
            return
        if statement is None:
            self.cannot = self.cannot or "a command was sent that is no statement"
            self.changed = not self.connecting
        elif self.connecting or not self.changed:
            if self.triggers and not self.connecting and may_fire_trigger(statement):
                self.changed = True
            if is_plainly_clean(statement):
                return
            readable, escapes = connection._holdfast_readable(statement), connection._holdfast_backslash_escapes()
            if not changes_session(readable, backslash_escapes=escapes):
                return
            if self.connecting:
                self._set_up_by(readable, escapes)
            else:
                self.changed = True
                self.database_changed = may_change_database(readable)
        elif not self.database_changed:
            self.database_changed = may_change_database(connection._holdfast_readable(statement))

    def _set_up_by(self, statement: Any, backslash_escapes: bool | None) -> None:
        if not may_be_said_again(statement, backslash_escapes=backslash_escapes):
            self.cannot = self.cannot or "a statement that cannot be sent again set the session up"
            return
        said = statement.encode() if isinstance(statement, str) else bytes(statement)
        if self.statements[-1:] != [said]:
            self.statements.append(said)
