"""How many connections one engine may have: what the server allows, and what other processes leave of it.

holdfast asks the server for its limits on the first connection. Where they are small, the processes of this machine
that use the same account share the connections out (:mod:`~sqlalchemy_holdfast.budget`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from sqlalchemy.engine import URL, Engine

from .. import drivers
from .._registry import Registry
from ..budget import Budget, Idle, Slot
from ..drivers import ConnectionState, state_of
from ..errors import BudgetUnavailable
from ..reporting import Reporter
from ..server import faults, limits, middleboxes
from ..server.limits import Limits
from ..settings import Settings

__all__ = ["SOONER", "ConnectionLimit"]

_SMALL = 200
"""A learned limit above this is not shared out. 151 is both servers' default for max_connections."""
SOONER = 0.95
"""A connection that was closed before this part of the known limit was closed by something else."""


class ConnectionLimit:
    """What one engine knows of its server's limits, and its part in sharing them.

    :param engine: returns the engine, if it still exists.
    """

    def __init__(self, settings: Settings, reporter: Reporter, engine: Callable[[], Engine | None]) -> None:
        self.settings = settings
        self.limits: Limits | None = None
        self.stale = False
        """The server has contradicted what is known of its limits."""
        self.unknown = False
        """The server would not say what its limits are."""
        self.budget: Budget | None = None
        self.key: str | None = None
        """What the processes that share have in common: server and account. ``None``: nothing is shared."""
        self.pools: Registry[Idle] = Registry()
        """The engine's pools, also those that it has no longer: what they keep takes up slots."""
        self.middleboxes: dict[str, str] = {}
        """What is in between, in words, by the version text of the greeting."""
        self._reporter = reporter
        self._engine = engine
        self._asked_budget = False
        self._idle_limit_said = False

    # -- sharing -------------------------------------------------------------------------------------------------

    def share(self, url: URL) -> None:
        """Share with the other processes of this machine that use the same server and account."""
        if self.settings.budget is None or not url.username:
            return
        host = (url.host or "localhost").lower()
        if host in ("127.0.0.1", "::1"):
            host = "localhost"
        self.key = f"{url.username}@{url.query.get('unix_socket') or f'{host}:{url.port or 3306}'}"

    def open_budget(self) -> Budget | None:
        """Return the budget, if there is one: a number of the owner's, or the one that other processes have learned."""
        if not self._asked_budget:
            number = self.settings.budget
            if isinstance(number, int):
                self._use_budget(number)
            elif self.key is not None and self._found(Budget.exists):
                self._use_budget(None)
            # Not when it was refused: then the next checkout is, too. And not before the limit is known: another
            # engine, or another process, may have learned it while this one is refused a connection.
            self._asked_budget = not self.learns_first()
        return self.budget

    def learns_first(self) -> bool:
        """Say whether one connection is to be opened before any other, because it will tell how many there may be."""
        return self.key is not None and self.settings.budget == "learned" and self.limits is None and not self.unknown

    def has_its_share(self) -> bool:
        """Say whether this process has as many connections as it may keep, so that its own do before it borrows."""
        return self.budget is not None and self.budget.holds_its_share()

    def may_stay_open(self, dbapi_connection: Any, *, own_waiting: bool) -> bool:
        """Say whether a connection that is put back into the pool may stay open. Asked where there is a budget.

        :param own_waiting: whether a thread of this process waits for one.
        """
        state = getattr(dbapi_connection, "_holdfast", None)
        if type(state) is not ConnectionState or state.unusable_because is not None:
            return True
        budget = self.budget
        if budget is None:  # since a moment ago
            return True
        if state.slot is None:  # it was open before there was a budget
            state.slot = budget.adopt()
        if budget.keeps(state.slot, own_waiting=own_waiting):
            return True
        self._reporter.closed_for_sharing()
        return False

    def add_untracked(self, state: ConnectionState) -> None:
        """Give a slot to a connection that was open before there was a budget."""
        if self.budget is not None and state.slot is None:
            state.slot = self.budget.adopt()

    def connection_closed(self, state: ConnectionState) -> None:
        """Give back the slot of a connection that is closed. Harmless when that is done already."""
        slot = state.slot
        if slot is not None:
            slot.give_back()
            state.slot = None  # not before: an exception from outside may come in between, and then this is done again

    def close_an_idle_one(self, budget: Budget, but: object, before: Callable[[Slot], object]) -> bool:
        """Close a connection that another pool of this process keeps idle.

        Connections of another engine, or of a pool that was disposed of, are idle for as long as nobody asks for them:
        to wait for one of them is to wait for ever. The longest row of them is shortened.

        :param but: the pool that needs it.
        :param before: called with its slot before it is closed, if this process may keep that.
        :return: whether there was one.
        """

        def before_it_is_closed(connection: object) -> None:
            state = state_of(connection)
            if state is not None and state.slot is not None and budget.keeps(state.slot, own_waiting=True):
                before(state.slot)

        pools = [pool for user in budget.users for pool in user.pools if pool is not but]
        idle = sorted((pool.holdfast_idle(), number) for number, pool in enumerate(pools))
        for connections, number in reversed(idle):
            if connections and pools[number].holdfast_close_one(before_it_is_closed):
                return True
        return False

    def _use_budget(self, number: int | None) -> None:
        budget = self.budget
        if budget is None and self.key is not None:
            budget = self._found(Budget.shared)
        if budget is None or (number is None and budget.limit is None):
            return
        if number is not None:
            budget.set_limit(number, self.settings.headroom)
        budget.use(self)
        self.budget = budget

    def _found(self, look: Callable[[str, str | None], Any]) -> Any:
        assert self.key is not None
        try:
            return look(self.key, self.settings.budget_directory)
        except BudgetUnavailable as error:
            if self.settings.budget_directory is not None or self.settings.budget != "learned":
                raise  # it was asked for
            self.key = None
            self._reporter.not_shared(error)
            return None

    # -- learning ------------------------------------------------------------------------------------------------

    def learn(self, dbapi_connection: Any, state: ConnectionState) -> None:
        """Ask a new connection's server for its limits, where they are not known yet."""
        greeting = drivers.greeting(dbapi_connection)
        known = self.limits is not None or self.unknown
        # Another version is another server, or a middlebox that was put in between.
        if not known or self.stale or greeting.version not in self.middleboxes:
            self._ask(dbapi_connection, state, greeting)
        if self.settings.pipeline is not True and (
            greeting.thread_id == 0 or self.middleboxes.get(greeting.version, "?")
        ):
            state.pipeline = False

    def found_closed(self, idle: float) -> None:
        """Note that a connection was closed after it had been idle for so many seconds."""
        known = self.limits
        if known is None or idle >= SOONER * known.idle_limit:
            return
        self.limits = dataclasses.replace(known, idle_limit=idle)
        if not self._idle_limit_said:
            self._idle_limit_said = True
            self._reporter.idle_limit_found(idle, known.wait_timeout)

    def _ask(self, dbapi_connection: Any, state: ConnectionState, greeting: middleboxes.Greeting) -> None:
        errors = drivers.errors_of(dbapi_connection)
        engine = self._engine()
        host = engine.url.host if engine is not None else None
        try:
            learned = limits.learn(
                dbapi_connection,
                errors,
                answered=lambda error: state.unusable_because is None and not _is_the_clients(error),
                greeting=greeting,
                host=host,
                connected_port=state.connected_port(),
            )
        except (errors, limits.Unintelligible) as error:
            if drivers.from_outside(error) is not None:
                raise
            if state.unusable_because is not None or state.hung_up() or faults.judge(error).effect is not None:
                return  # lost, or not ready: the next connection is asked
            if not self.unknown:
                self._reporter.limits_unknown(faults.said(error))
            self.unknown, self.stale = True, False
            seen = middleboxes.Seen(greeting=greeting, host=host)
            unsaid = f"the server does not say what it is ({error})"
            self._note_middlebox(state, greeting, middleboxes.recognise(seen) or unsaid)
            return
        if self.limits != learned:
            self._reporter.limits_learned(learned)
        self._learned(learned)
        self.add_untracked(state)
        self._note_middlebox(state, greeting, learned.middlebox)

    def _learned(self, limits: Limits) -> None:
        if self.settings.budget == "learned":
            if limits.connections <= _SMALL:
                self._use_budget(limits.connections)
            else:
                budget, self.budget = self.budget, None
                if budget is not None:
                    budget.leave(self)
        self._asked_budget = True  # what a file says is no news any more: a smaller server's, at the same address
        self.limits, self.stale = limits, False

    def _note_middlebox(self, state: ConnectionState, greeting: middleboxes.Greeting, middlebox: str) -> None:
        new = middlebox and middlebox not in tuple(self.middleboxes.values())
        self.middleboxes[greeting.version] = middlebox
        if new and self.settings.pipeline == "auto" and state.one_user_at_a_time:
            self._reporter.pipelining_is_off(middlebox)


def _is_the_clients(error: Exception) -> bool:
    """Say whether a driver's error tells of no answer: the connection was lost, or somebody has interrupted it."""
    return faults.is_the_clients(faults.error_number(error)) or drivers.from_outside(error) is not None
