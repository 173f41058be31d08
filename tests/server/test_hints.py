"""The table of hints: each row has a page that is there, says something, and can be reached."""

from __future__ import annotations

import re
from pathlib import Path

import pymysql.err
import pytest

from sqlalchemy_holdfast.server.hints import HINTS, Hint, Place, hint_for
from sqlalchemy_holdfast.server.tls_errors import CAUSES

DOCS = Path(__file__).resolve().parents[2] / "docs"
TEXTS = (
    "Access denied for user 'me'@'h' (using password: NO)",
    "User 'me' has exceeded the 'max_user_connections' resource",
    "Can't connect ([Errno -3] Temporary failure in name resolution)",
    "Can't connect ([Errno -2] Name or service not known)",
    "Can't connect to local server through socket '/x' (2)",
    "Can't connect to local server through socket '/x' (13)",
    "Can't connect ([Errno 101] Network is unreachable)",
    "Can't connect (timed out)",
    "Lost connection, system error: 110",
    "Error in server handshake",
    "sha256_password requires SSL",
    "Packet sequence number wrong - got 45 expected 0",
    "Character set 'utf9' unsupported",
    "'cryptography' package is required",
    "Connection.__init__() got an unexpected keyword argument 'foo'",
    "",
    *(text for cause in CAUSES for text in cause.texts),
)
"""One for each pattern of the table, and none."""


@pytest.mark.parametrize("hint", HINTS, ids=lambda hint: f"{hint.numbers} {hint.pattern}")
def test_every_row_has_a_page_and_can_be_reached(hint: Hint) -> None:
    path, _, place = hint.page.partition("#")
    page = (DOCS / f"{path}.md").read_text()
    if place:
        assert re.search(rf"(?im)^## {place}$", page), f"no heading {place}"
    errors = [pymysql.err.OperationalError(number, text) for number in hint.numbers or (0,) for text in TEXTS]
    first = {next((row for row in HINTS if row.matches(error.args[0], str(error).lower())), None) for error in errors}
    assert hint in first, "another row hides it"
    words = hint.words if isinstance(hint.words, str) else hint.words(Place(), "")
    assert words.rstrip().endswith((".", "?", ";", ")"))
    assert len(words) > 60


def test_an_error_that_nobody_knows_gets_no_hint() -> None:
    assert hint_for(pymysql.err.OperationalError(1062, "Duplicate entry"), Place()) == ""
