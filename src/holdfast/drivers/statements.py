"""What a statement's text says about when it may be sent.

Looked at once for every statement: no parsing, no loop.
"""

from __future__ import annotations

from typing import Any

__all__ = ["is_plain_read", "may_follow_rollback"]


def _spellings(*words: str) -> frozenset[str | bytes]:
    texts = [text for word in words for text in (word, word.lower(), word.capitalize())]
    return frozenset([*texts, *(text.encode() for text in texts)])


_SELECT = _spellings("SELECT")
_MAY_FOLLOW = _spellings("SELECT", "INSERT", "UPDATE", "DELETE", "REPLAC")
_PIPELINE_BYTES = 1_000_000  # a longer one may be several packets, and nobody minds one more round trip for it


def _head(statement: Any) -> str | bytes:
    head = statement[:40]
    head = head if isinstance(head, (str, bytes)) else bytes(head)
    return head[:6] if head[:6] in _MAY_FOLLOW else head.lstrip()[:6]


def may_follow_rollback(statement: Any) -> bool:
    """Say whether a statement (text or bytes) may be sent before the reply to a ROLLBACK has been read.

    Only plain reads and writes may. COMMIT, DDL, SET, CALL, LOAD DATA and everything unknown wait for the reply, so
    that nothing can be committed or run outside a transaction behind a ROLLBACK that failed.
    """
    return _head(statement) in _MAY_FOLLOW and len(statement) < _PIPELINE_BYTES


def is_plain_read(statement: Any) -> bool:
    """Say whether a statement only reads and takes no row locks, so that nobody depends on when it is rolled back."""
    if _head(statement) not in _SELECT:
        return False
    tail = statement[-64:]
    tail = tail.encode("ascii", "replace") if isinstance(tail, str) else bytes(tail)
    if tail.endswith(b"*/"):  # a comment, as tracers append them, may be longer than that
        tail = statement.encode("utf-8", "replace") if isinstance(statement, str) else bytes(statement)
    tail = tail.upper()  # no loop: this runs for every statement
    return not (b"UPDATE" in tail or b"SHARE" in tail or b"NOWAIT" in tail or b"LOCKED" in tail or b"INTO" in tail)
