"""What a statement leaves behind in its session: user variables, settings, locks, temporary tables, ...

Asked for each statement where ``holdfast_reset`` is on. A wrong yes costs a reset that nobody waits for; a wrong no
shows one unit of work what another one left. So what is not understood counts as a change.

Plain SELECT, INSERT, UPDATE, DELETE and REPLACE are known to leave nothing: they set no user variable, and call no
function but the server's own that change nothing (:data:`~.statements.FUNCTIONS`). What views, triggers and the
functions that these call do cannot be seen in a text; where there are triggers, each write counts as a change
(:func:`may_fire_trigger`). What every statement leaves (``LAST_INSERT_ID()`` after an
INSERT, ``ROW_COUNT()``, ``FOUND_ROWS()``, warnings) is not counted as a change.

Rejected: to have the server tell (``session_track_state_change``). It does not tell of GET_LOCK, LOCK TABLES and
HANDLER, nor of anything that a SELECT does (MariaDB 10.11, MySQL 9.7), so the text has to be judged all the same; and
drivers do not show what it tells.
"""

from __future__ import annotations

import re

from .lexer import SPACE, Statement, as_text, readings, word
from .statements import FUNCTIONS, KEYWORDS, may_commit

__all__ = [
    "MORE_FUNCTIONS",
    "MORE_KEYWORDS",
    "changes_session",
    "is_plainly_clean",
    "may_be_said_again",
    "may_change_database",
    "may_fire_trigger",
    "may_follow_reset",
    "use",
]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_LONGEST = 100_000
"""Longer statements (characters) are not looked through."""
_CLEAN = _words(
    "SELECT INSERT UPDATE DELETE REPLACE WITH VALUES SHOW EXPLAIN DESCRIBE DESC COMMIT ROLLBACK SAVEPOINT RELEASE "
    "BEGIN START"
)
"""First words of statements that leave nothing, if nothing in them does."""
MORE_FUNCTIONS = _words("FOUND_ROWS JSON_INSERT JSON_REMOVE JSON_REPLACE JSON_SET ROW_COUNT")
"""Functions that change nothing, as those of :data:`~.statements.FUNCTIONS`. They tell what the session did before."""
MORE_KEYWORDS = _words("DEFAULT")
_SPACED = KEYWORDS | MORE_KEYWORDS
"""What may stand before a parenthesis with a space in between: no function has such a name."""
_CALLABLE = _SPACED | FUNCTIONS | MORE_FUNCTIONS
"""What may stand before a parenthesis. Each of the functions is the server's own, whatever else has that name."""

_LOOK_CLOSER = re.compile(r"[@;#\x00-\x08\x0e-\x1f]|/\*|--").search
"""What may be a part of a value, or not, or hide something: the quoted parts are taken out first."""
_EFFECT = re.compile(rf"[;\x00-\x08\x0e-\x1f]|:[{SPACE}]*=|INTO[{SPACE}]*@").search
"""What changes something, outside of quotes. A variable that is only read is no change."""
_SEQUENCE = re.compile(rf"VALUE[{SPACE}]+FOR").search
_NAME = r"\w$`.\"?\x7f-\U0010ffff"
"""What may belong to a name, quoted or not."""
_CALL = re.compile(rf"(?<![{_NAME}])([{_NAME}]+)([{SPACE}]*)\(").finditer
"""A parenthesis, and the name before it."""
_COLUMNS = re.compile(
    rf"[{SPACE}]*(?:INSERT|REPLACE)[{SPACE}]+(?:IGNORE[{SPACE}]+)?INTO[{SPACE}]+[\w$`.?]+[{SPACE}]*\("
).match
"""The name of a table, which stands before its columns' names."""
_OWN_LAST_ID = re.compile(rf"[{SPACE}]*\)").match


def changes_session(statement: Statement, *, backslash_escapes: bool | None = None) -> bool:
    """Say whether a statement may leave something behind in its session that outlives its transaction.

    :param statement: its text, with values.
    :param backslash_escapes: whether a backslash escapes a quote in a string, as without sql_mode
        NO_BACKSLASH_ESCAPES. ``None``: not known, and the answer is yes where it matters.
    """
    if is_plainly_clean(statement):
        return False
    if len(statement) > _LONGEST or word(_in_capitals(statement), behind_parentheses=True)[0] not in _CLEAN:
        return True
    found = readings(statement, backslash_escapes)
    return found is None or any(map(_has_effect, found))


def is_plainly_clean(statement: Statement) -> bool:
    """Say, at a quick look, whether a statement leaves nothing. A no means that one has to look closer.

    It looks at the whole text, values included: what the server runs is a part of it, whatever is quoted.
    """
    if len(statement) > _LONGEST:
        return False
    text = _in_capitals(statement)
    if text[:6] not in _CLEAN and word(text, behind_parentheses=True)[0] not in _CLEAN:
        return False
    return not _LOOK_CLOSER(text) and not _calls_something(text)


def _in_capitals(statement: Statement) -> str:
    """Return a text with its ASCII letters in capitals. (Python has capitals for other letters that are ASCII.)"""
    if isinstance(statement, str):
        if statement.isascii():
            return statement.upper()
        statement = statement.encode("utf-8", "surrogatepass")
    return as_text(statement if isinstance(statement, memoryview) else statement.upper())


_NO_WRITES = _words("SELECT VALUES SHOW EXPLAIN DESCRIBE DESC COMMIT ROLLBACK SAVEPOINT RELEASE BEGIN START")


def may_fire_trigger(statement: Statement) -> bool:
    """Say whether a statement may write to a table, and so run its triggers."""
    return word(_in_capitals(statement), behind_parentheses=True)[0] not in _NO_WRITES


def _has_effect(plain: str) -> bool:
    plain = _in_capitals(plain.rstrip(SPACE + ";"))
    return _EFFECT(plain) is not None or _calls_something(plain)


def _calls_something(text: str) -> bool:
    """Say whether a text, in capitals, calls a function that is not known to change nothing."""
    if "VALUE" in text and _SEQUENCE(text):  # NEXT VALUE FOR
        return True
    if "(" not in text:
        return False
    columns = _COLUMNS(text)
    for found in _CALL(text, columns.end() if columns else 0):
        name, space = found.groups()
        if name not in (_SPACED if space else _CALLABLE) and (
            name != "LAST_INSERT_ID" or space or not _OWN_LAST_ID(text, found.end())
        ):
            return True
    return False


_IN_THE_SAME_DATABASE = _CLEAN | _words("SET CALL DO CREATE LOCK UNLOCK PREPARE DEALLOCATE HANDLER")


# -- what sets a session up ------------------------------------------------------------------------------------

_BEYOND = re.compile(
    rf"(?<![\w$])(?:GLOBAL|PERSIST|PERSIST_ONLY|PASSWORD|STATEMENT|RESOURCE|DEFAULT[{SPACE}]+ROLE)(?![\w$])"
)
"""Words of a SET that reaches beyond its session, or not so far."""


def may_be_said_again(statement: Statement, *, backslash_escapes: bool | None = None) -> bool:
    """Say whether a statement does nothing but set its session up, so that it may be sent again after a reset.

    One SET of this session's variables, or one USE. The server answers such a statement with OK.

    :param statement: as :func:`changes_session` takes it.
    """
    text = as_text(statement)
    first, end = word(text)
    if first not in ("SET", "USE") or len(text) > _LONGEST:
        return False
    if first == "SET" and word(text, end)[0] == "TRANSACTION":  # the next transaction's level, not the session's
        return False
    found = readings(statement, backslash_escapes)
    if found is None:
        return False
    for plain in found:
        plain = _in_capitals(plain.rstrip(SPACE + ";"))
        if ";" in plain or _BEYOND.search(plain) or _calls_something(plain):
            return False
    return True


def may_change_database(statement: Statement) -> bool:
    """Say whether a statement that changes its session may leave another database selected.

    Stored procedures and functions cannot contain USE.
    """
    text = as_text(statement)
    return ";" in text or word(text)[0] not in _IN_THE_SAME_DATABASE


def may_follow_reset(statement: Statement, *, backslash_escapes: bool | None = None) -> bool:
    """Say whether a statement that only sets its session up may be sent before the replies to a reset have been read.

    :param statement: as :func:`changes_session` takes it.
    """
    return may_be_said_again(statement, backslash_escapes=backslash_escapes) and not may_commit(
        statement, backslash_escapes=backslash_escapes
    )


def use(database: str | bytes) -> str:
    """Return the statement that selects a database."""
    name = database.decode("utf-8", "replace") if isinstance(database, bytes) else database
    return f"USE `{name.replace('`', '``')}`"
