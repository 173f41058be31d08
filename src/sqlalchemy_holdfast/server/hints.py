"""What to do about an error while connecting, added to the error's own text: a table, a row for each kind.

The exception keeps its type and its driver's message. A line is added with
:meth:`sqlalchemy.exc.StatementError.add_detail`: what happened, why, what to do, and the address of the error's page.
What an error means for the connection and for another try is in :mod:`~.error_table`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy.engine import ExceptionContext

from .._pages import page
from . import connect_texts as texts
from . import tls_errors
from .connect_texts import Place
from .faults import error_number

__all__ = ["HINTS", "Hint", "Place", "explain_connect_error", "explain_no_database", "explain_other_error", "hint_for"]


@dataclass(frozen=True)
class Hint:
    """What is said about one kind of error while connecting: a row of the table."""

    numbers: tuple[int, ...]
    """The errno; empty when any will do."""
    words: str | Callable[[Place, str], str]
    """What is said; made from the place that was connected to, and from what the driver said."""
    page: str
    """The page of the documentation about it."""
    pattern: str = ""
    """A regular expression that must be found in the driver's text, in lower case."""

    def matches(self, number: int | None, text: str) -> bool:
        """Say whether an error is of this kind."""
        return (not self.numbers or number in self.numbers) and re.search(self.pattern, text) is not None


_MARK = "\nholdfast: "
_CONNECT = (2002, 2003, 2005, 2055)
"""Numbers of a driver that got no connection; PyMySQL and mysql-connector have 2003 for nearly everything."""
_HANDSHAKE = (2013, 2055, 3024)
"""Numbers for a connection that ended or stood still before the server had let the client in."""

_TLS = tuple(
    Hint(tls_errors.NUMBERS, cause.hint, "errors/2026", "|".join(map(re.escape, cause.texts)))
    for cause in tls_errors.CAUSES
)

HINTS: tuple[Hint, ...] = (
    # -- the server answered, and refused the account ------------------------------------------------------------------
    Hint((1045,), texts.no_password_sent, "errors/1045", r"using password: no"),
    Hint((1045,), texts.access_denied, "errors/1045"),
    Hint((1698,), texts.no_password_account, "errors/1045#plugins"),
    Hint((1044,), texts.database_denied, "errors/1045#databases"),
    Hint((1049,), texts.unknown_database, "errors/1045#databases"),
    Hint((1130,), texts.host_not_allowed, "errors/1045#hosts"),
    Hint((1129,), texts.HOST_BLOCKED, "errors/1129"),
    Hint((3118, 4151), texts.LOCKED, "errors/account-state"),
    Hint((1862, 1820), texts.EXPIRED, "errors/account-state"),
    Hint((1524,), texts.plugin_not_loaded, "errors/1045#plugins"),
    Hint((1251, 2059, 2058, 1156), texts.UNKNOWN_PLUGIN, "errors/1045#plugins"),
    Hint((2061,), texts.NEEDS_TLS, "errors/3159"),
    Hint((), texts.NEEDS_TLS, "errors/3159", r"_password requires ssl|requires secure connection"),
    Hint((3159,), texts.TLS_ONLY, "errors/3159"),
    # -- what is sent while connecting ---------------------------------------------------------------------------------
    Hint((1115, 1253, 1273, 2019), texts.CHARACTER_SET, "errors/database-url-error"),
    Hint(
        (), texts.CHARACTER_SET, "errors/database-url-error", r"character set '.*' unsupported|collation '.*' unknown"
    ),
    Hint((1064, 1193, 1231), texts.FIRST_STATEMENT, "errors/database-url-error"),
    # -- TLS -----------------------------------------------------------------------------------------------------------
    *_TLS,
    Hint((2026,), texts.TLS_FAILED, "errors/2026"),
    # -- the server has no connection left -----------------------------------------------------------------------------
    Hint((1040,), texts.SERVER_FULL, "errors/too-many-connections"),
    Hint((1203,), texts.ACCOUNT_FULL, "errors/too-many-connections"),
    Hint((1226,), texts.ACCOUNT_FULL, "errors/too-many-connections", r"max_user_connections"),
    Hint((1226,), texts.HOUR_USED_UP, "errors/too-many-connections"),
    # -- nobody answered -----------------------------------------------------------------------------------------------
    Hint(_CONNECT, texts.name_away, "errors/2003#dns", r"\(-3\)|errno -3\b|temporary failure in name"),
    Hint(
        _CONNECT,
        texts.no_such_name,
        "errors/2003#dns",
        r"not known|unknown mysql server host|unknown server host|no address assoc|nodename nor",
    ),
    Hint(_CONNECT, texts.socket_missing, "errors/2002", r"socket .*\b2\b|errno 2\b"),
    Hint(_CONNECT, texts.socket_forbidden, "errors/2002", r"socket .*\b13\b|errno 13\b"),
    Hint(_CONNECT, texts.unreachable, "errors/2003", r"unreachable|no route|\(101\)|\(113\)|errno 1(01|13)\b"),
    Hint(_CONNECT, texts.connect_timed_out, "errors/2003", r"timed out|\(110\)|errno 110\b"),
    Hint(_CONNECT[:3], texts.refused, "errors/2003"),
    # -- something answered, and said nothing or hung up ---------------------------------------------------------------
    Hint(_HANDSHAKE, texts.silent, "errors/silent-port", r"system error: 110|timed out"),
    Hint((2006, *_HANDSHAKE), texts.hung_up, "errors/silent-port"),
    Hint((2007, 2012, -1), texts.not_mysql, "errors/silent-port", r"protocol mismatch|handshake"),
    Hint((), texts.not_mysql, "errors/silent-port", r"packet sequence number wrong|unpack requires|out of range"),
    # -- not an error of the driver's own kind -------------------------------------------------------------------------
    Hint(
        (),
        texts.unknown_option,
        "errors/database-url-error",
        r"unexpected keyword argument|invalid keyword argument|unsupported argument",
    ),
    Hint((), texts.NEEDS_CRYPTOGRAPHY, "errors/1045#plugins", r"'cryptography' package is required"),
)
"""The table; the first row that matches is the one."""


def hint_for(error: BaseException, place: Place) -> str:
    """Return what to do about an error that was raised while connecting; empty when there is nothing to say."""
    said = str(error)
    number = error_number(error)
    hint = next((hint for hint in HINTS if hint.matches(number, said.lower())), None)
    if hint is None:
        return ""
    words = hint.words if isinstance(hint.words, str) else hint.words(place, said)
    between = "" if words.endswith("\n") else " "
    return f"{words}{between}{page(hint.page)}".rstrip()


def explain_other_error(error: Exception, place: Place) -> None:
    """Add a hint to an error while connecting that is of no class of the driver's, so that SQLAlchemy hands it on.

    :param error: gets a longer text; it stays the same object.
    """
    hint = hint_for(error, place)
    if hint and _MARK not in str(error):
        error.args = (f"{error}{_MARK}{hint}",)


def explain_no_database(context: ExceptionContext, place: Place) -> None:
    """Say where the database's name belongs, in the error of a statement for which none was chosen."""
    shown = context.sqlalchemy_exception
    if shown is not None and place.driver and not place.database and error_number(context.original_exception) == 1046:
        shown.add_detail(f"holdfast: {texts.NO_DATABASE} {page('errors/1045#databases')}".rstrip())


def explain_connect_error(context: ExceptionContext, where: str, place: Place) -> None:
    """Add a hint to an error that was raised while connecting, when there is one for it.

    :param where: names the engine, as in the log.
    :param place: what is known of the URL.
    """
    if context.sqlalchemy_exception is None:
        return
    hint = hint_for(context.original_exception, place)
    if hint:
        context.sqlalchemy_exception.add_detail(f"holdfast, connecting to {where}: {hint}")
