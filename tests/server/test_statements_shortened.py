"""What is shown of a statement, and that no value of it ever is."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sqlalchemy_holdfast.server.statements import shortened
from tests._long import LONG

SHOWN = [
    ("SELECT sum(amount) FROM accounts", "SELECT sum(amount) FROM accounts"),
    ("select  a\n from\tb", "select a from b"),
    ("SELECT 1", "SELECT ?"),
    ("SELECT a FROM b WHERE c = 5 AND d = 'x'", "SELECT a FROM b WHERE c = ? AND d ..."),
    ("INSERT INTO a (b, c, d) VALUES (1, 'x', NULL)", "INSERT INTO a (b, c, d) VALUES (?, ?, ?)"),
    ("INSERT INTO a VALUES ('it''s', \"a\"\"b\")", "INSERT INTO a VALUES (??, ??)"),
    ("INSERT INTO a VALUES ('it\\'s', 2)", "INSERT INTO a VALUES (? ..."),
    ("SELECT `a`.`b` FROM `c d`", "SELECT a.b FROM ?"),
    ("SELECT a1.b_2, c34d FROM t56", "SELECT a?.b_?, c? FROM t?"),
    ("SELECT %s, %(name)s, :name, ? FROM t", "SELECT %s, %(name)s, :name, ? FROM t"),
    ("SELECT -1, 1.5e-3, .5, 0x41, 1_000, 5x FROM t", "SELECT -?, ?-?, .?, ?, ?, ? FROM t"),
    ("SELECT a FROM t LIMIT 5,6", "SELECT a FROM t LIMIT ?,?"),
    ("SELECT a FROM t LIMIT5", "SELECT a FROM t LIMIT?"),
    ("SELECT _utf8'a', N'a', x'41', b'1', DATE'2030-01-01'", "SELECT _utf??, N?, x?, b?, DATE?"),
    ("/* traceparent='00-4bf9' */ SELECT a FROM t", "SELECT a FROM t"),
    ("/*x*/SELECT a FROM t", "SELECT a FROM t"),
    ("SELECT a /* of us */ FROM t", "SELECT a FROM t"),
    ("SELECT a -- of us\n FROM t", "SELECT a ..."),
    ("SELECT a # of us\n FROM t", "SELECT a ..."),
    ("SELECT a /*! FROM t */", "SELECT a ..."),
    ("SELECT /*+ x */ a FROM t", "SELECT ..."),
    ("SELECT a; SELECT b", "SELECT a ..."),
    ("SELECT größe FROM t", "SELECT gr ..."),
    ("SELECT SLEEP(30)", "SELECT SLEEP(?)"),
    ("SET autocommit = 1", "SET autocommit =? ..."),
    ("SET PASSWORD FOR bob = 'x'", "SET ..."),
    ("CREATE USER bob IDENTIFIED BY 'x'", "CREATE USER bob ..."),
    ("ROLLBACK", "ROLLBACK"),
    ("CALL p(1, 'x')", "CALL p(?, ?)"),
    ("SELECT " + "a" * 65, "SELECT ?"),
    ("SELECT " + ", ".join(["a" * 30] * 9), ("SELECT " + ", ".join(["a" * 30] * 9))[:120]),
    ("", ""),
    ("\xff\xfe", "..."),
]


@pytest.mark.parametrize(("statement", "shown"), SHOWN)
def test_names_are_shown_and_values_are_not(statement: str, shown: str) -> None:
    assert shortened(statement) == shown
    assert shortened(bytearray(statement.encode())) == shown


SECRET = "zyxwvq"
"""None of its letters in a row are a part of any word of SQL."""


def shows(text: str) -> bool:
    """Whether three letters of the secret are in a text."""
    return any(SECRET[at : at + 3] in text.lower() for at in range(len(SECRET) - 2))


def lines(text: str) -> list[str]:
    """The lines of a text, in which ~ is a line feed, ^ a zero byte and _ at the end a space."""
    found = [line.replace("~", "\n").replace("^", "\0") for line in text.strip("\n").split("\n")]
    return [line[:-1] + " " if line.endswith(" _") else line for line in found]


INSIDE = lines(r"""
{}
{}'{}
{}''{}
{}\'{}
{}"{}
{}""{}
{}`{}
{}\{}
{}\\{}
{}\
{}\\'{}
{};{}
{}-- {}
{}--{}
{}#{}
{}/*{}
{}*/{}
{} /*! {}
{}~{}
{}^{}
{}é{}
{}日{}
{} {}
{}-{}
it's {}
\{}
\\{}
say "{}
`{}
O''{}
\' {}
x{}
1{}
{}=
縗{}
ソ{}
""")
QUOTED = [
    *lines("""
'{}'
"{}"
`it's {}`
N'{}'
_utf8'{}'
_utf8mb4 '{}'
_binary'{}'
x'{}'
X'{}'
b'{}'
DATE '{}'
TIMESTAMP'{}'
{d '{}'}
q'[{}]'
E'{}'
U&'{}'
$${}$$
$tag${}$tag$
«{}»
'a' '{}'
'a''{}'
/* {} */
/*! '{}' */
/*!50000 {} */
/*M! '{}' */
/*+ x({}) */
/* it's {} */
/* /* */ {} */
-- {}~
# {}~
-- it's {}
@'{}'
@"{}"
'{}'@'{}'
"""),
    *("\u2018{}\u2019", "\u201c{}\u201d", "\uff07{}\uff07", "\u00b4{}\u00b4"),
]
BARE = lines("""
1{}
0x{}
1e{}
1.{}
-1{}
1_{}
IDENTIFIED BY {}
$${}$$
""")
STARTS = lines(r"""
SELECT _
SELECT a FROM t WHERE a = _
SELECT a FROM t WHERE a=
SELECT a FROM t WHERE a LIKE
SELECT a FROM t LIMIT
SELECT @a:=
SELECT :name=
SELECT %(a)s,
SELECT 'x',
SELECT "x",
SELECT a AS `b'c`,
SELECT a AS "b\",
SELECT '\\',
SELECT 'a\'b',
SELECT 1, -- it's~
SELECT/**/
/* c */ SELECT _
INSERT INTO t VALUES (
INSERT INTO t VALUES(
UPDATE t SET a=
VALUES
SET PASSWORD = _
SET PASSWORD FOR bob = _
SET GLOBAL a = _
SET @a := _
CREATE USER bob IDENTIFIED BY _
ALTER USER bob IDENTIFIED WITH x AS _
GRANT ALL ON *.* TO bob IDENTIFIED BY _
CHANGE MASTER TO MASTER_PASSWORD=
CREATE SERVER s OPTIONS (PASSWORD _
EXECUTE a USING _
PREPARE a FROM _
LOAD DATA INFILE _
CALL p(
DO _
KILL _
(
""")
BETWEEN = [",", ", ", " ", ")", " AND a = ", "\n", " OR\t", "", "),(", " /* ' */ ", ";"]
ENCODINGS = ["utf-8", "gbk", "shift_jis", "big5", "euc_kr", "gb18030", "latin-1", "utf-16", "utf-8-sig"]


def texts(chance: random.Random) -> Iterator[str | bytes]:
    """One statement with secrets in its values, as text and in some encodings, whole and cut."""

    def literal() -> str:
        if chance.random() < 0.1:
            return " " + chance.choice(BARE).replace("{}", SECRET)
        return chance.choice(QUOTED).replace("{}", chance.choice(INSIDE).replace("{}", SECRET))

    text = chance.choice(STARTS) + literal()
    while chance.random() < 0.5:
        text += chance.choice(BETWEEN) + chance.choice([literal(), literal(), "a", "1"])
    if chance.random() < 0.1:
        text += " AND a = " + chance.choice("'\"") + SECRET  # not closed
    if chance.random() < 0.3:
        text = text[: chance.randint(0, len(text))]
    yield text
    for encoding in ENCODINGS:
        try:
            data = text.encode(encoding)
        except UnicodeEncodeError:
            continue
        yield data
        yield data[: chance.randint(0, len(data))]


def test_no_part_of_a_value_is_shown_in_whatever_it_is_written() -> None:
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    shown = 0
    for _ in range(200_000 if LONG else 4_000):
        for text in texts(chance):
            found = shortened(text)
            assert not shows(found), (seed, text, found)
            assert not any(letter.isdigit() for letter in found), (seed, text, found)
            assert found.isascii(), (seed, text, found)
            shown += len(found.split()) > 2
    assert shown > 1_000, "something is shown"


@settings(deadline=None)
@given(st.text() | st.binary(), st.sampled_from(["", "SELECT ", "INSERT INTO t VALUES ('"]))
def test_any_text_can_be_shown(text: str | bytes, start: str) -> None:
    found = shortened(start + text if isinstance(text, str) else start.encode() + text)
    assert found.isascii()
    assert found.isprintable()
    assert len(found) <= 120
    assert not any(letter.isdigit() for letter in found)


VALUES = st.text(alphabet=st.sampled_from("zyxq'\"`\\;-#/* é\n"), min_size=3)


@settings(deadline=None)
@given(VALUES, st.booleans(), st.sampled_from(["'", '"']), st.integers(0, 300))
def test_no_value_is_shown_that_a_driver_has_escaped(value: str, escapes: bool, quote: str, length: int) -> None:
    value = value.replace("\\", "\\\\") if escapes else value
    value = value.replace(quote, ("\\" if escapes else quote) + quote)
    for text in (
        f"SELECT a FROM b WHERE c = {quote}{value}{quote} AND d = {quote}{value}{quote}",
        f"INSERT INTO a VALUES ({quote}{value}{quote}, {quote}{value}{quote})",
        f"SELECT {quote}{value}{quote} AS a, {quote}{value}{quote} FROM b",
    ):
        for sent in (text, text[:length], text.encode(), text.encode()[:length]):
            assert not set("zyxq") & set(shortened(sent)), sent
