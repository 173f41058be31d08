"""What tests of URLs share: secrets, whether a piece of one is shown, what holdfast.url refuses, an option file."""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast import DatabaseURLError, urls
from sqlalchemy_holdfast._pages import page

AWKWARD = "p@ss:w/o?r#d%41"
"""Every character that means something in a URL, and something that looks like an escape."""
SECRET = "Kx7qZv9w"
LATER_THAN_20 = make_url("mysql://host/%24").database == "$"
"""SQLAlchemy 2.1 and later read an escaped $ in a database's name as what it is."""


def pieces(secret: str) -> set[str]:
    """The password, and each four characters of it, as they are and as a URL would have them."""
    parts = {secret[start : start + 4] for start in range(max(1, len(secret) - 3))}
    return parts | {urllib.parse.quote_plus(part) for part in parts}


def said(error: BaseException | None, seen: set[int] | None = None) -> Iterator[str]:
    """Everything that an exception and those it came from can show."""
    seen = set() if seen is None else seen
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield from (str(error), repr(error), repr(error.args), *map(str, getattr(error, "__notes__", ())))
        yield from said(getattr(error, "orig", None), seen)
        yield from said(error.__cause__, seen)
        error = error.__context__


def assert_kept_secret(secret: str, *texts: str) -> None:
    for piece in pieces(secret):
        for said_of_it in texts:
            shown = said_of_it.replace(urls.ESCAPING, "")  # the standing advice, which has the word holdfast
            shown = shown.replace(page("errors/database-url-error"), "")  # so has the page's address
            assert piece not in shown, f"{piece!r} of the password is in: {shown}"


def refused(*arguments: Any, **keywords: Any) -> str:
    with pytest.raises(DatabaseURLError) as caught:
        holdfast.url(*arguments, **keywords)
    assert_kept_secret(SECRET, *said(caught.value))
    return str(caught.value)


def option_file(tmp_path: Path, content: str) -> Path:
    file = tmp_path / "my.cnf"
    file.write_text(content, encoding="utf-8")
    return file
