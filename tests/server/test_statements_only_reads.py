"""What is known to only read, judged by the text alone, and whether servers agree."""

from __future__ import annotations

import contextlib
import datetime
import decimal
import re
from collections.abc import Iterator
from typing import Any

import pymysql
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import (
    JSON,
    Connection,
    Engine,
    Executable,
    ForeignKey,
    LargeBinary,
    String,
    case,
    cast,
    create_engine,
    event,
    exists,
    extract,
    func,
    literal,
    select,
    tuple_,
    union_all,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, joinedload, mapped_column, relationship

from sqlalchemy_holdfast.lab import Server
from sqlalchemy_holdfast.server import session_changes, statements
from sqlalchemy_holdfast.server.statements import only_reads
from tests.conftest import DRIVERS

ONLY_READS = [
    "SELECT 1",
    "  select id, name\nfrom guests where id = %s",
    "SELECT g.id FROM guests AS g JOIN (SELECT id FROM guests) AS h ON (g.id = h.id) WHERE g.id IN (%s, %s)",
    "SELECT count(*) AS n, coalesce(max(name), 'none; (of us)') FROM guests GROUP BY `for`.`id` HAVING (n > 1)",
    "SELECT 'f(1) FOR UPDATE @x -- ; /* */ :=' FROM guests",
    "SELECT 'it''s', \"f(1)\", `lock`, X'00', 'a@b.c' FROM guests",
    "SELECT 1 /* traceparent='00-4bf9' */",
    "SELECT row_number() OVER (PARTITION BY id ORDER BY name) FROM guests",
    "SELECT CAST(name AS CHAR(10)) FROM guests UNION ALL (SELECT 'x')",
    "SELECT EXISTS (SELECT * FROM guests) OR NOT (1 = 2)",
    "SELECT DISTINCT(name) FROM guests USE INDEX (PRIMARY)",
    "SHOW TABLES",
    "-- first\nSELECT 1",
    "/* first */ SELECT 1",
    "(SELECT 1)",
    "WITH x AS (SELECT 1) SELECT * FROM x",
    "SELECT id FROM guests WHERE name = %s AND id = %(id_1)s AND x = :x AND y = ? AND z LIKE '%%a'",
    "SELECT id FROM guests WHERE name LIKE 'a%' AND n % 2 = -1 AND x = 1.5e300 AND y = .5 AND z = 0x1F",
    "SELECT id FROM guests WHERE (id, name) IN ((1, 'a'), (2, 'b')) AND at BETWEEN '2030-01-01' AND '2030-12-31'",
    "SELECT id FROM guests WHERE name = 'it''s; a \"value\" with `all` -- of /* these */ # in it, f(1)'",
    "SELECT id FROM guests WHERE name IS NULL AND photo = _binary'abc' AND x = X'00ff' AND y = N'a' AND z = _utf8'a'",
    "SELECT id FROM guests WHERE name = '/*+ x */ FOR UPDATE' AND note = '/*! x */ INTO @a'",
    "SELECT id FROM guests WHERE name = 'größe 日本 😀' AND `größe` = 1 AND note = \"größe\"",
    "SELECT @@version, @@session.sql_mode, @@GLOBAL.max_connections, @@local.time_zone, @@transaction_isolation",
    "SELECT @@version AS v FROM guests WHERE id IN (1, 2)",
    "SHOW FULL TABLES FROM `shop`",
    "SHOW CREATE TABLE `guests`",
    "SHOW COLUMNS FROM guests LIKE 'na%'",
    "SHOW GLOBAL VARIABLES LIKE 'version%'",
    "WITH RECURSIVE t(id, up) AS (SELECT 1, 2 UNION ALL SELECT t.id + 1, 2 FROM t WHERE t.id < 5) SELECT * FROM t",
    "WITH a AS (SELECT id FROM guests), b (n) AS (SELECT 2) SELECT * FROM a JOIN b ON (a.id = b.n)",
    "((SELECT id FROM guests LIMIT 1)) UNION ALL (SELECT 2) ORDER BY 1",
    "SELECT id FROM guests WHERE id = ANY (SELECT id FROM guests) OR id > SOME (SELECT 1) OR id < ALL (SELECT 2)",
    "SELECT id FROM guests WHERE MATCH (name) AGAINST ('x' IN BOOLEAN MODE)",
    "SELECT CAST(name AS DATETIME(6)), CAST(name AS DECIMAL(10, 2)), CONVERT(name USING utf8mb4) FROM guests",
    "SELECT g.n FROM (SELECT 1 AS n) AS g (n)",
    "# first\nSELECT 1 -- and\n, 2 # last",
    "SELECT 5--1, 5 --1",
]
MAY_DO_MORE = [
    "",
    "INSERT INTO t VALUES (1)",
    "SELECT 1; DELETE FROM guests",
    "SELECT 1;",
    "SELECT * FROM guests FOR UPDATE",
    "SELECT * FROM guests for share skip locked",
    "SELECT * FROM guests LOCK IN SHARE MODE",
    "SELECT * FROM guests FOR/**/UPDATE",
    "SELECT 1 INTO OUTFILE '/tmp/x'",
    "SELECT 1 INTO @x",
    "SELECT @x := 1",
    "SELECT @@last_insert_id",
    "SELECT * FROM guests PROCEDURE ANALYSE()",
    "SELECT f(1)",
    "SELECT f (1)",
    "SELECT f/* */(1)",
    "SELECT `f`(1)",
    'SELECT "f"(1)',
    "SELECT shop.f(1)",
    "SELECT shop . `f` (1)",
    "SELECT shop.count(1)",
    "SELECT count (1)",
    "SELECT ƒ(1)",
    "SELECT f☃(1)",
    "SELECT sleep(1)",
    "SELECT benchmark(1, 1)",
    "SELECT get_lock('x', 1)",
    "SELECT release_lock('x')",
    "SELECT last_insert_id(1)",
    "SELECT last_insert_id()",
    "SELECT found_rows()",
    "SELECT nextval(s)",
    "SELECT NEXT VALUE FOR s",
    "SELECT s.nextval",
    "SELECT setval(s, 1)",
    "SELECT load_file('/etc/hosts')",
    "SELECT 1 /*! INTO OUTFILE 'x' */",
    "SELECT 1 /*!50000 , f(1) */",
    "SELECT 1 /*M! , f(1) */",
    "SELECT /*+ SET_VAR(sort_buffer_size = 1) */ 1",
    "SELECT 1 -- it's\n, f('x')",
    "SELECT 1 # it's\n, f('x')",
    "SELECT 'a\\', f(1), '",
    "SELECT 'unended",
    "WITH x AS (SELECT 1) DELETE FROM guests",
    "EXPLAIN SELECT 1",
    "VALUES (1)",
    "TABLE guests",
    "SELECT 1" + " " * 200_000,
    "SELECT @@identity",
    "SELECT @@session.last_insert_id, @@version",
    "SELECT @@local.warning_count",
    "SELECT @@rand_seed1",
    "SELECT @@in_transaction",
    "SELECT @a",
    "SELECT @@`version`",
    "SELECT @@version.f(1)",
    "SELECT @@f(1)",
    "SELECT row_count()",
    "SELECT is_used_lock('x')",
    "SELECT lastval(s)",
    "SELECT s.currval",
    "SELECT default(id) FROM guests",
    "SELECT * FROM information_schema.INNODB_CMP_RESET",
    "SELECT * FROM information_schema.`innodb_cmpmem_reset`",
    "SHOW",
    "SHOW WARNINGS",
    "SHOW ERRORS",
    "SHOW COUNT(*) WARNINGS",
    "SHOW PROFILES",
    "SHOW SESSION STATUS",
    "SHOW VARIABLES LIKE 'last_insert_id'",
    "SHOW ENGINE INNODB STATUS",
    "SHOW TABLES WHERE f(1)",
    "SHOW GLOBAL VARIABLES WHERE f(1)",
    "SHOW TABLES; DELETE FROM guests",
    "WITH x AS (SELECT f(1)) SELECT * FROM x",
    "WITH x AS (SELECT 1) UPDATE guests SET name = 'x'",
    "WITH x AS (SELECT 1) REPLACE guests SELECT * FROM x",
    "WITH x AS (SELECT 1), y AS (SELECT 2) INSERT INTO guests SELECT * FROM x",
    "WITH x(a) AS (SELECT 1 FOR UPDATE) SELECT * FROM x",
    "(SELECT 1) FOR UPDATE",
    "(DELETE FROM guests)",
    "/*! SELECT 1 */",
    "/*! INSERT INTO guests */ SELECT 1",
    "/*M!100000 DELETE FROM guests */",
    "/* unended SELECT 1",
    "SELECT 1 /* unended",
    "SELECT /*+ QB_NAME(`*/`) */ f(1)",
    "SELECT f(1) AS f",
    "SELECT any (1)",
    "SELECT against(1)",
    "SELECT against (1)",
    "SELECT f\n(1)",
    "SELECT f\x0b(1)",
    "SELECT f -- x\n (1)",
    "SELECT shop.`count`(1)",
    "SELECT shop . count(1)",
    "SELECT shop /* */ . /* */ count(1)",
    "SELECT $f(1)",
    "SELECT _f(1)",
    "SELECT f1(1), 1f(1)",
    "SELECT {fn f(1)}",
    "SELECT \u017fleep(1)",
    "SELECT slee\u212a(1)",
    "\u017fELECT 1",
    "SELECT\x1c1",
    "SELECT 1\0",
    "SELECT 1\xa0",
    "SELECT `a\0`, f(1), `b`",
    "SELECT \\N",
    "SELECT 'a' --\xa0'\n, f(1) -- '",
    "SELECT 'a' --\x01'\n, f(1) -- '",
    "CALL f()",
    "DO f()",
    "TABLE guests FOR UPDATE",
    "HANDLER guests OPEN",
    "COMMIT",
    "SELECT " + "(" * 20_000 + "1" + ")" * 20_000,
]


@pytest.mark.parametrize("statement", ONLY_READS)
def test_ordinary_reads_are_known(statement: str) -> None:
    assert only_reads(statement)


@pytest.mark.parametrize("statement", MAY_DO_MORE, ids=lambda text: text[:80])
def test_what_may_do_more_or_is_not_understood_is_not_a_read(statement: str) -> None:
    assert not only_reads(statement)


@pytest.mark.parametrize("kind", [str.encode, lambda text: bytearray(text.encode())])
def test_bytes_are_read_as_the_text_is(kind: Any) -> None:
    for statement in ONLY_READS + MAY_DO_MORE:
        assert only_reads(kind(statement)) == only_reads(statement), statement


ESCAPES = [
    # (text, with backslash escapes, without): one that is not known to be the same is not known at all
    ("SELECT 'a\\\\', 'b'", True, True),
    ("SELECT 'a\\n%'", True, True),
    ("SELECT 'it\\'s'", True, False),
    ("SELECT 'a\\'", False, True),
    ("SELECT 'a\\', f(1), '", True, False),
    ("SELECT 'a\\', f(1), 'b\\'", False, False),
    ("SELECT 'a\\', 'f(1)'", False, True),
    ("SELECT 'a\\'', f(1), '''", False, True),
    ("SELECT 'a\\'', f(1), ''", False, False),
    ("SELECT 'a\\\\'', f(1), '''", True, True),
    ("SELECT 'a\\\\\\', f(1), '", True, False),
    ("SELECT 'it\\'s', 'so\\'s'", True, False),
    ("SELECT '\\\"'", True, True),
    ('SELECT "a", \'b\\"\'', True, True),
]


@pytest.mark.parametrize(("statement", "with_escapes", "without"), ESCAPES)
def test_a_backslash_is_what_the_session_says_and_both_where_it_is_not_known(
    statement: str, with_escapes: bool, without: bool
) -> None:
    for kind in (str, str.encode):
        assert only_reads(kind(statement), backslash_escapes=True) == with_escapes
        assert only_reads(kind(statement), backslash_escapes=False) == without
        assert only_reads(kind(statement)) == (with_escapes and without)


@pytest.mark.parametrize("statement", ['SELECT "a\\"", f(1), "b"', 'SELECT "a\\\\"', 'SELECT "a\\", f(1), "'])
@pytest.mark.parametrize("backslash_escapes", [True, False, None])
def test_a_backslash_between_double_quotes_is_not_understood(statement: str, backslash_escapes: bool | None) -> None:
    """They are a name's with ANSI_QUOTES, and a backslash is a letter in a name."""
    assert not only_reads(statement, backslash_escapes=backslash_escapes)


LETTERS = {
    # The second byte is that of a backslash: the quote behind it ends the value.
    "gbk": ("縗", "誠", "運"),
    "sjis": ("ソ", "表", "能"),
    "big5": ("功", "許", "蓋"),
    "gb18030": ("縗", "誠", "運"),
}


@pytest.mark.parametrize("charset", LETTERS)
def test_in_no_character_set_half_a_letter_hides_a_call(charset: str) -> None:
    for letter in LETTERS[charset]:
        text = letter.encode(charset)
        assert text[-1:] == b"\\"
        for before in (b"", b"a", text, "é".encode()):
            hidden = b"SELECT '" + before + text + b"', f(1), '" + text + b"'"
            assert not only_reads(hidden, backslash_escapes=True)
            assert not only_reads(hidden)
            assert not only_reads(hidden.replace(b"f(1)", b"1; DELETE FROM guests"))
        quoted = b"SELECT `" + text[:1] + b"`, f(1), `" + text[:1] + b"`"
        assert not only_reads(quoted, backslash_escapes=True)


def test_letters_that_are_utf_8_by_chance_hide_nothing_in_other_character_sets() -> None:
    hidden = "SELECT '日\\' , f(1), '"  # GBK: two letters, the second of which has the backslash
    assert only_reads(hidden, backslash_escapes=True), "as text, its letters are letters"
    assert not only_reads(hidden.encode(), backslash_escapes=True)
    assert not only_reads("SELECT '日`, `' , `f(1), `'".encode())


def test_a_yen_sign_that_is_sent_as_a_backslash_is_one() -> None:
    """Python's sjis and ujis write it so, behind the driver's escaping."""
    hidden = "SELECT '¥\\', f(1), '"
    assert hidden.encode("sjis") == hidden.encode("ujis") == b"SELECT '\\\\', f(1), '"
    assert not only_reads(hidden.encode("sjis"), backslash_escapes=True)


def test_bytes_among_letters_are_not_understood_where_they_may_take_a_quote() -> None:
    statement = "SELECT '" + b"\x83\\".decode("ascii", "surrogateescape") + "', f(1), 'b'"
    assert not only_reads(statement, backslash_escapes=True)
    assert not only_reads(statement, backslash_escapes=False)


class Thing(DeclarativeBase):
    pass


class Guest(Thing):
    __tablename__ = "guest_book"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None] = mapped_column(String(500))
    photo: Mapped[bytes | None] = mapped_column(LargeBinary)
    came: Mapped[datetime.datetime | None]
    paid: Mapped[decimal.Decimal | None]
    facts: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    host_id: Mapped[int | None] = mapped_column(ForeignKey("guest_book.id"))
    order: Mapped[int | None]
    """A name that must be quoted."""
    guests: Mapped[list[Guest]] = relationship()


def reads_with(text: str, data: bytes, number: float) -> Iterator[Executable]:
    """What applications ask, with values."""
    every = select(Guest)
    when = datetime.datetime(2030, 1, 2, 3, 4, 5, 678)
    yield every.where(Guest.name == text)
    yield every.where(Guest.name.in_([text, "b"]), Guest.order != 3).order_by(Guest.came.desc()).limit(5).offset(3)
    yield every.where(Guest.photo == data)
    yield every.where(Guest.name.contains(text, autoescape=True) | Guest.name.startswith(text) | Guest.name.is_(None))
    yield every.where(Guest.came.between(when, when.date()), Guest.paid > decimal.Decimal("1.5"))
    yield every.where(exists().where(Guest.host_id == literal(number)), ~Guest.id.in_([1, 2]))
    yield every.where(Guest.facts["a"].as_string() == text)
    yield every.options(joinedload(Guest.guests)).where(Guest.name == text)
    yield every.where(tuple_(Guest.id, Guest.name).in_([(1, text), (2, "b")]))
    yield select(func.count(), func.max(Guest.came), func.coalesce(Guest.name, text)).group_by(Guest.name)
    yield select(case((Guest.name == text, 1), else_=0), func.row_number().over(order_by=Guest.id))
    yield select(cast(Guest.order, String), extract("year", Guest.came), func.now(), Guest.name.concat(text))
    yield select(union_all(select(Guest.id).where(Guest.name == text), select(Guest.id)).subquery())
    yield union_all(select(Guest.id).where(Guest.name == text).limit(1), select(Guest.id))
    yield every.join(named := select(Guest.id).where(Guest.name == text).cte("named"), named.c.id == Guest.id)
    tree = select(Guest.id).where(Guest.name == text).cte("tree", recursive=True)
    yield select(tree.union_all(select(Guest.id).join(tree, Guest.host_id == tree.c.id)))


@pytest.fixture(scope="module")
def guest_book(server: Server) -> Iterator[dict[str, Engine]]:
    engines = {driver: create_engine(server.url(driver)) for driver in DRIVERS}
    Thing.metadata.create_all(engines["pymysql"])
    yield engines
    Thing.metadata.drop_all(engines["pymysql"])
    for engine in engines.values():
        engine.dispose()


@pytest.fixture(scope="module")
def connected(guest_book: dict[str, Engine]) -> Iterator[dict[str, Connection]]:
    with contextlib.ExitStack() as stack:
        yield {driver: stack.enter_context(engine.connect()) for driver, engine in guest_book.items()}


HALF_A_LETTER = re.compile(rb"[\x80-\xff][\\`]")
"""What may be read in two ways when nothing but the bytes is known."""


@pytest.mark.slow
@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.text(alphabet=st.one_of(st.sampled_from("'\"`\\;-#/*()@%é日😀¥\n"), st.characters(exclude_categories=["Cs"]))),
    st.binary(),
    st.floats(allow_nan=False, allow_infinity=False),
)
def test_whatever_an_orm_reads_is_known_with_its_values_as_each_driver_sends_them(
    connected: dict[str, Connection], driver: str, text: str, data: bytes, number: float
) -> None:
    connection = connected[driver]
    sent: list[tuple[str, Any]] = []

    def note(connection: Connection, cursor: Any, statement: str, *rest: Any) -> None:
        sent.append((statement, cursor._executed))

    event.listen(connection, "after_cursor_execute", note)
    try:
        for statement in reads_with(text, data, number):
            connection.execute(statement).all()
    finally:
        event.remove(connection, "after_cursor_execute", note)
    assert sent
    for placeholders, values in sent:
        assert only_reads(placeholders)
        sure = values.decode("utf-8", "replace") if isinstance(values, bytes) else values
        assert only_reads(sure, backslash_escapes=True), values
        if isinstance(values, bytes) and not HALF_A_LETTER.search(values):
            assert only_reads(values, backslash_escapes=True), values


OURS = "RETURNS VARCHAR(20) DETERMINISTIC RETURN 'our own'"


def calls_its_own_functions_by_the_names_on_the_lists(server: Server) -> None:
    """Give a server functions of the site's own with the names on the lists, and call those."""
    with contextlib.closing(
        pymysql.connect(host=server.host, port=server.port, user="app", password="app", database="test")
    ) as connection:
        cursor = connection.cursor()
        for name in sorted(statements.FUNCTIONS | session_changes.MORE_FUNCTIONS):
            for arguments in ("", "a INT", "a INT, b INT", "a INT, b INT, c INT"):
                cursor.execute(f"DROP FUNCTION IF EXISTS `{name}`")
                cursor.execute(f"CREATE FUNCTION `{name}` ({arguments}) {OURS}")
                values = ", ".join("1" for _ in arguments.split(",") if arguments)
                cursor.execute(f"SELECT test.`{name}`({values})")
                assert cursor.fetchall() == (("our own",),), "the test can tell"
                try:
                    cursor.execute(f"SELECT {name}({values})")
                except pymysql.err.MySQLError:
                    continue  # the server's own takes other arguments
                assert cursor.fetchall() != (("our own",),), f"{name}() may be a function of the site's own"
            cursor.execute(f"DROP FUNCTION IF EXISTS `{name}`")
        for name in sorted(statements.KEYWORDS | session_changes.MORE_KEYWORDS):
            with pytest.raises(pymysql.err.ProgrammingError, match="syntax"):
                cursor.execute(f"CREATE FUNCTION {name} () {OURS}")


@pytest.mark.slow
def test_no_name_on_the_list_means_a_function_of_the_sites_own() -> None:
    with Server() as server:
        calls_its_own_functions_by_the_names_on_the_lists(server)


@pytest.mark.slow
@pytest.mark.mysql
def test_the_same_on_mysql(mysql_server: Server) -> None:
    mysql_server.execute("SET GLOBAL log_bin_trust_function_creators = 1")
    calls_its_own_functions_by_the_names_on_the_lists(mysql_server)
