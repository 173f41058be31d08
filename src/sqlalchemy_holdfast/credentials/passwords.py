"""One engine's password: asked for at each connect, or kept for a while; asked for again when the server refuses it.

A password changes in two places, in the server and in its source, and never in both at the same moment. In between,
the server refuses what the source gives:

* The server has the new password, and the source still gives the old one. The source is asked again, for a few
  seconds, and the server is not: each refused attempt counts where an account is locked after some
  (FAILED_LOGIN_ATTEMPTS).
* The source gives the new password, and the server still has the old one. The last one that the server accepted is
  tried.

So one connect makes few attempts, and each with another password than the one before, or with one that another thread
was let in with meanwhile: the answers of a busy machine come out of order. All of this is for a password that has
changed. Before the server has accepted any, a refused one is wrong: the source is asked once more, what is new is
tried, and the error is raised at once.

What threads tell each other changes in single steps of the interpreter's, as in :mod:`~sqlalchemy_holdfast.pool`: no
lock is held while the application's code is called, or while the server is asked. A forked child keeps what its parent
knows: it is valid there, too.
"""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.engine import ExceptionContext

from .._clock import monotonic_also_asleep
from .._pages import page
from ..reporting import Reporter
from ..server.faults import ACCESS_DENIED, error_number
from ..settings import Settings
from .asking import OneAsks, sleep
from .checking import unavailable
from .command import from_command
from .password import Password
from .sources import from_file, from_function

__all__ = ["Passwords", "from_settings"]

GAP = 5.0
"""Seconds for which the source is asked again when the server no longer accepts the password that it gives."""
_ATTEMPTS = 4
"""How often one connect may be refused: with the kept password, the new one, the one before, and the new one again when
the server has changed in between. Not counted is a refusal while somebody else was let in: a server that locks accounts
counts from zero then. That is for a login that takes longer than the password lasts."""
_ATTEMPTS_BEFORE = 2
"""The same before the server has accepted any password."""
_ATTEMPTS_IN_ALL = 10
"""How often one connect may be refused, whatever happens to others."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 0.5
"""Seconds after which the source is asked again: growing from the one to the other."""
_SHARE, _MARGIN = 0.1, 10.0
"""How long before its end a password is no longer kept: so much of its life, and at the most so many seconds."""
_MANY = 8
"""Refused passwords that are remembered at the most."""

Connect = Callable[..., Any]


@dataclass(frozen=True, repr=False)
class _Given:
    """A password as its source gave it. Two are equal when the password is the same. Its ``repr`` does not show it."""

    value: str
    kept_until: float = field(compare=False)
    """In the clock's seconds. What is not kept was given for one connect."""
    valid_until: float = field(compare=False)


@dataclass(frozen=True, repr=False)
class _Accepted:
    """An attempt that the server has let in."""

    given: _Given
    began: float
    answered: float


class Passwords:
    """The password of one engine's account.

    :param setting: names the source: a setting.
    :param ask: asks the source, or raises :class:`~sqlalchemy_holdfast.errors.PasswordUnavailable`.
    :param ttl: for how many seconds a password is kept; ``None``: it is asked for at each connect.
    :param clock: monotonic time that goes on while the machine sleeps.
    """

    def __init__(
        self,
        setting: str,
        ask: Callable[[], Password],
        ttl: float | None,
        reporter: Reporter,
        clock: Callable[[], float] = monotonic_also_asleep,
    ) -> None:
        self.setting = setting
        self.reporter = reporter
        self.clock = clock
        self._source = ask
        self._ttl = math.inf if ttl is None else ttl
        self._asking: OneAsks[_Given] = OneAsks(self._ask, clock)
        self._kept: _Given | None = None
        self._accepted: _Accepted | None = None
        """The last attempt that the server has let in."""
        self._refused: dict[_Given, float] = {}
        """Which ones the server has refused, and since when, since the last change. Replaced, never changed."""
        self._unsaid: dict[tuple[str, _Given], None] = {}
        """What is still to be said of a refused password: the event, and the password."""

    def connecting(self, connect: Connect, patience: Callable[[], float] = lambda: GAP) -> Connect:
        """Make a dialect's ``connect`` use the password.

        A password that is among the arguments already is left alone: a ``do_connect`` listener of the application's
        has decided.

        :param patience: returns for how many seconds a connect may wait for a changed password.
        """

        def connect_with_password(*args: Any, **kwargs: Any) -> Any:
            if kwargs.get("password") or kwargs.get("passwd"):
                return connect(*args, **kwargs)
            kwargs.pop("passwd", None)  # mysqlclient's older name, empty
            return self._connect(functools.partial(connect, *args, **kwargs), patience())

        return connect_with_password

    def _connect(self, connect: Connect, patience: float) -> Any:
        attempts, refused, sendable = _Attempts(self, patience), None, True
        try:
            while (given := attempts.next()) is not None:
                began = self.clock()
                try:
                    connection = connect(password=given.value)
                except UnicodeEncodeError as error:
                    if error.object != given.value:
                        raise
                    sendable = False  # raised below: that error has the password, and must not be this one's context
                    break
                except Exception as error:
                    if error_number(error) != ACCESS_DENIED:
                        raise
                    self.note_refusal(given, began)
                    attempts.note_refusal(counts=not self.has_let_in_since(began))
                    refused = error
                else:
                    self.note_success(given, began, after_refusal=refused is not None)
                    return connection
            if not sendable:
                raise unavailable(
                    self.setting,
                    "the password has a character that the driver cannot send (PyMySQL sends no others than Latin-1)",
                    "Give the account a password of ASCII characters.",
                )
            assert refused is not None
            raise refused
        finally:
            refused = None  # its traceback leads back here

    def explain_refusal(self, context: ExceptionContext) -> None:
        """Add to an error of a connect that the server has refused where the password came from."""
        error, shown = context.original_exception, context.sqlalchemy_exception
        if context.connection is None and shown is not None and error_number(error) == ACCESS_DENIED:
            space = "It begins or ends with a space, which counts. " if self._has_space_around() else ""
            words = (
                f"holdfast: the password came from {self.setting}, which was asked once more. {space}Is it this "
                f"account's password on this server? {page('passwords')}".rstrip()
            )
            shown.detail.insert(0, words)  # the reason that is likely goes before what else it may be

    def _has_space_around(self) -> bool:
        """Say whether the password that was refused last begins or ends with a space."""
        last = next(reversed(tuple(self._refused)), None)
        return last is not None and last.value != last.value.strip()

    # -- asking --------------------------------------------------------------------------------------------------

    def current(self) -> _Given:
        """Return the password that is kept, or ask for it.

        :raises PasswordUnavailable: when the source gives none.
        """
        now, kept = self.clock(), self._kept
        return kept if kept is not None and now < kept.kept_until else self._asking.answer(not_before=-math.inf)

    def anew(self) -> _Given:
        """Ask for the password, whatever is kept.

        :raises PasswordUnavailable: when the source gives none.
        """
        return self._asking.answer(not_before=self.clock())

    def _ask(self) -> _Given:
        began = self.clock()
        password = self._source()
        life = math.inf if password.expires_in is None else password.expires_in
        keep = min(self._ttl, life - min(_MARGIN, _SHARE * life) if life < math.inf else math.inf)
        if keep == math.inf:
            keep = 0.0  # nobody has said for how long it may be kept
        given = _Given(password.value, began + keep, began + life)
        self._kept = given
        return given

    # -- what the server says ------------------------------------------------------------------------------------

    def note_success(self, given: _Given, began: float, *, after_refusal: bool) -> None:
        """Note that the server let somebody in.

        :param began: when the attempt began.
        """
        before = self._accepted
        if before is not None and began < before.began:
            return  # the answer is the older one
        self._accepted = _Accepted(given, began, self.clock())
        if before is None or before.given != given:
            self._refused = {}
            if before is not None and after_refusal:
                self.reporter.password_changed(self.setting)
        elif given in self._refused:
            self._refused = {other: since for other, since in self._refused.items() if other != given}

    def note_refusal(self, given: _Given, began: float) -> None:
        """Note that the server did not.

        :param began: when the attempt began.
        """
        accepted, refused = self._accepted, self._refused
        if accepted is not None and accepted.given == given and accepted.answered > began:
            return  # somebody was let in with it meanwhile: the server may have changed between the two
        if self._kept == given:
            self._kept = None
        if given in refused:
            return
        if accepted is not None and accepted.given == given:
            refused = {}  # the server has changed: what it has refused before may be the new one
        elif len(refused) >= _MANY:
            refused = {}
        self._unsaid = {(name, given): None for name in ("waits", "uses previous")}
        self._refused = {**refused, given: self.clock()}

    def is_to_say(self, event: str, given: _Given) -> bool:
        """Say whether nobody has said this of a refused password yet: of several threads, one does."""
        try:
            self._unsaid.pop((event, given))
        except KeyError:
            return False
        return True

    def refused_since(self, given: _Given) -> float | None:
        """Return when the server began to refuse a password; ``None`` for one that may be right."""
        return self._refused.get(given)

    def was_just_refused(self, given: _Given) -> bool:
        """Say whether another attempt with this password is not worth it yet."""
        since = self.refused_since(given)
        return since is not None and self.clock() < since + GAP

    def previous(self) -> _Given | None:
        """Return the last password that the server accepted, if it has not refused it since, and it is valid."""
        given = self._accepted.given if self._accepted is not None else None
        if given is None or given in self._refused or self.clock() >= given.valid_until:
            return None
        return given

    def has_let_in_since(self, moment: float) -> bool:
        """Say whether the server has let somebody in since then, whatever the password."""
        return self._accepted is not None and self._accepted.answered > moment

    @property
    def has_worked(self) -> bool:
        """The server has accepted a password of this source before."""
        return self._accepted is not None


class _Attempts:
    """The attempts of one connect."""

    def __init__(self, passwords: Passwords, patience: float) -> None:
        self._passwords = passwords
        self._patience = patience
        self._refused = self._counted = 0

    def note_refusal(self, *, counts: bool) -> None:
        """Note that the server refused what it was asked with."""
        self._refused += 1
        self._counted += counts

    def next(self) -> _Given | None:
        """Return what to try next; ``None`` when there is nothing else to try.

        :raises PasswordUnavailable: when the source gives none.
        """
        passwords = self._passwords
        if self._refused == 0:
            given = passwords.current()
            if passwords.was_just_refused(given):
                given = self._before(given) or self._changed(given) or given
        elif self._refused < _ATTEMPTS_IN_ALL and self._counted < (
            _ATTEMPTS if passwords.has_worked else _ATTEMPTS_BEFORE
        ):
            given = passwords.anew()
            if passwords.refused_since(given) is not None:
                other = self._before(given) or self._changed(given)
                if other is None:
                    return None
                given = other
        else:
            return None
        return given

    def _before(self, refused: _Given) -> _Given | None:
        passwords = self._passwords
        previous = passwords.previous()
        if previous is not None and passwords.is_to_say("uses previous", refused):
            passwords.reporter.previous_password_used(passwords.setting)
        return previous

    def _changed(self, refused: _Given) -> _Given | None:
        """Ask the source again and again until it gives another password, and return that."""
        passwords, pause = self._passwords, _FIRST_PAUSE
        since, now = passwords.refused_since(refused), passwords.clock()
        if not passwords.has_worked or since is None:
            return None
        until = min(now + self._patience, since + GAP)
        if now < until and passwords.is_to_say("waits", refused):
            passwords.reporter.password_not_changed(passwords.setting, until - now)
        while now < until:
            sleep(min(until - now, pause * random.uniform(0.5, 1.0)))
            pause = min(2 * pause, _LONGEST_PAUSE)
            given = passwords.anew()
            if passwords.refused_since(given) is None:
                return given
            previous = passwords.previous()
            if previous is not None:  # another thread was let in meanwhile
                return previous
            now = passwords.clock()
        return None


def from_settings(settings: Settings, reporter: Reporter) -> Passwords | None:
    """Return what an engine's settings say of its password; ``None`` when they leave it to the URL."""
    ask: Callable[[], Password]
    if settings.password is not None:
        name, ask = "holdfast_password", functools.partial(from_function, settings.password)
    elif settings.password_file is not None:
        name, ask = "holdfast_password_file", functools.partial(from_file, settings.password_file)
    elif settings.password_command is not None:
        name, ask = "holdfast_password_command", functools.partial(from_command, settings.password_command)
    else:
        return None
    return Passwords(name, ask, settings.password_ttl, reporter)
