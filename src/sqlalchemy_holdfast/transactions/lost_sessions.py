"""The other end of a connection that was lost: its session on the server, and how to be sure that it is over.

A server may run a session for a long time after its client has gone, because nobody told it. The session keeps its row
locks until then, and a unit that is begun again waits for them. So holdfast ends the lost session with KILL where it is
certain which session it is: every account may use KILL on its own sessions. Elsewhere it waits for the session's end.

It is certain in two cases:

* The server sees the address of the *new* connection as this side does (no proxy, no address translation). Then the
  session with the lost one's id, account and client port is the lost one. If there is none, it has ended.
* The server is the same one, and was not started since: ids are not used twice there.

An id alone says nothing: ids begin again with 1 when a server restarts, and another server has others.

Only a connection that works can be asked which server it leads to. So it is asked at its first unit of work, where
addresses are translated on the way (which is found out once for each engine), or where a unit is to be verified.
"""

from __future__ import annotations

import enum
import socket
import weakref
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError

from .. import drivers
from .._clock import monotonic_also_asleep
from ..drivers import ConnectionState
from ..pool.status import reporter_of
from ..server.faults import CANNOT_CONVERT, NO_SUCH_THREAD, NOT_OWNER, error_number
from .attempts import Pace

__all__ = ["LostSession", "end", "get_ready", "identify", "kill", "session_of"]


_UPTIME_ERROR = 1.5
"""Uptime is in whole seconds."""
_LONGEST_DOUBT = 2.0
"""How long, in seconds, a session that may be another's is waited for."""

Identity = tuple[tuple[str, str], ...]

_PROCESSES, _PROCESSES_OF_MYSQL = (
    text(f"SELECT ID = CONNECTION_ID(), ID, USER, HOST FROM {table} WHERE ID IN (CONNECTION_ID(), :id)")
    for table in ("information_schema.processlist", "performance_schema.processlist")
)
_UPTIME = text("SHOW GLOBAL STATUS LIKE 'Uptime'")
_IDENTITY = text(
    "SHOW GLOBAL VARIABLES WHERE Variable_name IN "
    "('hostname', 'port', 'server_id', 'server_uuid', 'server_uid', 'aurora_server_id', "
    # Two nodes of a cluster may have all of these in common: cloned machines, containers with a given host name.
    "'wsrep_node_name', 'wsrep_node_address', 'wsrep_node_incoming_address', 'group_replication_group_name')"
)


@dataclass
class LostSession:
    """What is known of a connection's session on its server, while the connection works."""

    id: int
    """The server's id of it, from the handshake."""
    port: int | None
    """This side's TCP port, or ``None`` when there is none, or it is not known."""
    local: bool
    """It is on a unix socket."""
    seen: float
    """Monotonic time at which the connection was in use."""
    server: Identity | None = None
    """Which server it is, once :func:`identify` has asked."""


_sessions: weakref.WeakKeyDictionary[ConnectionState, LostSession] = weakref.WeakKeyDictionary()
_translated: weakref.WeakKeyDictionary[Any, bool] = weakref.WeakKeyDictionary()
"""Whether addresses are translated on the way of an engine's connections, by its dialect."""


def session_of(dbapi_connection: Any) -> LostSession | None:
    """Note what will be needed if this connection is lost: no round trip.

    :return: ``None`` when it is not held, or its driver does not tell.
    """
    state = drivers.state_of(dbapi_connection)
    if state is None:
        return None
    known = _sessions.get(state)
    if known is not None:
        return known
    number = _id_of(drivers.unwrap(dbapi_connection))
    if number is None:
        return None
    _sessions[state] = session = LostSession(number, _port(state.fd), state.is_unix_socket, monotonic_also_asleep())
    return session


def _port(fd: int | None) -> int | None:
    if fd is None:  # the driver does not tell, or this system has no poll()
        return None
    try:
        with drivers.borrowed(fd) as sock:
            return int(sock.getsockname()[1]) if sock.family in (socket.AF_INET, socket.AF_INET6) else None
    except OSError as error:
        if drivers.from_outside(error) is not None:
            raise
        return None


def _id_of(connection: Any) -> int | None:
    # mysqlclient and PyMySQL have the method, mysql-connector the property.
    value = connection.thread_id() if hasattr(connection, "thread_id") else getattr(connection, "connection_id", None)
    return value if isinstance(value, int) and value > 0 else None


def get_ready(connection: Connection) -> LostSession | None:
    """Note and, if need be, ask what will be needed if this connection is lost.

    :raises sqlalchemy.exc.DBAPIError: when it is lost already.
    """
    session = session_of(connection.connection.dbapi_connection)
    if session is None or session.server is not None or session.local:
        return session
    dialect = connection.dialect
    if dialect not in _translated:
        own = _processes(connection, session.id).get(True)
        if own is None:  # not known yet: the next connection asks again
            identify(connection)
            return session
        _translated[dialect] = not own[2].endswith(f":{session.port}")
    if _translated[dialect]:
        identify(connection)
    return session


def identify(connection: Connection) -> Identity:
    """Ask which server this is: one round trip, once for each connection."""
    session = session_of(connection.connection.dbapi_connection)
    if session is not None and session.server is not None:
        return session.server
    identity = tuple(sorted((str(name), str(value)) for name, value in connection.execute(_IDENTITY)))
    if session is not None:
        session.server = identity
    return identity


class _Found(enum.Enum):
    GONE = "gone"
    THERE = "there"
    PERHAPS = "perhaps there"
    ELSEWHERE = "on another server"


def _processes(connection: Connection, id: int) -> dict[bool, tuple[int, str, str]]:
    """Return id, account and address of this connection's session (True), and of the one with an id (False).

    MySQL 9 refuses its information_schema.processlist (3854) while the statement of any session that this account may
    see has a character of four bytes, or binary data. The other table has no such limit, and is empty where the
    performance schema is off.
    """
    try:
        rows = connection.execute(_PROCESSES, {"id": id}).all()
    except DBAPIError as error:
        if error.orig is None or error_number(error.orig) != CANNOT_CONVERT:
            raise
        rows = connection.execute(_PROCESSES_OF_MYSQL, {"id": id}).all()
    return {bool(own): (int(number), str(user), str(host)) for own, number, user, host in rows}


def _look(connection: Connection, lost: LostSession) -> _Found:
    """Say whether a lost session is on this connection's server."""
    if lost.server is not None and lost.server != identify(connection):
        return _Found.ELSEWHERE
    here = session_of(connection.connection.dbapi_connection)
    rows = _processes(connection, lost.id)
    own, other = rows.get(True), rows.get(False)
    if own is None or here is None or own[0] != here.id:
        return _Found.PERHAPS  # something in between gives ids of its own
    if other is None or other[1] != own[1]:
        return _Found.GONE
    machine, _, port = own[2].rpartition(":")
    if here.port is not None and port == str(here.port):
        return _Found.THERE if other[2] == f"{machine}:{lost.port}" else _Found.GONE
    uptime = float(connection.execute(_UPTIME).one()[1])
    started = monotonic_also_asleep() - uptime
    if started - _UPTIME_ERROR > lost.seen:
        return _Found.GONE
    same = (here.local and lost.local) or lost.server is not None
    return _Found.THERE if same and started + _UPTIME_ERROR < lost.seen else _Found.PERHAPS


def kill(connection: Connection, lost: LostSession) -> _Found:
    """End a lost session if it is there and certainly it.

    :param connection: another connection to what should be the same server.
    :raises sqlalchemy.exc.DBAPIError: when this one is lost as well.
    """
    found = _look(connection, lost)
    if found is _Found.THERE:
        try:
            connection.execute(text(f"KILL {lost.id}"))
            reporter_of(connection.engine).lost_session_ended(lost.id)
        except DBAPIError as error:
            if error.orig is None or error_number(error.orig) not in (NO_SUCH_THREAD, NOT_OWNER):
                raise
    return found


def end(engine: Engine, lost: LostSession, pace: Pace) -> bool:
    """Make sure that a lost connection's session is over and its locks are free.

    :param engine: the engine that the connection was one of.
    :return: false when it was not certain and the time, or a short time where it may be another's, was up.
    :raises sqlalchemy.exc.DBAPIError: when the server cannot be asked.
    """
    began, tries = pace.elapsed(), 0
    with engine.connect() as connection:
        while True:
            tries += 1
            found = kill(connection, lost) if tries == 1 else _look(connection, lost)
            if found is _Found.GONE:
                return True
            if found is _Found.ELSEWHERE:
                return False  # what it has locked there is locked for nobody here
            doubtful = found is _Found.PERHAPS and pace.elapsed() - began > _LONGEST_DOUBT
            if doubtful or not pace.pause(min(tries, 3)):
                return False
