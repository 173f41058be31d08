"""A statement's text without what is quoted and what is a comment, in each way in which a server may read it.

Whoever judges a statement by its words must not take a value for one. Where a value ends depends on settings that the
text does not tell: on ``sql_mode`` (NO_BACKSLASH_ESCAPES; ANSI_QUOTES makes ``"`` a name's quote, in which a backslash
is a letter) and on the client's character set (in GBK, Big5, Shift JIS and GB18030 the byte of a backslash or of a
backquote may be the second half of a letter). So a text has several readings, and what is said of it must hold for
each.

Everything here takes a time in proportion to the text's length, 1 MB in some hundredths of a second at the most: there
is no quantifier inside another one, each search that fails is the last of its kind, and a text that has more quotes or
comments than ordinary ones have is given up. A regular expression runs with the interpreter's lock held.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

__all__ = ["SPACE", "Statement", "as_text", "readings", "unquoted", "word"]

Statement = str | bytes | bytearray | memoryview
"""A statement's text as drivers and SQLAlchemy have it."""

SPACE = " \t\n\r\f\v"
"""What a server takes for whitespace in every character set; a no-break space is one in latin1 only."""

_MOST_COMMENTS = 100
"""Comments, before a word is given up."""
_MOST_TOKENS = 10_000
"""Quoted parts and comments, of a text that has comments."""
_LONGEST_UNSURE = 100_000
"""Characters of a text that is read once for each character set."""


def as_text(statement: Statement) -> str:
    """Return a statement as text: bytes one character each, whatever their character set, so that only what is ASCII
    means something."""
    if isinstance(statement, str):
        return statement
    return (statement if isinstance(statement, (bytes, bytearray)) else bytes(statement)).decode("latin-1")


_GAP = re.compile(rf"[{SPACE}]*")
_GAP_OR_PARENTHESES = re.compile(rf"[{SPACE}(]*")
_NAME = re.compile(r"[A-Za-z_][\w$]*(?![\w$]|[^\x00-\x7f])", re.ASCII)


def word(text: str, position: int = 0, *, behind_parentheses: bool = False) -> tuple[str, int]:
    """Return the next word, in capitals, and the position behind it. Comments before it are passed over.

    :param position: where to look.
    :param behind_parentheses: pass over opening parentheses too.
    :return: an empty word where something else comes, or a comment that a server may execute.
    """
    gap = _GAP_OR_PARENTHESES if behind_parentheses else _GAP
    for _ in range(_MOST_COMMENTS):
        found = gap.match(text, position)
        position = found.end() if found else position
        end = _end_of_comment(text, position)
        if end is None:
            break
        if end < 0:
            return "", position
        position = end
    name = _NAME.match(text, position)
    return (name[0].upper(), name.end()) if name else ("", position)


def _end_of_comment(text: str, start: int) -> int | None:
    """Return where a comment ends that begins at a position, ``None`` when none does, -1 when it is not only that."""
    opening = text[start : start + 2]
    if opening == "/*":
        end = text.find("*/", start + 2)
        if end < 0 or text.startswith(("!", "M!"), start + 2):  # executed, the second by MariaDB
            return -1
        if text.startswith("+", start + 2) and _QUOTE.search(text, start, end):
            return -1  # a hint's quoted names may have */ in them
        return end + 2
    if opening[:1] == "#" or opening == "--":
        if opening == "--":
            # Followed by whitespace or a control character it is a comment; 5--1 is a subtraction.
            behind = text[start + 2 : start + 3]
            if behind > "\x7f":  # which of them are whitespace depends on the character set
                return -1
            if " " < behind < "\x7f":
                return None
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        return -1 if "\0" in text[start:end] else end  # some servers' comments end there
    return None


_QUOTED = re.compile(r"""'[^']*'|"[^"\\\0]*"|`[^`\0]*`""")
_QUOTE = re.compile("['\"`]")
_DIFFERS = re.compile(r"""\\['"]""")
_OPENING = re.compile(r"""['"`#]|--|/\*""")


def unquoted(text: str, *, backslash_escapes: bool) -> tuple[str, bool] | None:
    """Return a text with ``?`` in the place of what is quoted and a space in the place of comments.

    Names and values look the same: both are ``?``, and so is each part of a value with doubled quotes.

    :param backslash_escapes: whether a backslash in a string makes a letter of the quote or backslash behind it.
    :return: the text up to a quote that is not closed, and whether there is none; ``None`` for what is not understood.
    """
    if text.count("'") + text.count('"') + text.count("`") > 2 * _MOST_TOKENS + len(text) // 8:
        return None
    if backslash_escapes and _DIFFERS.search(text):
        # From now on a quote is a quote. Runs of backslashes are taken in pairs, from the left.
        text = text.replace("\\\\", "\\_").replace("\\'", "\\_").replace('\\"', "\\_")
    plain = _QUOTED.sub("?", text)
    if "#" in plain or "--" in plain or "/*" in plain:
        return _without_comments(text)
    left = _QUOTE.search(plain)
    if left is None:
        return plain, True
    return None if _is_unsure(text, left[0]) else (plain[: left.start()], False)


def _is_unsure(text: str, quote: str) -> bool:
    """Say whether what begins with a quote may end elsewhere: a server takes a zero byte for the end of a name, and a
    backslash for a letter where " is a name's quote."""
    return quote != "'" and ("\0" in text or (quote == '"' and "\\" in text))


def _without_comments(text: str) -> tuple[str, bool] | None:
    parts: list[str] = []
    position = 0
    for _ in range(_MOST_TOKENS):
        found = _OPENING.search(text, position)
        if found is None:
            return "".join((*parts, text[position:])), True
        start, opening = found.start(), found[0]
        parts.append(text[position:start])
        if opening in "'\"`":
            end = text.find(opening, start + 1) + 1
            if not end:
                return None if _is_unsure(text, opening) else ("".join(parts), False)
            if _is_unsure(text[start:end], opening):
                return None
            parts.append("?")
        else:
            comment = _end_of_comment(text, start)
            if comment == -1:
                return None
            end = start + 1 if comment is None else comment
            parts.append("-" if comment is None else " ")
        position = end
    return None


_KINDS = bytes(ord("h") if byte > 0x7F else ord("q") if byte in b"\\`" else ord(".") for byte in range(256))
"""High bytes, and what may be their second half."""
_HALVES = (
    re.compile(r"[\x81-\xfe](?:[\x40-\x7e\x80-\xfe]|[0-9][\x81-\xfe][0-9])"),  # gbk, gb18030; euckr has fewer
    re.compile(r"[\xa1-\xf9][\x40-\x7e\xa1-\xfe]"),  # big5
    re.compile(r"[\x81-\x9f\xe0-\xfc][\x40-\x7e\x80-\xfc]"),  # sjis, cp932
)
"""Letters of two bytes (and four), of the character sets in which the second byte may look like ASCII."""
_ERROR = re.compile(r"\\(?!N)|\0")
"""What is an error to every server, as is a quote that is not closed: what comes behind it is not run."""


def readings(statement: Statement, backslash_escapes: bool | None) -> list[str] | None:
    """Return a statement without its quoted parts and comments, in each way in which the server may read it.

    :param statement: bytes, which may be of any character set, or text, whose letters are letters. (To a server whose
        character set is Shift JIS or UJIS, Python sends a yen sign as a backslash: there, bytes must be asked about.)
    :param backslash_escapes: ``None`` when it is not known: both are then read.
    :return: ``None`` when it is not understood, or has a quote that is not closed.
    """
    text = as_text(statement)
    modes = (True, False) if backslash_escapes is None and _DIFFERS.search(text) else (backslash_escapes is not False,)
    found = []
    for mode in modes:
        plain = unquoted(text, backslash_escapes=mode)
        if plain is None or not plain[1]:
            return None
        found.append(plain[0])
    for other in () if text.isascii() else _in_other_character_sets(text, is_bytes=not isinstance(statement, str)):
        for mode in modes:
            plain = None if other is None else unquoted(other, backslash_escapes=mode)
            if plain is None:
                return None
            found.append(_ERROR.split(plain[0], maxsplit=1)[0])
    return found


def _in_other_character_sets(text: str, *, is_bytes: bool) -> Iterator[str | None]:
    if is_bytes:
        if b"hq" in text.encode("latin-1").translate(_KINDS):
            yield from (letter.sub("\x80", text) for letter in _HALVES) if len(text) < _LONGEST_UNSURE else (None,)
        return
    try:
        text.encode()
    except UnicodeEncodeError:  # bytes among the letters: what they do depends on how those are written
        yield None
