"""One of the two sides: engines with or without holdfast, what its users hold, and what they were told."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import greenlet
from pymysql.constants import CLIENT
from sqlalchemy import URL, Engine, create_engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker
from sqlalchemy.pool import NullPool

from .hands import Hand, watch
from .lab import Lab
from .ledger import Ledger, Tx
from .registry import ACTIONS, Skip
from .script import Script, Step

if TYPE_CHECKING:
    from .units import Unit

__all__ = ["VISITORS", "Mode", "Side", "Violation"]

VISITORS = ("a", "b", "c")
POOL_TIMEOUT = 2


@dataclass(frozen=True)
class Violation:
    """A rule that was broken."""

    rule: str
    text: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.text}"


@dataclass
class Mode:
    """What is known of a session on the server."""

    autocommit: bool


@dataclass
class Faults:
    """What was done to a side in this sequence."""

    fired: set[int] = field(default_factory=set)
    """Steps of faults that come once, though the unit around them is begun again."""
    broken: bool = False
    """A connection was broken, or a call interrupted: from then on the sides need not be alike."""
    listeners: int = 0
    """How many listeners have raised."""
    results: bool = False
    """There was a statement with several results, and the driver is mysql-connector: the next command of a stock
    connection reads what is left of them."""
    keeps_results: bool = False
    """The driver is that one."""
    rollback_refused: bool = False
    """The server never saw a ROLLBACK: its transaction, which is not used again, is open until it is looked at."""

    def leaves_results(self) -> None:
        """Note a statement with several results, of which SQLAlchemy reads one."""
        self.results = self.results or self.keeps_results


class Side:
    """Everything of one side.

    :param name: ``stock`` or ``held``.
    """

    def __init__(self, lab: Lab, name: str, driver: str) -> None:
        self.lab = lab
        self.name = name
        self.driver = driver
        self.held = name == "held"
        self.proxy = lab.proxies[name]
        self.refuser = lab.refusers[name]
        self.engine: Engine = None  # type: ignore[assignment]
        self.cleaners: list[Callable[[], object]] = []

    # -- life ----------------------------------------------------------------------------------------------------

    def begin(self, env: frozenset[str]) -> None:
        """Make everything anew for a sequence.

        :param env: words that say how the engines are to be made.
        """
        self.env = env
        self.proxy = (self.lab.refusing if "refuser" in env else self.lab.proxies)[self.name]
        self.refuser.armed = False
        self.proxy.restore()
        self.lab.set_commits_table(self.name, "MyISAM" if "myisam" in env else "InnoDB")
        self.lab.clear(self.name)
        self.ledger = Ledger()
        self.rows: dict[int, int] = {}
        """How often each number is on the server, in the end."""
        self.violations: list[Violation] = []
        self.faults = Faults(keeps_results=self.driver == "mysqlconnector")
        self.hands: dict[str, Hand] = {}
        self.modes: dict[int, Mode] = {}
        self.contexts: dict[str, Any] = {}
        self.used_raw = False
        self.calling = False
        """A user's call is under way, and may be interrupted."""
        self.interrupt: Callable[[], Any] | None = None
        self.owner = os.getpid()
        self._flows: dict[tuple[int, int], list[Unit]] = {}
        self.proxy.delay = 0.002 if "delay" in env else 0.0
        self.engine, self.other = self._engine(), self._engine()
        self.engines = [self.engine, self.other]
        self.site: Any = None
        """The application of :mod:`.web`, once there was a request."""
        side = self

        class Own(Session):
            """Listeners for one side only are listeners to its own class."""

        class Publishing(Own):
            """The outbox pattern: what was committed is published by ``commit()`` itself, afterwards."""

            def commit(self) -> None:
                super().commit()
                side.published(self)

        self.session_class: type[Session] = Own
        watch(Own)
        self.makers: dict[str, Any] = {
            "maker": sessionmaker(self.engine, class_=Own),
            "publisher": sessionmaker(self.engine, class_=Publishing),
            "other_maker": sessionmaker(self.other, class_=Own),
            "twophase": sessionmaker(self.engine, class_=Own, twophase=True),
            "scoped": scoped_session(sessionmaker(self.engine, class_=Own)),
        }
        self.targets: dict[str, Any] = {"engine": self.engine, "other": self.other, **self.makers}
        self.after_publish: dict[int, Any] = {}

    def options(self) -> dict[str, Any]:
        """Return what the engines are made with."""
        options: dict[str, Any] = {"pool_timeout": POOL_TIMEOUT, "pool_size": 3, "max_overflow": 8}
        for word, given in _OPTIONS.items():
            if word in self.env:
                options |= given
        if "nullpool" in self.env:
            options = {name: value for name, value in options.items() if name == "isolation_level"}
            options["poolclass"] = NullPool
        return options

    def arguments(self) -> dict[str, Any]:
        """Return what the driver is called with."""
        if self.driver != "pymysql":
            return {}
        # Without ssl_disabled each connection builds a TLS context of its own: 35 ms.
        return {"client_flag": CLIENT.MULTI_STATEMENTS, "ssl_disabled": True}

    def url(self, *, plugin: bool) -> URL:
        """Return the URL of the engines."""
        query: dict[str, str] = {}
        if plugin:
            query["plugin"] = "holdfast"
        if self.held and "probe" in self.env:
            query["holdfast_probe_after_idle"] = "0"
        if self.driver == "mysqlconnector":
            query["use_pure"] = "1"
        return self.lab.server.url(
            self.driver,
            database=self.name,
            user=self.name,
            password=self.name,
            host=self.proxy.host,
            port=self.proxy.port,
            query=query,
        )

    def _engine(self) -> Engine:
        return create_engine(self.url(plugin=self.held), connect_args=self.arguments(), **self.options())

    @property
    def autocommits(self) -> bool:
        """Whether the engines are in AUTOCOMMIT."""
        return "autocommit" in self.env

    # -- who ------------------------------------------------------------------------------------------------------

    def flow(self) -> list[Unit]:
        """Return the units that are under way in this thread or greenlet, innermost last."""
        key = (threading.get_ident(), id(greenlet.getcurrent()))
        return self._flows.setdefault(key, [])

    def new_process(self) -> None:
        """In a child: what was under way is the parent's."""
        self._flows = {}
        for hand in self.hands.values():
            hand.inherited = not hand.tx.empty
            hand.tx = Tx()

    @property
    def in_child(self) -> bool:
        return os.getpid() != self.owner

    def hand(self, step: Step) -> Hand:
        """Return what the one who does a step holds.

        :raises Skip: when it is nothing.
        """
        if step.who:
            found = self.hands.get(step.who)
        else:
            flow = self.flow()
            found = flow[-1].hand if flow else None
        if found is None:
            raise Skip
        return found

    def unit_of(self, hand: Hand) -> Unit | None:
        """Return the unit that a hand is the subject of."""
        return hand.unit

    def claim_undone(self, hand: Hand) -> None:
        """A transaction is about to be rolled back because its user wants it."""
        if hand.unit is not None:
            hand.unit.claims = [n for n in hand.unit.claims if n not in hand.tx.pending]

    def keeps(self, hand: Hand, *more: int) -> None:
        """What a transaction has written so far is settled without its end."""
        if hand.unit is not None:
            hand.unit.kept.update(hand.tx.pending, more)

    def relent(self) -> None:
        """End the faults that last."""
        while self.cleaners:
            self.cleaners.pop()()

    def row_of(self, step: Step) -> int:
        """Return the row of counter for who does a step."""
        return VISITORS.index(step.who) + 1 if step.who else min(4 + len(self.flow()), 9)

    def mode(self, hand: Hand) -> Mode:
        """Return what is known of the session of a hand's connection."""
        number = hand.id()
        if number is None:
            return Mode(hand.level == "AUTOCOMMIT" if hand.level else self.autocommits)
        mode = self.modes.get(number)
        if mode is None:
            mode = self.modes[number] = Mode(self.autocommits)
        if hand.level is not None and hand.level_of is None:
            hand.level_of = number
            mode.autocommit = hand.level == "AUTOCOMMIT"
        return mode

    def at_once(self, hand: Hand) -> bool:
        """Say whether each statement of a hand's is committed by itself."""
        return self.mode(hand).autocommit and not hand.twophase

    def returned(self, hand: Hand, number: int | None) -> None:
        """A connection was given back: an isolation level of its checkout is put back by SQLAlchemy."""
        if hand.level is not None and number is not None and number in self.modes:
            self.modes[number].autocommit = self.autocommits

    # -- doing ----------------------------------------------------------------------------------------------------

    def perform(self, step: Step) -> Any:
        """Do a step.

        :raises Skip: when it means nothing here.
        """
        return ACTIONS[step.name](self, step)

    def run_body(self, steps: Script) -> list[Any]:
        """Do steps, one after the other, until one raises."""
        values = []
        for step in steps:
            try:
                values.append(self.perform(step))
            except Skip:
                values.append(None)
        return values

    def violate(self, rule: str, text: str) -> None:
        """Note a broken rule."""
        self.violations.append(Violation(rule, text))

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Where an interrupt that was ordered may come: in the users' own calls, not in the fuzzer's."""
        before, self.calling = self.calling, True
        try:
            if self.interrupt is None:
                yield
            else:
                with self.interrupt():
                    yield
        finally:
            self.calling = before

    @contextmanager
    def own_work(self) -> Iterator[None]:
        """Where none may come, though it is inside of a user's call."""
        before, self.calling = self.calling, False
        profile = sys.getprofile()
        sys.setprofile(None)
        try:
            yield
        finally:
            sys.setprofile(profile)
            self.calling = before

    def published(self, session: Session) -> None:
        """Called behind the commit of a publisher's session."""
        then = self.after_publish.pop(id(session), None)
        if then is not None:
            then()

    # -- what went over the state ------------------------------------------------------------------------------------

    def sent(self) -> int:
        """Return how many statements have passed so far."""
        return 0 if self.in_child else len(self.proxy.statements)

    def has_sent_commit(self, since: int) -> bool:
        """Say whether a COMMIT, or what may be one, was sent since then. In a child nobody knows: yes."""
        if self.in_child:
            return True
        threading.Event().wait(0.002)  # what the client has sent a moment ago
        words = (statement.lstrip()[:9].upper() for statement in self.proxy.statements[since:])
        return any(word.startswith(("COMMIT", "XA COMMIT")) for word in words)


_OPTIONS: dict[str, dict[str, Any]] = {
    "one": {"pool_size": 1},
    "lifo": {"pool_use_lifo": True},
    "noreset": {"pool_reset_on_return": None},
    "resetcommit": {"pool_reset_on_return": "commit"},
    "serializable": {"isolation_level": "SERIALIZABLE"},
    "readcommitted": {"isolation_level": "READ COMMITTED"},
    "autocommit": {"isolation_level": "AUTOCOMMIT"},  # the last one counts
    "preping": {"pool_pre_ping": True},
}
