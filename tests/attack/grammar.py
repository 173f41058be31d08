"""The statements, and what each does to the transaction that it is sent in, by both servers' manuals.

``{n}`` is the step's number, ``{row}`` the visitor's row of the table counter, ``{other}`` the side's second database.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

__all__ = ["DRESSES", "STATEMENTS", "Statement", "dressed", "has_several_results", "names"]


@dataclass(frozen=True)
class Statement:
    """What a visitor sends with one action, in one text or in several, one after the other."""

    name: str
    sql: tuple[str, ...]
    family: str
    writes: bool = False
    """Afterwards n is in a table with transactions."""
    lasting: bool = False
    """Afterwards n is in a table without transactions."""
    commits: bool = False
    """It ends the transaction with a COMMIT: what came before is committed, and what it writes itself."""
    begins: bool = False
    """It begins a transaction, also in AUTOCOMMIT."""
    perhaps: bool = False
    """It commits, or not: the manuals say so of some server that it does."""
    rolls_back: bool = False
    autocommit: bool | None = None
    """What it sets autocommit to."""
    locks: bool = False
    """It locks the visitor's row of counter."""
    answers: bool = False
    """The first column of its first row is n."""
    fails: int = 0
    """The server refuses it with this error."""
    remembers: bool = False
    """It leaves n in the session, outside of any transaction."""
    recalls: bool = False
    """It reads what the last one of those left."""
    only: str = ""
    """The one flavour of server that knows it."""


FAR = "'and here are more words than sixty-four characters can hold, so that nobody looks further'"
INSERT = "INSERT INTO ledger (n) VALUES ({n})"
LOCK = "SELECT id FROM counter WHERE id = {row} FOR UPDATE"


def _reads() -> list[Statement]:
    def read(name: str, *sql: str) -> Statement:
        return Statement(name, sql, "read", answers=True)

    return [
        read("read", "SELECT {n}"),
        read("read_table", "SELECT n FROM numbers WHERE n = {n}"),
        read("read_lower", "  select {n} from numbers where n = 1"),
        read("read_paren", "(SELECT {n})"),
        read("read_comment", "/* nothing */ SELECT {n}"),
        read("read_with", "WITH t AS (SELECT {n} AS x) SELECT x FROM t"),
        read("read_multi", "SELECT {n}; SELECT 1"),
        read("read_prepared", "PREPARE p FROM 'SELECT {n}'", "EXECUTE p"),
        read("read_slowly", "SELECT SLEEP(0.002) + {n}"),
        Statement("fail", ("SELECT nothing FROM numbers",), "read", fails=1054),
        Statement("fail_syntax", ("SELEKT 1",), "read", fails=1064),
    ]


def _writes() -> list[Statement]:
    def write(name: str, *sql: str, answers: bool = False, only: str = "") -> Statement:
        return Statement(name, sql, "write", writes=True, answers=answers, only=only)

    return [
        write("insert", INSERT),
        write("insert_select", "INSERT INTO ledger (n) SELECT {n}"),
        write("insert_once", "INSERT INTO once (n) VALUES ({n})"),
        write("insert_executable", "/*! INSERT INTO ledger (n) VALUES ({n}) */"),
        write("insert_trigger", "INSERT INTO triggering (n) VALUES ({n})"),
        write("insert_prepared", f"PREPARE p FROM '{INSERT}'", "EXECUTE p"),
        write("insert_immediate", f"EXECUTE IMMEDIATE '{INSERT}'", only="mariadb"),
        write("call_writes", "CALL writes({n})"),
        write("call_writes_and_reads", "CALL writes_and_reads({n})", answers=True),
        Statement("duplicate", ("INSERT INTO once (n) VALUES (0)",), "write", fails=1062),
        Statement("call_fails_late", ("CALL fails_late({n})",), "write", fails=1146),
        Statement("insert_lasting", ("INSERT INTO lasting (n) VALUES ({n})",), "lasting", lasting=True),
        Statement("call_reads", ("CALL two_results({n})",), "call", answers=True),
    ]


def _hidden_writes() -> list[Statement]:
    def write(name: str, sql: str) -> Statement:
        return Statement(name, (sql,), "hidden_write", writes=True, answers=True)

    return [
        write("note", "SELECT note({n})"),
        write("note_lower", "select note({n}) as `a number`"),
        write("note_comment", "SELECT /* UPDATE */ note({n}) /* only a read */"),
        write("note_paren", "(SELECT note({n}))"),
        write("note_with", "WITH t AS (SELECT note({n}) AS x) SELECT x FROM t"),
        write("note_sub", "SELECT (SELECT note({n}))"),
        write("note_view", "SELECT x FROM noting WHERE n = {n}"),
        write("note_where", "SELECT n FROM numbers WHERE n = {n} AND note(n) = n"),
        write("note_union", "SELECT note({n}) UNION ALL SELECT 1"),
        Statement("note_multi", ("SELECT {n}; " + INSERT,), "hidden_write", writes=True, answers=True),
        Statement("note_multi_far", ("SELECT {n}; " + INSERT + "; SELECT " + FAR,), "hidden_write", writes=True),
        Statement("note_do", ("DO note({n})",), "hidden_write", writes=True),
        Statement("note_set", ("SET @noted = note({n})",), "hidden_write", writes=True),
    ]


def _hidden_locks() -> list[Statement]:
    def lock(name: str, sql: str) -> Statement:
        return Statement(name, (sql,), "lock", locks=True)

    select = "SELECT id FROM counter WHERE id = {row}"
    return [
        lock("lock", LOCK),
        lock("lock_derived", f"SELECT d.id FROM ({LOCK}) AS d WHERE d.id > 0 AND {FAR} <> ''"),
        lock("lock_with", f"WITH t AS ({LOCK}) SELECT id FROM t WHERE {FAR} <> ''"),
        lock("lock_paren", f"({LOCK})"),
        lock("lock_union", f"({LOCK}) UNION ALL (SELECT {FAR})"),
        lock("lock_select_union", f"SELECT 0 AS id UNION ALL ({LOCK}) ORDER BY id, {FAR}"),
        lock("lock_apart", f"{select} FOR /* {FAR} */ UPDATE"),
        lock("lock_far", f"{select} FOR UPDATE -- {FAR}"),
        lock("lock_far_hash", f"{select} FOR UPDATE # {FAR}"),
        lock("lock_far_comment", f"{select} FOR UPDATE /* {FAR} */"),
        lock("lock_far_space", f"{select} FOR UPDATE" + " " * 80),
        lock("lock_executable", f"{select} /*! FOR UPDATE */ -- {FAR}"),
        lock("lock_share", f"{select} LOCK IN SHARE MODE -- {FAR}"),
        lock("lock_sub", f"SELECT 1 WHERE EXISTS ({LOCK}) AND {FAR} <> ''"),
        lock("lock_function", "SELECT lock_row({row})"),
        lock("lock_view", "SELECT x FROM locking WHERE id = {row}"),
        lock("lock_multi", f"SELECT 1; {LOCK}; SELECT {FAR}"),
        lock("lock_first", f"{LOCK}; SELECT {FAR}"),
        lock("update", "UPDATE counter SET value = value + 1 WHERE id = {row}"),
    ]


def _commits() -> list[Statement]:
    def commit(name: str, *sql: str, only: str = "", writes: bool = False) -> Statement:
        return Statement(name, sql, "commit", commits=True, only=only, writes=writes)

    later = "SET STATEMENT max_statement_time = 60 FOR "
    return [
        commit("commit_text", "COMMIT"),
        commit("commit_work", "COMMIT WORK"),
        Statement("begin_text", ("BEGIN",), "commit", commits=True, begins=True),
        Statement("start_text", ("START TRANSACTION",), "commit", commits=True, begins=True),
        commit("alter", "ALTER TABLE scratch COMMENT = '{n}'"),
        commit("truncate", "TRUNCATE TABLE scratch"),
        commit("analyze", "ANALYZE TABLE scratch"),
        commit("optimize", "OPTIMIZE TABLE scratch"),
        commit("drop_nothing", "DROP TABLE IF EXISTS nothing_at_all"),
        commit("create_nothing", "CREATE TABLE IF NOT EXISTS scratch (id INT)"),
        commit("rename", "RENAME TABLE scratch TO scratched, scratched TO scratch"),
        commit("create_view", "CREATE OR REPLACE VIEW looking AS SELECT {n}"),
        Statement("load_index", ("LOAD INDEX INTO CACHE lasting",), "commit", perhaps=True),
        commit("call_commits", "CALL commits({n})", writes=True),
        commit("call_commits_first", "CALL commits_first({n})"),
        commit("prepared_commit", "PREPARE p FROM 'COMMIT'", "EXECUTE p"),
        commit("prepared_alter", "PREPARE p FROM 'ALTER TABLE scratch COMMENT = \"{n}\"'", "EXECUTE p"),
        commit("immediate_commit", "EXECUTE IMMEDIATE 'COMMIT'", only="mariadb"),
        commit("compound_commit", "BEGIN NOT ATOMIC COMMIT; END", only="mariadb"),
        commit("if_commit", "IF 1 THEN COMMIT; END IF", only="mariadb"),
        commit("for_alter", later + "ALTER TABLE scratch COMMENT = '{n}'", only="mariadb"),
        commit("multi_commit", "SELECT 1; COMMIT"),
        commit("multi_write_commit", f"{INSERT}; COMMIT", writes=True),
        commit("executable_commit", "/*! COMMIT */"),
        commit("executable_maria", "/*M! COMMIT */", only="mariadb"),
        commit("password", "SET PASSWORD = PASSWORD('{own}')", only="mariadb"),
        Statement("autocommit_on", ("SET autocommit = 1",), "commit", commits=True, autocommit=True),
        Statement("autocommit_on_at", ("SET @x=1, @@autocommit=ON",), "commit", commits=True, autocommit=True),
        Statement("autocommit_off", ("SET autocommit = 0",), "autocommit", autocommit=False),
        Statement("rollback_text", ("ROLLBACK",), "rollback", rolls_back=True),
        Statement("call_rolls_back", ("CALL rolls_back()",), "rollback", rolls_back=True),
    ]


def _session() -> list[Statement]:
    return [
        Statement("use_other", ("USE {other}",), "use"),
        Statement("use_own", ("USE {own}",), "use"),
        Statement("remember", ("SET @kept = {n}",), "session", remembers=True),
        Statement("recall", ("SELECT @kept",), "session", recalls=True),
        Statement("chain", ("SET completion_type = 1",), "completion"),
        Statement("release", ("SET completion_type = 2",), "completion"),
        Statement("no_chain", ("SET completion_type = 0",), "completion"),
        Statement("temporary", ("CREATE TEMPORARY TABLE IF NOT EXISTS temp{n} (i INT)",), "session"),
        Statement(
            "handler", ("HANDLER numbers OPEN", "HANDLER numbers READ FIRST", "HANDLER numbers CLOSE"), "session"
        ),
    ]


_ALL = [*_reads(), *_writes(), *_hidden_writes(), *_hidden_locks(), *_commits(), *_session()]
STATEMENTS: dict[str, Statement] = {statement.name: statement for statement in _ALL}


def has_several_results(statement: Statement) -> bool:
    """Say whether more than one result comes back: of a procedure, or of several statements in one text."""
    return any(sql.upper().lstrip().startswith("CALL") or ";" in sql.rstrip(";") for sql in statement.sql)


def names(*families: str, flavour: str) -> list[str]:
    """Return the names of the statements of some families, as far as a server knows them."""
    return [s.name for s in _ALL if s.family in families and s.only in ("", flavour)]


DRESSES: dict[str, Callable[[str], str]] = {
    "comment": lambda sql: f"/* SELECT 1 */ {sql}",
    "comments": lambda sql: f"/**//* x */ -- y\n# z\n {sql}",
    "dashes": lambda sql: f"-- SELECT\n{sql}",
    "empty_dashes": lambda sql: f"--\n{sql}",
    "hash": lambda sql: f"#\n{sql}",
    "lower": str.lower,
    "space": lambda sql: f"\n\t {sql} \n",
    "never": lambda sql: f"/*!999999 SELECT 1 */ {sql}",
    "behind": lambda sql: f"SELECT 1; {sql}",
    "semicolon": lambda sql: f"{sql};",
    "label": lambda sql: f"{sql} /* SELECT */",
}
"""Ways to write a statement that change nothing of what it does."""


def dressed(statement: Statement, dress: str) -> Statement:
    """Return a statement written in another way: the last of its texts is."""
    if not dress:
        return statement
    *first, last = statement.sql
    answers = statement.answers and dress != "behind"
    return replace(statement, sql=(*first, DRESSES[dress](last)), answers=answers)
