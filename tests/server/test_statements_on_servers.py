"""What the servers make of texts whose values, names and comments are as misleading as they can be.

Each text is run in an open transaction, in a session of some character set and sql_mode. Whether that was committed,
and whether a function of the site's own was called, is compared with what was said of the text.
"""

from __future__ import annotations

import contextlib
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pymysql
import pytest
from pymysql.constants import CLIENT

from sqlalchemy_holdfast.lab import Server
from sqlalchemy_holdfast.server.statements import is_plain_read, may_commit, may_follow_rollback, only_reads
from tests._long import LONG

TEXTS = 20_000 if LONG else 400
LETTERS_OF_TWO_BYTES = {
    "gbk": [(0x81, 0xFE)],
    "gb18030": [(0x81, 0xFE)],
    "big5": [(0xA1, 0xF9)],
    "sjis": [(0x81, 0x9F), (0xE0, 0xFC)],
    "cp932": [(0x81, 0x9F), (0xE0, 0xFC)],
}
CHARSETS = [
    *(*LETTERS_OF_TWO_BYTES, *LETTERS_OF_TWO_BYTES),
    *("utf8mb4", "latin1", "euckr", "ujis", "eucjpms", "swe7", "cp1256", "armscii8"),
]
MISLEADING = [
    *(b"\\", b"'", b'"', b"`", b"\\'", b"''", b"\\\\", b'\\"', b"; COMMIT;", b"-- ", b"--", b"#", b"/*", b"*/", b"/*!"),
    *(b"\n", b"\0", b"a", b" ", b", adds(), ", b"\xa0", b"\x1a", b"\x0b", b";"),
]
GAPS = [
    *(b" ", b" ", b"", b"\n", b"\t", b"\x0c", b"\x0b", b"/**/", b"/* ' */", b'/* " */', b"-- '\n", b"# `\n", b"#\\\n"),
    *(b"/* ; */", b"/*! */", b"--\x01'\n", b"\xa0", b"/*'*/", b"/*!999999 '*/", b"/*M! '*/", b"/*+ ' */", b"-- \0\n"),
    b"--\xa0'\n",
]
CALLS = [
    *(b"adds()", b"adds()", b"adds ()", b"test.adds()", b"`adds`()", b'"adds"()', b"test . adds()", b"adds/**/()"),
    *(b"/*!adds()*/", b"/*!50000 adds()*/+1", b"1/*M!,adds()*/", b"Adds()", b"adds\x0b()", b"(SELECT adds())"),
    *(b"COUNT (1)", b"count(1)", b"1--1", b"_utf8'a'", b"N'a'", b"x'41'", b"_gbk'\x81\\'", b"_binary'\xff\\\\'", b"1"),
]
VERBS = [
    *(b"SELECT", b"select", b"SELECT", b"(SELECT", b"WITH x AS (SELECT 1) SELECT", b"SHOW TABLES LIKE"),
    *(b"INSERT INTO notes (note) VALUES", b"SET @x=", b"DO"),
]


class Writer:
    """Writes texts for a session of one character set and mode."""

    def __init__(self, chance: random.Random, charset: str, escapes: bool) -> None:
        self.chance, self.charset, self.escapes = chance, charset, escapes

    def letter(self) -> bytes:
        """One that is not ASCII, or half of one."""
        choice, number = self.chance.choice, self.chance.randint
        if number(0, 6) == 0:
            return bytes([number(0x80, 0xFF)])
        if self.charset in LETTERS_OF_TWO_BYTES:
            if self.charset == "gb18030" and number(0, 2) == 0:
                return bytes([number(0x81, 0xFE), 0x30, number(0x81, 0xFE), 0x39])
            first = number(*choice(LETTERS_OF_TWO_BYTES[self.charset]))
            return bytes([first, choice([*b"\\\\\\`\\`@~A", number(0x80, 0xFE)])])
        if self.charset == "utf8mb4":
            return choice(["é", "日", "本", "😀", "¥"]).encode()
        return bytes([number(0xA1, 0xFE)]) + choice([b"", bytes([number(0xA1, 0xFE)])])

    def quoted(self, quotes: bytes) -> bytes:
        """Something in quotes, most of it escaped as it ought to be."""
        quote = bytes([self.chance.choice(quotes)])
        inside = b""
        for _ in range(self.chance.choice([0, 1, 1, 2, 2, 3, 4, 6])):
            part = self.letter() if self.chance.random() < 0.45 else self.chance.choice(MISLEADING)
            if self.chance.random() < 0.9:
                if self.chance.random() < 0.5 or not self.escapes or quote == b"`":
                    part = part.replace(quote, quote * 2)
                else:
                    part = part.replace(b"\\", b"\\\\").replace(quote, b"\\" + quote)
            inside += part
        if self.chance.random() < 0.3:
            inside += self.letter()  # which may take the quote's place
        return quote + inside + quote

    def gap(self) -> bytes:
        return self.chance.choice(GAPS)

    def item(self) -> bytes:
        kind = self.chance.random()
        if kind < 0.6:
            return self.quoted(b"'''\"")
        if kind < 0.7:
            return b"1 AS " + self.quoted(b'``"')
        return self.chance.choice(CALLS)

    def statement(self) -> bytes:
        verb = self.chance.choice(VERBS)
        items = [self.gap() + self.item() + self.gap() for _ in range(self.chance.choice([1, 1, 2, 2, 3]))]
        if verb.startswith(b"INSERT"):
            items = [b"(" + item + b")" for item in items]
        return verb + (self.gap() or b" ") + b",".join(items) + b")" * verb.startswith(b"(")

    def text(self) -> bytes:
        text = (self.gap() if self.chance.random() < 0.2 else b"") + self.statement()
        while self.chance.random() < 0.4:
            again = self.chance.choice([b"COMMIT", b"COMMIT", b"BEGIN", b"SELECT adds()", self.statement()])
            text += self.gap() + b";" + self.gap() + again
        return text + (self.chance.choice([b";", b" ; ", self.gap()]) if self.chance.random() < 0.3 else b"")


class Judge:
    """Runs texts and sees what they did."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.sessions: dict[tuple[str, bool, bool], pymysql.Connection[Any]] = {}
        self.witness = self.connect(autocommit=True)
        self.number = 0
        for statement in (
            "CREATE TABLE rows_ (n INT PRIMARY KEY) ENGINE=InnoDB",
            "CREATE TABLE notes (note TEXT) ENGINE=InnoDB",
            "CREATE TABLE added (n INT) ENGINE=MyISAM",
            "SET GLOBAL log_bin_trust_function_creators = 1",
            "CREATE FUNCTION adds() RETURNS INT BEGIN INSERT INTO added VALUES (1); RETURN 1; END",
        ):
            self.witness.query(statement)

    def connect(self, *, autocommit: bool) -> pymysql.Connection[Any]:
        return pymysql.connect(
            unix_socket=self.server.socket,
            user="root",
            database="test",
            autocommit=autocommit,
            client_flag=CLIENT.MULTI_STATEMENTS,
            read_timeout=30,
        )

    def session(self, charset: str, escapes: bool, ansi: bool) -> pymysql.Connection[Any]:
        key = (charset, escapes, ansi)
        session = self.sessions.get(key)
        if session is None or not session.open:
            session = self.sessions[key] = self.connect(autocommit=False)
            session.encoding = "latin-1"  # for what comes back: bytes
            session.query(f"SET NAMES {charset}")
            modes = ["NO_BACKSLASH_ESCAPES"] * (not escapes) + ["ANSI_QUOTES"] * ansi
            session.query(f"SET sql_mode = '{','.join(modes)}'")
        return session

    def count(self, table: str, condition: str = "TRUE") -> int:
        with self.witness.cursor() as cursor:
            cursor.execute(f"SELECT COUNT(*) FROM {table} WHERE {condition}")
            return int(cursor.fetchall()[0][0])

    def run(self, session: pymysql.Connection[Any], text: bytes) -> tuple[bool, bool, bool]:
        """Return whether a text committed what came before it, called the function, and whether it ran to its end."""
        self.number += 1
        added = self.count("added")
        session.query("ROLLBACK")
        session.query("SET autocommit = 0")
        session.query(f"INSERT INTO rows_ VALUES ({self.number})")
        whole = False
        with contextlib.suppress(pymysql.err.MySQLError):
            session.query(text)
            result: Any = session  # each statement of several has a result of its own
            while result._result is not None and result._result.has_next:
                session.next_result()
            whole = True
        return self.count("rows_", f"n = {self.number}") > 0, self.count("added") > added, whole


@pytest.fixture(scope="module")
def mariadb() -> Iterator[Judge]:
    with Server() as server:
        yield Judge(server)


@pytest.fixture(scope="module")
def mysql(mysql_server: Server) -> Iterator[Judge]:
    with Server(executable=mysql_server._executable.path) as server:
        yield Judge(server)


@pytest.mark.slow
@pytest.mark.timeout(3_600 if LONG else 120)
@pytest.mark.parametrize("court", ["mariadb", pytest.param("mysql", marks=pytest.mark.mysql)])
def test_what_is_said_of_a_text_holds_whatever_a_server_reads_in_it(court: str, request: pytest.FixtureRequest) -> None:
    judge: Judge = request.getfixturevalue(court)
    seed = random.randrange(2**32)
    print("seed", seed)  # pytest shows it when this fails
    chance = random.Random(seed)
    known = {name for (name,) in rows(judge, "SELECT character_set_name FROM information_schema.character_sets")}
    charsets = [charset for charset in CHARSETS if charset in known]
    seen: Counter[str] = Counter()
    for _ in range(TEXTS):
        charset, escapes, ansi = chance.choice(charsets), chance.random() < 0.6, chance.random() < 0.3
        text = Writer(chance, charset, escapes).text()
        committed, called, whole = judge.run(judge.session(charset, escapes, ansi), text)
        where = f"{charset}, backslash_escapes={escapes}, ANSI_QUOTES={ansi}, seed {seed}: {text!r}"
        for mode in (escapes, None):
            commits, reads = may_commit(text, backslash_escapes=mode), only_reads(text, backslash_escapes=mode)
            assert commits or not committed, where
            assert not reads or not (committed or called), where
            seen["said to commit"] += commits
            seen["said to read only"] += reads
        assert not (committed and may_follow_rollback(text)), where
        if escapes and charset not in LETTERS_OF_TWO_BYTES:  # the quick one reads a text in one way
            assert not (committed and is_plain_read(text)), where
        seen.update({"committed": committed, "called": called, "ran": whole})
    share = {what: count / TEXTS for what, count in seen.items()}
    assert share["committed"] > 0.02, share
    assert share["called"] > 0.02, share
    assert share["ran"] > 0.1, share
    assert share["said to read only"] > 0.02, share
    assert share["said to commit"] < 1.6, share  # of 2


def rows(judge: Judge, statement: str) -> list[tuple[Any, ...]]:
    with judge.witness.cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall())
