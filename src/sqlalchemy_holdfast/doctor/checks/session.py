"""Checks of what a new session is set to."""

from __future__ import annotations

from collections.abc import Iterator

from ..check import Seen, check
from ..examined import Examined
from ..facts import NotSeen, counted, seen
from ..finding import Severity
from ..server_facts import ServerFacts

_STRICT = ("STRICT_TRANS_TABLES", "STRICT_ALL_TABLES", "TRADITIONAL")


def _server(examined: Examined) -> ServerFacts:
    return seen(examined.server, "the server")


def _either(server: ServerFacts, new: str, old: str) -> str:
    """A variable that MariaDB before 11.1 and MySQL before 8.0 have under another name."""
    try:
        return server.variable(new)
    except NotSeen:
        return server.variable(old)


@check(
    "HF401",
    group="session",
    title="The server changes values that do not fit",
    severity=Severity.WARNING,
    needs={"server"},
    cure="Add STRICT_TRANS_TABLES to the server's sql_mode.",
    explanation="""Without a strict sql_mode the server cuts a text that is too long, turns 'abc' into 0 and stores an
    impossible date as 0000-00-00. The program sees a warning that nobody reads, and the value is lost. With a strict
    one it gets an error.""",
)
def not_strict(examined: Examined) -> Iterator[str | Seen]:
    mode = _server(examined).variable("sql_mode")
    if not set(mode.upper().split(",")) & set(_STRICT):
        yield f"sql_mode is '{mode}'."


@check(
    "HF402",
    group="session",
    title="Each statement is committed at once",
    severity=Severity.WARNING,
    needs={"server"},
    cure="Remove autocommit from the URL, and isolation_level='AUTOCOMMIT' from the engine.",
    explanation="""With autocommit, rollback() undoes nothing: what was written before an error stays. holdfast.run()
    needs transactions, too. autocommit=false in a URL is a text, and some drivers take every text for yes.""",
)
def autocommit(examined: Examined) -> Iterator[str | Seen]:
    if _server(examined).variable("autocommit").upper() in ("ON", "1"):
        yield "autocommit is on in a new session."


@check(
    "HF403",
    group="session",
    title="The isolation level is unusual",
    severity=Severity.NOTE,
    needs={"server"},
    cure="Set REPEATABLE READ or READ COMMITTED where it was changed: isolation_level, init_command, or the server.",
    explanation="""With READ UNCOMMITTED a request sees what another one may yet roll back: it is a warning. With
    SERIALIZABLE each SELECT locks what it reads, and deadlocks (1213) become frequent.""",
)
def isolation(examined: Examined) -> Iterator[str | Seen]:
    level = _either(_server(examined), "transaction_isolation", "tx_isolation").upper()
    if level == "READ-UNCOMMITTED":
        yield Seen("The session's isolation level is READ UNCOMMITTED.", severity=Severity.WARNING)
    elif level == "SERIALIZABLE":
        yield "The session's isolation level is SERIALIZABLE."


@check(
    "HF404",
    group="session",
    title="The connection cannot carry every character",
    severity=Severity.WARNING,
    needs={"server"},
    cure="Add charset=utf8mb4 behind the ? of the URL.",
    explanation="""The connection's character set has no emoji and not every letter. Text that has such a character is
    refused (1366), or comes back with question marks.""",
)
def connection_charset(examined: Examined) -> Iterator[str | Seen]:
    charset = _server(examined).variable("character_set_client")
    if charset.lower() != "utf8mb4":
        given = examined.url.query.get("charset") if examined.url is not None else None
        yield Seen(
            f"The connection's character set is {charset}.",
            cure=f"Write charset=utf8mb4 in place of charset={given} in the URL." if isinstance(given, str) else None,
        )


@check(
    "HF405",
    group="session",
    title="Tables cannot store every character",
    severity=Severity.NOTE,
    needs={"server"},
    cure="ALTER TABLE … CONVERT TO CHARACTER SET utf8mb4 for each such table; try it on a copy first.",
    explanation="""utf8mb3 (which older servers call utf8) has no emoji, latin1 only Western letters. Other characters
    are refused (1366) or lost.""",
)
def table_charset(examined: Examined) -> Iterator[str | Seen]:
    server = _server(examined)
    columns = seen(server.columns, "the columns' character sets")
    narrow = {
        collation: found
        for collation, found in columns.items()
        if collation.partition("_")[0] not in ("utf8mb4", "ascii", "binary", "uca1400")
    }
    if narrow:
        count = sum(number for number, _ in narrow.values())
        sets = ", ".join(sorted({collation.partition("_")[0] for collation in narrow}))
        yield f"{counted(count, 'column')} in {sets}, {min(example for _, example in narrow.values())} among them."
    elif server.database is not None:
        charset = server.variable("character_set_database").lower()
        if charset not in ("utf8mb4", "binary"):
            yield Seen(
                f"New tables of {server.database} are made in {charset}.",
                cure=f"ALTER DATABASE `{server.database}` CHARACTER SET utf8mb4: it counts for tables made after that.",
            )


@check(
    "HF406",
    group="session",
    title="Columns have different collations",
    severity=Severity.NOTE,
    needs={"server"},
    cure="ALTER TABLE … CONVERT TO CHARACTER SET utf8mb4 COLLATE <one collation>, for all tables.",
    explanation="""Two columns of different collations cannot be compared: a JOIN or a WHERE with both fails with error
    1267, "Illegal mix of collations". It happens when tables were made by servers of different versions, whose
    defaults differ. Collations that end with _bin are left out here.""",
)
def mixed_collations(examined: Examined) -> Iterator[str | Seen]:
    columns = seen(_server(examined).columns, "the columns' collations")
    found = {name: where for name, where in columns.items() if not name.endswith("_bin") and "ascii" not in name}
    if len(found) > 1:
        listed = (f"{name} ({counted(count, 'column')}, such as {where})" for name, (count, where) in found.items())
        yield f"{', '.join(listed)}."


@check(
    "HF407",
    group="session",
    title="The session's time zone is not UTC",
    severity=Severity.NOTE,
    needs={"server"},
    cure="Add init_command=SET time_zone='%2B00:00' behind the URL's ?, or use UTC_TIMESTAMP() in place of NOW().",
    explanation="""NOW(), CURRENT_TIMESTAMP and func.now() are in the session's time zone, and so is what a TIMESTAMP
    column gives. Python's datetime.now(timezone.utc) is not. Where a time zone has summer time, an hour in autumn
    comes twice.""",
)
def time_zone(examined: Examined) -> Iterator[str | Seen]:
    server = _server(examined)
    offset = seen(server.utc_offset, "the time zone")
    if round(offset):
        zone = server.variable("time_zone")
        name = f"{zone}, which is {server.variable('system_time_zone')}" if zone == "SYSTEM" else zone
        yield f"The time zone is {name}: NOW() is {offset / 3600:+.4g} h from UTC."


@check(
    "HF408",
    group="session",
    title="Each new session runs a statement first",
    severity=Severity.NOTE,
    needs={"url"},
    cure="Keep the statement short, or remove it where nobody needs it: when it fails, no connection can be made.",
    explanation="""init_command (in the URL) or init_connect (the server's) is run for each new connection. It takes
    time, and the connection is lost when it fails. The server does not run init_connect for administrators, so what
    works in your console may differ.""",
)
def first_statement(examined: Examined) -> Iterator[str | Seen]:
    if examined.url is not None and "init_command" in examined.url.query:
        yield "The URL has init_command."
    if examined.server is not None and (examined.server.session or {}).get("init_connect"):
        yield "The server has init_connect."


@check(
    "HF409",
    group="session",
    title="New transactions cannot write",
    severity=Severity.ERROR,
    needs={"server"},
    cure="Remove SET SESSION TRANSACTION READ ONLY (transaction_read_only) from init_command or the server's settings.",
    explanation="""The session's transactions are READ ONLY from the start. Each write fails with error 1792.""",
)
def read_only_transactions(examined: Examined) -> Iterator[str | Seen]:
    if _either(_server(examined), "transaction_read_only", "tx_read_only").upper() in ("ON", "1"):
        yield "transaction_read_only is on in a new session."


@check(
    "HF410",
    group="session",
    title="The server does not check keys",
    severity=Severity.WARNING,
    needs={"server"},
    cure="Set foreign_key_checks and unique_checks back to ON; they are to be off only while a dump is loaded.",
    explanation="""Without foreign_key_checks, rows can refer to rows that are not there. Without unique_checks, the
    server may not notice that a key comes twice. Both are a script's to switch off for a while, for its own
    session.""",
)
def unchecked_keys(examined: Examined) -> Iterator[str | Seen]:
    server = _server(examined)
    off = [name for name in ("foreign_key_checks", "unique_checks") if server.variable(name).upper() in ("OFF", "0")]
    if off:
        yield f"{' and '.join(off)} {'are' if len(off) > 1 else 'is'} off in a new session."


@check(
    "HF411",
    group="session",
    title="Long statements are ended",
    severity=Severity.NOTE,
    needs={"server"},
    cure="Where a report or a migration needs longer: SET SESSION max_statement_time=0 (MySQL: max_execution_time).",
    explanation="""The server ends a statement that takes longer: error 1969 (MariaDB) or 3024 (MySQL, SELECT only).
    For a site that is a good thing; a migration with ALTER TABLE can fail in the middle on MariaDB.""",
)
def statement_time(examined: Examined) -> Iterator[str | Seen]:
    session = seen(_server(examined).session, "the session's variables")
    seconds = float(session.get("max_statement_time", 0)) or float(session.get("max_execution_time", 0)) / 1000
    if seconds:
        yield f"The server ends a statement after {seconds:g} s."
