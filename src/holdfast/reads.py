"""Which statements only read: running one twice is, for the server, the same as running it once.

Asked after a connection was lost, so it may take its time, and it is strict: what is not known to be harmless is not.
"""

from __future__ import annotations

import re

__all__ = ["only_reads"]

_LONGEST = 100_000
"""Longer statements (characters) are not taken apart."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_QUOTED_OR_COMMENT = re.compile(r"""'[^']*'|"[^"]*"|`[^`]*`|/\*(?![!+M]).*?\*/""", re.DOTALL)
_CALL = re.compile(r"(\.\s*)?([\w$?]+)(\s*)\(")
_WORD = re.compile(r"[\w$]+")
_UNKNOWN = re.compile(r"""[;@\\#'"`]|--|/\*|:=""")
_EFFECTS = _words("CURRVAL FOR INTO LOCK NEXTVAL PROCEDURE")
"""Words of locking reads, SELECT ... INTO, sequences and PROCEDURE ANALYSE."""
_KEYWORDS = _words(
    "ALL AND AS BETWEEN BY CASE CHAR DECIMAL DISTINCT DIV ELSE EXISTS FROM HAVING IN INDEX INTERVAL JOIN KEY LIKE "
    "MOD NOT NUMERIC ON OR OVER REGEXP RLIKE SELECT STRAIGHT_JOIN THEN UNION USING VALUES WHEN WHERE XOR"
)
"""Words that may stand before a parenthesis and are reserved by MySQL 8.0 and MariaDB 10.5: no function has such a
name."""
_FUNCTIONS = _words(
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


def only_reads(statement: str) -> bool:
    """Say whether running a statement twice is certain to be the same, for the server, as running it once.

    One SELECT, beginning with that word, that takes no locks and writes no variable or file, whose functions are all
    on a list of harmless ones. Whatever is not understood is not one.

    What it cannot see is a view that calls a function that writes. What such a function wrote is rolled back with the
    lost connection; in a non-transactional table it stays.

    :param statement: its text, with placeholders.
    """
    if len(statement) > _LONGEST or "\\" in statement or statement.lstrip()[:6].upper() != "SELECT":
        return False
    # A quoted name may be a function's: it is kept as "?", which is none of those known.
    text = _QUOTED_OR_COMMENT.sub(lambda found: " " if found[0].startswith("/*") else "?", statement).upper()
    if not text.isascii() or _UNKNOWN.search(text) or not _EFFECTS.isdisjoint(_WORD.findall(text)):
        return False
    return all(
        not qualified and (name in _KEYWORDS or (name in _FUNCTIONS and not space))
        for qualified, name, space in _CALL.findall(text)
    )
