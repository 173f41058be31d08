"""Which statements may commit by themselves: after one of them, a unit of work cannot be begun again.

MySQL and MariaDB commit before and after DDL, LOCK TABLES, GRANT and their like ("Statements That Cause an Implicit
Commit" in both manuals). The statements that are known not to are listed; what is not listed counts as one that does,
CALL among them, because a procedure may contain a COMMIT.
"""

from __future__ import annotations

import re

__all__ = ["may_commit"]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_WORD = re.compile(r"(?:\s|\(|/\*(?![!+M]).*?\*/|(?:--\s|#).*?\n)*([A-Za-z]+)(?:\s+([A-Za-z]+))?", re.DOTALL)
_NEVER = _words(
    "SELECT INSERT UPDATE DELETE REPLACE WITH VALUES SHOW EXPLAIN DESCRIBE DESC DO LOAD SAVEPOINT RELEASE ROLLBACK USE "
    "HANDLER KILL SIGNAL"
)
_PAIRS = frozenset({("CREATE", "TEMPORARY"), ("DROP", "TEMPORARY")})
_SETS_MORE = re.compile(r"autocommit|password", re.IGNORECASE)


def may_commit(statement: str) -> bool:
    """Say whether a statement may end the transaction with a COMMIT.

    :param statement: its text, with placeholders.
    """
    found = _WORD.match(statement)
    if found is None or ";" in statement.rstrip().rstrip(";"):
        return True
    first, second = found[1].upper(), (found[2] or "").upper()
    if first == "SET":
        return _SETS_MORE.search(statement) is not None
    return first not in _NEVER and (first, second) not in _PAIRS
