"""What a statement's text says about it: the one place where that is decided.

============================  =================================================  =======================================
question                      who asks, when                                     what a wrong yes would cost
============================  =================================================  =======================================
:func:`is_plain_read`         the held connection, for every statement           time: the ROLLBACK at the end is not
                                                                                 waited for, and locks are held a moment
                                                                                 longer than ``close()`` takes
:func:`may_follow_rollback`   the held connection, for a statement that comes    a statement is committed, or run
                              while a ROLLBACK's reply is unread                 outside of a transaction, behind a
                                                                                 ROLLBACK that has failed
:func:`only_reads`            whoever runs a statement again or rolls it back    something is done twice, or undone in
                              without a word                                     silence
:func:`may_commit`            a unit of work, whether it can be begun again      nothing: a unit is not begun again. A
                                                                                 wrong no doubles what came before
============================  =================================================  =======================================

What a statement changes in its session is decided in :mod:`~.session_changes`.

Each takes text or bytes, with values in it or placeholders. Views, and what stored functions and triggers do, cannot be
seen in a text. :func:`shortened` writes a statement without its values, for logs and errors.
"""

from __future__ import annotations

import re

from .lexer import SPACE, Statement, as_text, readings, unquoted, word

__all__ = ["FUNCTIONS", "KEYWORDS", "is_plain_read", "may_commit", "may_follow_rollback", "only_reads", "shortened"]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _spellings(*words: str) -> frozenset[str | bytes]:
    texts = [text for word in words for text in (word, word.lower(), word.capitalize())]
    return frozenset([*texts, *(text.encode() for text in texts)])


# -- for every statement ---------------------------------------------------------------------------------------

_SELECT = _spellings("SELECT")
_MAY_FOLLOW = _spellings("SELECT", "INSERT", "UPDATE", "DELETE", "REPLAC")
_PIPELINE_BYTES = 1_000_000  # a longer one may be several packets, and nobody minds one more round trip for it


def _head(statement: Statement) -> str | bytes:
    head = statement[:40]
    head = head if isinstance(head, (str, bytes)) else bytes(head)
    return head[:6] if head[:6] in _MAY_FOLLOW else head.lstrip()[:6]


def may_follow_rollback(statement: Statement) -> bool:
    """Say whether a statement (text or bytes) may be sent before the reply to a ROLLBACK has been read.

    Only plain reads and writes may, and no more than one at a time. COMMIT, DDL, SET, CALL, LOAD DATA and everything
    unknown wait for the reply, so that nothing can be committed or run outside a transaction behind a ROLLBACK that
    failed.
    """
    if _head(statement) not in _MAY_FOLLOW or len(statement) >= _PIPELINE_BYTES:
        return False
    if (";" if isinstance(statement, str) else _SEMICOLON) not in statement:
        return True
    return _is_one(statement, None)


_SEMICOLON, _PARENTHESIS, _SLASH, _HASH, _DASH, _AT = b";(/#-@"  # a byte's number is found in 20 ns, b";" in 130
_NESTED = re.compile(rb"\((?=\s*(?:[Ss][Ee][Ll]|[Ww][Ii][Tt]|[Tt][Aa][Bb]))").search
_INTO_VARIABLE = re.compile(rb"@(?<=[Oo]@|\s@)").search
_TAIL = 64
_LOCKING = ("FOR UPDATE", "FOR SHARE", "SHARE MODE", " NOWAIT", "SKIP LOCKED")
_WORD_OF_LOCKS = re.compile(r"(?:FOR(?<![\w$]FOR)|LOCK(?<![\w$]LOCK)|INTO(?<![\w$]INTO))(?![\w$])", re.ASCII).search
_BEFORE_FOR = (" BY ", " LIMIT ", " FROM ", "\nFROM ")
_SHORT = 10_000
_MOST_WORDS = 5_000
"""FOR, LOCK and INTO, in a statement that is looked through."""
_LOCKS = re.compile(  # the letters come first, so that most of a text is passed over fast
    rf"INTO(?<![\w$]INTO)(?![\w$])|FOR(?<![\w$]FOR)[{SPACE}]+(?:UPDATE|SHARE)(?![\w$])"
    rf"|LOCK(?<![\w$]LOCK)[{SPACE}]+IN(?![\w$])",
    re.ASCII,
)


def is_plain_read(statement: Statement) -> bool:
    """Say whether a statement only reads and takes no row locks, so that nobody depends on when it is rolled back.

    One SELECT without FOR UPDATE, FOR SHARE, LOCK IN SHARE MODE and INTO. What a function does that it calls is not
    looked at.
    """
    if type(statement) is not bytes:
        statement = statement.encode("utf-8", "replace") if isinstance(statement, str) else bytes(statement)
    if statement[:6] not in _SELECT and _head(statement) not in _SELECT:
        return False
    # No loop: this runs for every statement. Unless one of these is there, what locks comes at the end.
    if (
        len(statement) > _SHORT
        or _SEMICOLON in statement
        or _HASH in statement
        or (_PARENTHESIS in statement and _NESTED(statement))
        or (_SLASH in statement and b"/*" in statement)
        or (_DASH in statement and b"--" in statement)
        or (_AT in statement and _INTO_VARIABLE(statement))
    ):
        return _takes_no_locks(statement)
    tail = statement[-_TAIL:].decode("latin-1").upper()
    if ("FOR" in tail or "LOCK" in tail or "INTO" in tail) and _WORD_OF_LOCKS(tail):
        return not tail.endswith(_LOCKING) and _takes_no_locks(statement)
    # FOR UPDATE OF a, b, ... may be longer than the tail, if nothing is in it that comes before FOR.
    return (
        "=" in tail or len(statement) <= _TAIL or any(map(tail.__contains__, _BEFORE_FOR)) or _takes_no_locks(statement)
    )


def _takes_no_locks(statement: bytes) -> bool:
    text = statement.upper()
    words = text.count(b"FOR") + text.count(b"LOCK") + text.count(b"INTO")
    if not words and _SEMICOLON not in text and not (_SLASH in text and (b"/*!" in text or b"/*M!" in text)):
        return True
    plain = unquoted(text.decode("latin-1"), backslash_escapes=True) if words < _MOST_WORDS else None
    if plain is None or not plain[1] or ";" in plain[0].rstrip(SPACE + ";"):
        return False
    return not words or _LOCKS.search(plain[0]) is None


# -- strict ----------------------------------------------------------------------------------------------------

_LONGEST = 100_000
"""Longer statements (characters) are not taken apart."""

_CONTROL = re.compile(rf"[^ -~{SPACE}]")
_ODD = re.compile(r"[;@\\'\"`]|:=")
_SYSTEM_VARIABLE = re.compile(r"@@(?:(GLOBAL)[.]|(?:SESSION|LOCAL)[.])?([A-Z_][A-Z0-9_]*)(?![\w$]| ?[.(])")
_LEFT_BEHIND = _words(
    "ERROR_COUNT GTID_NEXT GTID_OWNED GTID_SEQ_NO IDENTITY INSERT_ID IN_TRANSACTION LAST_GTID LAST_INSERT_ID "
    "RAND_SEED1 RAND_SEED2 STATEMENT_ID TIMESTAMP WARNING_COUNT"
)
"""System variables that tell what the session did before."""
_HINT = re.compile(r"SELECT\s*/\*\+", re.IGNORECASE)
"""An optimizer hint, which may set variables for the statement."""
_IS_RESET = re.compile("innodb_cmp", re.IGNORECASE)
"""Tables of information_schema whose counters begin anew when they are read (INNODB_CMP_RESET and its like)."""
_CTE = re.compile(r"(?<![\w$?.])[\w$?]+ ?\([\w$?, ]*\) AS \(")
_ALIAS_OR_TYPE = re.compile(r"(?<![\w$?.])AS [\w$]+ ?\(")
_AGAINST = re.compile(r"\) ?AGAINST ?\(")
_ANY = re.compile(r"(?<![\w$?.])(?:ANY|SOME) ?\(SELECT(?![\w$?])")
_MOST_PARENTHESES = 5_000
_BEFORE = 80
_CALLED = re.compile(r"(\. ?)?([\w$?]+)( ?)\Z")
"""What stands before a parenthesis, in so many letters."""
_WORD = re.compile(r"[\w$]+")
_EFFECTS = _words("CURRVAL DELETE FOR INSERT INTO LOCK NEXTVAL PROCEDURE UPDATE")
"""Words of locking reads, SELECT ... INTO, sequences, PROCEDURE ANALYSE, and of what WITH may begin."""
_SHOWN = _words("COLUMNS CREATE DATABASES FIELDS FULL GLOBAL INDEX INDEXES KEYS SCHEMAS TABLE TABLES")
"""The words behind SHOW of what tells nothing of the session."""
KEYWORDS = _words(
    "ALL AND AS BETWEEN BY CASE CHAR DECIMAL DISTINCT DIV ELSE EXISTS FROM HAVING IN INDEX INTERVAL JOIN KEY LIKE "
    "MATCH MOD NOT NUMERIC ON OR OVER REGEXP RLIKE SELECT STRAIGHT_JOIN THEN UNION USING VALUES WHEN WHERE XOR"
)
"""Words that may stand before a parenthesis and are reserved by MySQL 8.0 and MariaDB 10.5: no function has such a
name."""
FUNCTIONS = _words(
    """
    AVG BIT_AND BIT_OR BIT_XOR COUNT GROUP_CONCAT JSON_ARRAYAGG JSON_OBJECTAGG MAX MIN STD STDDEV STDDEV_POP
    STDDEV_SAMP SUM VAR_POP VAR_SAMP VARIANCE
    CUME_DIST DENSE_RANK FIRST_VALUE LAG LAST_VALUE LEAD NTH_VALUE NTILE PERCENT_RANK RANK ROW_NUMBER
    CAST COALESCE CONVERT GREATEST IF IFNULL ISNULL LEAST NULLIF
    ASCII BIN BIT_LENGTH CHAR CHAR_LENGTH CHARACTER_LENGTH CONCAT CONCAT_WS ELT FIELD FIND_IN_SET FORMAT
    FROM_BASE64 HEX INSTR LCASE LEFT LENGTH LOCATE LOWER LPAD LTRIM MID OCT OCTET_LENGTH ORD POSITION QUOTE
    REGEXP_INSTR REGEXP_REPLACE REGEXP_SUBSTR REPEAT REPLACE REVERSE RIGHT RPAD RTRIM SOUNDEX SPACE STRCMP
    SUBSTR SUBSTRING SUBSTRING_INDEX TO_BASE64 TRIM UCASE UNHEX UPPER
    ABS ACOS ASIN ATAN ATAN2 CEIL CEILING COS COT CRC32 DEGREES EXP FLOOR LN LOG LOG10 LOG2 MOD PI POW POWER
    RADIANS RAND ROUND SIGN SIN SQRT TAN TRUNCATE
    ADDDATE ADDTIME CURDATE CURRENT_DATE CURRENT_TIME CURRENT_TIMESTAMP CURTIME DATE DATE_ADD DATE_FORMAT
    DATE_SUB DATEDIFF DAY DAYNAME DAYOFMONTH DAYOFWEEK DAYOFYEAR EXTRACT FROM_DAYS FROM_UNIXTIME HOUR LAST_DAY
    LOCALTIME LOCALTIMESTAMP MAKEDATE MAKETIME MICROSECOND MINUTE MONTH MONTHNAME NOW PERIOD_ADD PERIOD_DIFF
    QUARTER SEC_TO_TIME SECOND STR_TO_DATE SUBDATE SUBTIME SYSDATE TIME TIME_FORMAT TIME_TO_SEC TIMEDIFF
    TIMESTAMP TIMESTAMPADD TIMESTAMPDIFF TO_DAYS TO_SECONDS UNIX_TIMESTAMP UTC_DATE UTC_TIME UTC_TIMESTAMP WEEK
    WEEKDAY WEEKOFYEAR YEAR YEARWEEK
    JSON_ARRAY JSON_CONTAINS JSON_CONTAINS_PATH JSON_DEPTH JSON_EXTRACT JSON_KEYS JSON_LENGTH JSON_OBJECT
    JSON_QUOTE JSON_SEARCH JSON_TYPE JSON_UNQUOTE JSON_VALID
    INET6_ATON INET6_NTOA INET_ATON INET_NTOA SHA2 CONNECTION_ID CURRENT_USER DATABASE SCHEMA USER
    UUID UUID_SHORT VERSION
    """
)
"""Functions of MySQL 8.0 and MariaDB 10.5 both, that do nothing and read nothing that a session has left behind. With
no space before the parenthesis such a name means the server's own function, never one of the same name in a schema.
(MD5 and SHA1 are missing: in MySQL 9 they may be the site's own.)"""


def only_reads(statement: Statement, *, backslash_escapes: bool | None = None) -> bool:
    """Say whether running a statement twice, or rolling it back, is certain to be the same for the server as running it
    once.

    One SELECT (or WITH ... SELECT, or SHOW of a table or the like) that takes no locks and writes no variable or file,
    whose functions are all on a list of harmless ones. Whatever is not understood is not one.

    What it cannot see is a view that calls a function that writes. What such a function wrote is rolled back with the
    lost connection; in a non-transactional table it stays.

    :param statement: its text, with placeholders or values. Bytes may be of any character set, so they are read in
        several; where it is known, text is surer.
    :param backslash_escapes: whether a backslash escapes a quote in a string, as without sql_mode
        NO_BACKSLASH_ESCAPES. ``None``: not known, and the answer is no where it matters.
    """
    if len(statement) > _LONGEST:
        return False
    text = as_text(statement)
    if word(text, behind_parentheses=True)[0] not in ("SELECT", "WITH", "SHOW"):
        return False
    if _HINT.search(text) or _IS_RESET.search(text):
        return False
    found = readings(statement, backslash_escapes)
    return found is not None and all(map(_plainly_reads, found))


def _told(variable: re.Match[str]) -> str:
    return "?" if variable[1] or variable[2] not in _LEFT_BEHIND else variable[0]


def _plainly_reads(plain: str) -> bool:
    if _CONTROL.search(plain):
        return False
    text = _SYSTEM_VARIABLE.sub(_told, " ".join(plain.upper().split()))
    if _ODD.search(text):
        return False
    words = _WORD.findall(text) or [""]
    if not _EFFECTS.isdisjoint(words) or (words[0] == "WITH" and "REPLACE" in words):
        return False
    if words[0] == "SHOW" and (words[1:2] or ("",))[0] not in _SHOWN:
        return False
    if words[0] == "WITH":
        text = _CTE.sub("AS (", text)
    text = _ANY.sub("(", _AGAINST.sub(")(", _ALIAS_OR_TYPE.sub("AS (", text)))
    before = text.split("(", _MOST_PARENTHESES)
    return len(before) <= _MOST_PARENTHESES and all(map(_is_harmless, before[:-1]))


def _is_harmless(before: str) -> bool:
    """Say whether a parenthesis behind this text calls nothing, or a harmless function."""
    called = _CALLED.search(before[-_BEFORE:])
    if called is None:
        return True
    qualified, name, space = called.groups()
    return not qualified and (name in KEYWORDS or (name in FUNCTIONS and not space))


_NEVER = _words(
    "SELECT INSERT UPDATE DELETE REPLACE WITH VALUES TABLE SHOW EXPLAIN DESCRIBE DESC DO SAVEPOINT RELEASE ROLLBACK "
    "USE HANDLER KILL SIGNAL"
)
_NEVER_WITH: dict[str, tuple[frozenset[str], ...]] = {
    "CREATE": (_words("TEMPORARY"), _words("TABLE")),
    "DROP": (_words("TEMPORARY"), _words("TABLE")),
    "LOAD": (_words("DATA XML"),),
}
"""Words that must come next."""
_LONGEST_SET = 10_000
_SETS_MORE = re.compile(
    r"AUTOCOMMIT|COMPLETION_TYPE|PASSWORD|(?<![\w$])(?:GLOBAL|PERSIST|PERSIST_ONLY|RESOURCE|ROLE|STATEMENT)(?![\w$])",
    re.IGNORECASE | re.ASCII,
)


def may_commit(statement: Statement, *, backslash_escapes: bool | None = None) -> bool:
    """Say whether a statement may commit what came before it in its transaction, or have what comes later committed.

    MySQL and MariaDB commit before and after DDL, LOCK TABLES, GRANT and their like ("Statements That Cause an Implicit
    Commit" in both manuals). The statements that are known not to are listed; what is not listed counts as one that
    does, CALL among them, because a procedure may contain a COMMIT, and so do several statements in one text.

    :param statement: its text, with placeholders or values. Bytes may be of any character set, so they are read in
        several; where it is known, text is surer.
    :param backslash_escapes: whether a backslash escapes a quote in a string, as without sql_mode
        NO_BACKSLASH_ESCAPES. ``None``: not known, and the answer is yes where it matters.
    """
    text = as_text(statement)
    first, end = word(text, behind_parentheses=True)
    for expected in _NEVER_WITH.get(first, ()):
        found, end = word(text, end)
        if found not in expected:
            return True
    if first == "SET":
        if len(text) > _LONGEST_SET or not text.isascii() or _SETS_MORE.search(text):
            return True
    elif first not in _NEVER and first not in _NEVER_WITH:
        return True
    return ";" in text and not _is_one(statement, backslash_escapes)


def _is_one(statement: Statement, backslash_escapes: bool | None) -> bool:
    """Say whether a text with a semicolon is certain to be one statement."""
    if ";" not in as_text(statement).rstrip(SPACE + ";"):
        return True
    found = readings(statement, backslash_escapes)
    return found is not None and not any(";" in plain.rstrip(SPACE + ";") for plain in found)


# -- for people ------------------------------------------------------------------------------------------------

_WORDS = 10
_LETTERS = 120
_LOOKED_AT = 2_000
"""Letters of a statement that its first words are taken from."""
_LONGEST_NAME = 64
_PIECE = re.compile(
    r"""
    (?P<space>[ \t\n\r\f\v]+)
    | (?P<comment>/\*(?![!+M]))
    | (?P<name>[A-Za-z_]\w*)
    | (?P<value>[0-9][\w.]* | (?:'[^'\\]*' | "[^"\\]*" | `[ -_a-~]*`)(?![\w$]))
    | (?P<sign>(?!--|/\*|\*/)[-+*/<>=!%&|^~(),.:?@])
    """,
    re.VERBOSE | re.ASCII,
)
_BACKQUOTED = re.compile(r"`\w+`", re.ASCII)
_FROM_A_DIGIT = re.compile(r"[0-9]\w*", re.ASCII)
_NO_NAMES = _words("FALSE NULL TRUE UNKNOWN")
_OF_ROWS = _words("DELETE INSERT REPLACE SELECT UPDATE VALUES WITH")
"""The first words of statements in which a word that is not quoted is a name."""


def shortened(statement: Statement) -> str:
    """Return a statement's first words, without comments, with ``?`` in the place of each value.

    Nothing is shown that a server, in any mode and character set, or a reader might take for a part of a value: what
    is quoted, digits (in names too), what is not ASCII, and nothing at all behind a place where a value may end in more
    than one way, as with a backslash in it. So it may show less than there is.
    """
    text = as_text(statement[:_LOOKED_AT])
    shown: list[str] = []
    position, first = 0, ""
    while position < len(text):
        found = _PIECE.match(text, position)
        if found is None:
            shown.append("?" if text[position] in "'\"`" else "")
            break
        kind, piece, end = found.lastgroup, found[0], found.end()
        if shown.count(" ") > _WORDS + 2:
            break
        if kind == "name":
            upper = piece.upper()
            first = first or upper
            if "IDENTIFIED" in upper or (upper == "PASSWORD" and first not in _OF_ROWS):
                break
            piece = "?" if upper in _NO_NAMES else _without_digits(piece)
        elif kind == "value":
            piece = _without_digits(piece[1:-1]) if _BACKQUOTED.fullmatch(piece) else "?"
        elif kind == "comment":
            end = _end_of_plain_comment(text, end)
            if end < 0:
                break
            piece = " "
        elif kind == "space":
            piece = " "
        elif piece == "=" and first not in _OF_ROWS:  # SET name = word
            shown.append("=?")
            break
        shown.append(piece)
        position = end
    words = "".join(shown).split()
    more = position < len(statement) or len(words) > _WORDS
    return " ".join((*words[:_WORDS], "...") if more else words)[:_LETTERS]


def _without_digits(name: str) -> str:
    return _FROM_A_DIGIT.sub("?", name) if len(name) <= _LONGEST_NAME else "?"


def _end_of_plain_comment(text: str, start: int) -> int:
    """Return where a comment ends, -1 where a reader might find that it goes on."""
    end = text.find("*/", start) + 2
    if end < 2 or text.find("/*", start, end) >= 0:
        return -1
    again, next_one = text.find("*/", end), text.find("/*", end)
    if again >= 0 and not 0 <= next_one < again:
        return -1
    return -1 if _NAME_CHARACTER.match(text, end) and word(text, end)[0] not in _OF_ROWS else end


_NAME_CHARACTER = re.compile(r"[\w$]")
