"""What is asked of every statement: whether it is a plain read, and whether it may follow an unanswered ROLLBACK."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sqlalchemy_holdfast.server.statements import is_plain_read, may_follow_rollback

KINDS: tuple[Callable[[str], Any], ...] = (
    str,
    str.encode,
    lambda text: bytearray(text.encode()),
    lambda text: memoryview(text.encode()),
)

PLAIN = [
    "SELECT 1",
    "  select id, name\nfrom guests where id = 5",
    "SELECT 1;",
    "SELECT guests.updated_at, guests.information, guests.share, guests.format FROM guests ORDER BY guests.updated_at",
    "SELECT `for`, `lock`, `into` FROM guests WHERE `share` = 1",
    "SELECT block, clock, before_for, pinto FROM guests",
    "SELECT count(*), coalesce(max(name), 'x') FROM guests WHERE id IN (1, 2, 3)",
    "SELECT 1 FROM guests WHERE name = 'FOR UPDATE'",
    "SELECT 1 FROM guests WHERE name = 'look into it; FOR UPDATE -- /*! x */' AND id IN (SELECT 1)",
    "SELECT 1 FROM guests WHERE name = 'it\\'s FOR UPDATE' LIMIT 1",
    "SELECT 1 FROM guests WHERE mail = 'look into @x' AND url = 'https://x/*/y'",
    "SELECT 1 FROM guests WHERE url = 'https://example.org/for/you' AND on_day = '2030-01-01' AND n = -1",
    "SELECT (SELECT max(id) FROM guests) AS `m` FROM (SELECT id FROM guests) AS anon_1",
    "SELECT 1 FROM guests /* traceparent='00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01' */",
    "SELECT 1 FROM guests -- for you\n",
    "SELECT 1 FROM guests # for you",
    "SELECT id FROM guests WHERE mail = @mail",
    "SELECT id FROM guests ORDER BY id DESC LIMIT 10",
    "SELECT " + ", ".join(f"guests.column_{n} AS guests_column_{n}" for n in range(50)) + " FROM guests",
    "SELECT id FROM guests WHERE id IN (" + ", ".join(map(str, range(20_000))) + ")",
]

BEHIND = " AS x WHERE x.id = 5 AND x.name = 'more than sixty-four characters, so that no look at the end finds it'"
LOCKS = [
    "FOR UPDATE",
    "for update",
    "For Update",
    "FOR\n\tUPDATE",
    "FOR/**/UPDATE",
    "FOR /* of us */ UPDATE",
    "FOR -- you\nUPDATE",
    "FOR # you\nUPDATE",
    "FOR SHARE",
    "for share skip locked",
    "FOR UPDATE NOWAIT",
    "FOR UPDATE WAIT 5",
    "LOCK IN SHARE MODE",
    "lock\nin\nshare\nmode",
    "LOCK/**/IN SHARE MODE",
    "INTO @x",
    "INTO\n@x",
    "INTO OUTFILE '/tmp/x'",
    "/*! FOR UPDATE */",
    "/*!50000 FOR UPDATE */",
    "/*M! FOR UPDATE */",
    "FOR /*!UPDATE*/",
]
PLACES = [
    "SELECT id FROM guests {}",
    "SELECT id FROM guests {};",
    "SELECT id FROM guests {} -- and a comment that is longer than the sixty-four characters at the end of a text",
    "SELECT id FROM guests {} # and a comment that is longer than the sixty-four characters at the end of a text",
    "SELECT id FROM guests {} /* and a comment that is longer than the sixty-four characters at the end of a text */",
    "SELECT id FROM guests {}" + " " * 200,
    "SELECT id FROM guests WHERE name = 'for you' {}",
    "SELECT * FROM (SELECT id FROM guests {})" + BEHIND,
    "SELECT * FROM ((SELECT id FROM guests {}))" + BEHIND,
    "SELECT * FROM (\n  select id from guests {})" + BEHIND,
    "SELECT * FROM ( /* of us */ SELECT id FROM guests {})" + BEHIND,
    "SELECT * FROM (WITH g AS (SELECT 1) SELECT id FROM guests {})" + BEHIND,
    "SELECT * FROM (TABLE guests {})" + BEHIND,
    "SELECT * FROM guests WHERE id IN (SELECT id FROM guests WHERE (name) = 1.{})" + BEHIND[4:],
    "SELECT id FROM guests UNION (SELECT id FROM guests {})" + BEHIND.replace("AS x WHERE", "ORDER BY"),
    "WITH g AS (SELECT id FROM guests {}) SELECT * FROM g" + BEHIND,
    "(SELECT id FROM guests {})",
    "SELECT 1 FROM guests WHERE name = 'it\\'s' AND id = (SELECT id FROM guests {})" + BEHIND[4:],
    "SELECT 1; SELECT id FROM guests {}",
]


@pytest.mark.parametrize("statement", PLAIN, ids=lambda text: text[:80])
def test_an_ordinary_read_is_plain_whatever_its_names_and_values_are(statement: str) -> None:
    for kind in KINDS:
        assert is_plain_read(kind(statement))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("lock", LOCKS)
def test_a_read_that_locks_or_writes_is_found_wherever_it_does(place: str, lock: str) -> None:
    for kind in KINDS:
        assert not is_plain_read(kind(place.format(lock)))


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT id FROM guests FOR UPDATE OF " + ", ".join(f"guests_of_the_year_{year}" for year in range(2000, 2020)),
        "SELECT id FROM guests FOR UPDATE OF " + "g" * 64,
        "SELECT id FROM guests FOR UPDATE OF " + ", ".join(f"seen_from_limit_by_{year}" for year in range(2000, 2020)),
        "select id from guests for update of " + ", ".join(f"guests_of_the_year_{year}" for year in range(2000, 2020)),
        "SELECT id INTO @x FROM guests" + BEHIND,
        "SELECT id INTO@x FROM guests" + BEHIND,
        "SELECT id into\n @x FROM guests" + BEHIND,
        "SELECT 1; UPDATE guests SET name = 'x'" + BEHIND,
        "SELECT 1;UPDATE guests SET name = 1",
        "SELECT /*! 1 INTO OUTFILE 'x' */ FROM guests" + BEHIND,
        "UPDATE guests SET name = 'x'",
        "INSERT INTO guests VALUES (1)",
        "",
        ";",
    ],
)
def test_what_is_hidden_elsewhere_is_found_too(statement: str) -> None:
    for kind in KINDS:
        assert not is_plain_read(kind(statement))


FOLLOW = [
    "SELECT 1",
    "\n  select 1",
    "INSERT INTO guests VALUES (1)",
    "INSERT INTO guests VALUES (1);",
    "INSERT INTO guests VALUES (1) ;\n; ",
    "INSERT INTO guests VALUES ('a; b', \"c; d\", `e;`)",
    "INSERT INTO guests VALUES ('it''s; so', 'a\\\\; b')",
    "UPDATE guests SET name = 'x' /* a; b */",
    "UPDATE guests SET name = 'x' -- a; b",
    "DELETE FROM guests",
    "REPLACE INTO guests VALUES (1)",
]
WAIT = [
    "",
    ";",
    "COMMIT",
    "SET autocommit = 1",
    "CALL p()",
    "CREATE TABLE t (n INT)",
    "LOAD DATA INFILE 'x' INTO TABLE t",
    "BEGIN",
    "SELECT 1; COMMIT",
    "SELECT 1;COMMIT",
    "INSERT INTO guests VALUES (1);\ncommit;",
    "INSERT INTO guests VALUES ('a; b'); COMMIT",
    "INSERT INTO guests VALUES (1) /*! ; COMMIT */",
    "INSERT INTO guests VALUES (1) /*M! ; COMMIT */",
    "INSERT INTO guests VALUES (1) -- '\n; COMMIT -- '",
    "INSERT INTO guests VALUES (1) # '\n; COMMIT # '",
    "INSERT INTO guests VALUES ('\\'); COMMIT; SELECT (\\'')",
    "/*! COMMIT */",
    "/*!50000 COMMIT */; SELECT 1",
    "/*M!100000 SELECT 1 */",
    "/* */ INSERT INTO guests VALUES (1)",
    "(SELECT 1)",
    "WITH g AS (SELECT 1) SELECT * FROM g",
    "SELECT '" + "x" * 2_000_000 + "'",
]


@pytest.mark.parametrize("statement", FOLLOW)
def test_one_plain_read_or_write_may_follow_a_rollback(statement: str) -> None:
    for kind in KINDS:
        assert may_follow_rollback(kind(statement))


@pytest.mark.parametrize("statement", WAIT, ids=lambda text: text[:80])
def test_what_might_commit_waits_for_the_rollbacks_reply(statement: str) -> None:
    for kind in KINDS:
        assert not may_follow_rollback(kind(statement))


TEXTS = st.one_of(
    st.text(),
    st.binary(),
    st.text(alphabet="SELECTFORUPDATE();'\"`\\/*-# \n@!ux").map(lambda text: "SELECT " + text),
    st.binary().map(lambda text: b"SELECT " + text),
)


@settings(deadline=None)
@given(TEXTS)
def test_any_text_has_an_answer(statement: str | bytes) -> None:
    assert is_plain_read(statement) in (True, False)
    assert may_follow_rollback(statement) in (True, False)


VALUES = st.text(alphabet="forupdate into lock;@/*#-'\"\\`é") | st.sampled_from(["FOR UPDATE", "a; COMMIT", "INTO @x"])


@settings(deadline=None)
@given(VALUES, VALUES)
def test_no_value_that_a_driver_escaped_makes_a_read_less_plain(first: str, second: str) -> None:
    escaped = [value.replace("\\", "\\\\").replace("'", "\\'") for value in (first, second)]
    statement = "SELECT id FROM guests WHERE name = '{}' AND note IN ('{}')".format(*escaped)
    assert is_plain_read(statement)
    assert is_plain_read(statement.encode())
    assert not is_plain_read(statement + " FOR UPDATE")
    assert not is_plain_read("SELECT * FROM (" + statement + " FOR SHARE)" + BEHIND)


@pytest.mark.parametrize("kind", [str, str.encode, lambda s: bytearray(s.encode()), lambda s: memoryview(s.encode())])
def test_statements_are_classified_whatever_type_they_have(kind: Any) -> None:
    assert may_follow_rollback(kind("INSERT INTO t VALUES (1)"))
    assert may_follow_rollback(kind("\n  select 1"))
    assert not may_follow_rollback(kind("COMMIT"))
    assert not may_follow_rollback(kind("SELECT '" + "x" * 2_000_000 + "'"))
    assert is_plain_read(kind("SELECT 1"))
    assert not is_plain_read(kind("SELECT 1 FROM t FOR UPDATE"))
    assert not is_plain_read(kind("select 1 from t lock in share mode"))
    assert not is_plain_read(kind("SELECT 1 FROM t FOR UPDATE /*" + "traceparent " * 20 + "*/"))
    assert not is_plain_read(kind("UPDATE t SET a = 1"))
