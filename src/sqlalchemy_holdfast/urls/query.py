"""What stands behind the ``?`` of a database URL: words that the driver does not take, and values that it cannot use.

The driver and SQLAlchemy's dialect are asked for each, so nothing is refused that they take.
"""

from __future__ import annotations

import difflib
import importlib.metadata
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy.dialects import plugins as registered
from sqlalchemy.engine import URL

from .. import drivers
from ..drivers.options import any_text_is_true, option_names, refuses
from ..settings import PREFIX
from . import foreign

__all__ = ["Problem", "misspelt_plugins", "problems"]

PLUGIN = "holdfast"
_OF_SQLALCHEMY = ("ssl_ca", "ssl_cert", "ssl_key", "ssl_capath", "ssl_cipher", "ssl_check_hostname", "charset")
"""Options that SQLAlchemy's dialects make something of."""
_BETTER_LEFT_OUT = ("use_unicode", "ssl_mode", "multi_statements")
"""Options for which there is better advice than to spell them rightly."""
_FILES = ("ssl_ca", "ssl_cert", "ssl_key", "ssl_capath", "server_public_key_path")
_FALSE = frozenset({"0", "false", "no", "off", "f", "n", ""})
_MAY_BE_SHOWN = re.compile(r"[A-Za-z0-9_.+-]{0,24}")


@dataclass(frozen=True)
class Problem:
    """Something that is wrong with one part of the query."""

    text: str
    certain: bool = True
    """It cannot work, or means something else, whatever the program does besides."""


def misspelt_plugins(url: URL, *, here: bool = True) -> Iterator[Problem]:
    """Say where ``plugin=holdfast`` is written otherwise. SQLAlchemy ignores ``plugins=`` without a word.

    :param here: whether another plugin must be installed here.
    """
    if "plugins" in url.query:
        yield Problem(
            "plugins in the URL is ignored by SQLAlchemy, without a word; in a URL the word is plugin, without an s. "
            "Write plugin=holdfast."
        )
    for name in _names(url):
        if name == PLUGIN or name in _plugins():
            continue
        word, *rest = re.split(r"[?;,\s]", name, maxsplit=1)
        if rest and _is_near(word):
            yield Problem(
                "plugin=holdfast in the URL is followed by a ?, a ;, a comma or a space. What stands behind the first "
                "? is separated by &: ?plugin=holdfast&charset=utf8mb4."
            )
        elif _is_near(word):
            yield Problem(
                f"plugin={_shown(name)} in the URL: there is no plugin of that name. Did you mean plugin=holdfast? "
                "(Upper and lower case count.)"
            )
        elif here:
            yield Problem(
                f"plugin={_shown(name)} in the URL: SQLAlchemy knows no plugin of that name. Is the package that has "
                "it installed?",
                certain=False,
            )


def problems(url: URL, *, here: bool = True) -> Iterator[Problem]:
    """Say what the URL's driver does with the words of the query.

    :param url: one for MySQL or MariaDB.
    :param here: whether the files and plugins that it names must be on this machine.
    """
    yield from misspelt_plugins(url, here=here)
    asked = _Asked.of(url)
    if asked is None:
        return
    pieces = any("@" in item for item in _texts(url))  # what is left of an unescaped password, or a statement
    for key, value in url.query.items():
        if key in ("plugin", "plugins") or key.startswith(PREFIX):
            continue
        if not isinstance(value, str):
            if asked.knows(key):
                yield Problem(f"{key} is in the URL {len(value)} times. Keep one of them.")
            continue
        problem = asked.about(key, value, name_it=not pieces)
        if problem is None and here and key in _FILES and value and not os.path.exists(value):
            problem = Problem(f"{key} in the URL is the path of a file that is not there: {_no_file(value)}")
        if problem is not None:
            yield problem


@dataclass(frozen=True)
class _Asked:
    """A driver that is installed, SQLAlchemy's own dialect for it, and what that gives the driver for no query."""

    driver: drivers.Driver
    dialect: Any
    given: URL
    bare: URL
    before: dict[str, Any]

    @classmethod
    def of(cls, url: URL) -> _Asked | None:
        """Find out who is to be asked; ``None`` where the driver is missing, or somebody else's dialect is used."""
        try:
            dialect_class = url.get_dialect()
            if dialect_class.is_async or not dialect_class.__module__.startswith("sqlalchemy.dialects."):
                return None
            driver = drivers.by_module(dialect_class.import_dbapi())
            if driver is None:
                return None
            dialect, bare = dialect_class(), url.set(query={})
            return cls(driver, dialect, url, bare, dict(dialect.create_connect_args(bare)[1]))
        except Exception:  # no such dialect, no driver, or one that is no longer itself: others say so
            return None

    @property
    def _named(self) -> str:
        return self.driver.distribution

    def knows(self, key: str) -> bool:
        """Say whether the driver has such an option."""
        refused = refuses(self.driver, key, "")
        return refused is None or not refused.unknown

    def about(self, key: str, value: str, *, name_it: bool) -> Problem | None:
        """Say what is wrong with one word of the query and its value.

        :param name_it: whether a word that nobody knows may be repeated.
        """
        own = _what_it_does_not_do(key, value, self.driver)
        if own:  # mysqlclient takes any text for ssl and goes on as without: that is said when it has connected
            return Problem(own, certain=key != "ssl" or refuses(self.driver, key, value) is not None)
        try:
            arguments = self.dialect.create_connect_args(self.bare.set(query={key: value}))[1]
        except (ValueError, TypeError):
            kind = _NUMBERS.get(key) or _seconds(key) or "true or false"
            return Problem(f"{key}={_shown(value)} in the URL cannot be used: {key} takes {kind}.")
        for name, given in arguments.items():
            if name in self.before and self.before[name] == given:
                continue
            refused = refuses(self.driver, name, given)
            if refused is not None:
                return self._unknown(key, value, name_it) if refused.unknown else self._value(key, value, given)
            if any_text_is_true(self.driver, name) and isinstance(given, str) and given.strip().lower() in _FALSE:
                return Problem(_switched_on(key, value, self._named))
        return None

    def _value(self, key: str, value: str, given: object) -> Problem:
        if key == "port":
            return Problem("port does not belong behind the ? of the URL: write it behind the host, host:3306.")
        kind = _VALUES.get(key) or ("" if isinstance(given, str) else _NUMBERS.get(key) or _seconds(key))
        if kind:
            return Problem(f"{key}={_shown(value)} in the URL cannot be used: {key} takes {kind}.")
        return Problem(
            f"{key} cannot be given in the URL: everything there is text, and {self._named} takes none for it. Give "
            f"it to create_engine: create_engine(url, connect_args={{'{key}': ...}}) (Flask-SQLAlchemy: "
            f"SQLALCHEMY_ENGINE_OPTIONS = {{'connect_args': {{'{key}': ...}}}})."
        )

    def _unknown(self, key: str, value: str, name_it: bool) -> Problem:
        """Say what is meant by a word that the driver does not know.

        Another plugin may take it out of the query, and a listener to do_connect may take it from the arguments.
        """
        certain = all(name == PLUGIN for name in _names(self.given))
        words = foreign.pool_advice(key)
        if words:
            return Problem(f"{key} in the URL {words}", certain)
        names = [*option_names(self.driver), *_OF_SQLALCHEMY, "plugin"]
        same = next((name for name in names if foreign.plain(name) == foreign.plain(key)), "")
        if same and same not in _BETTER_LEFT_OUT:
            right = "plugin=holdfast" if same == "plugin" else f"{same}=..."
            return Problem(f"{key} in the URL is no option of {self._named}. Write {right} in its place.", certain)
        words = foreign.advice(key, value, self.driver.url_name)
        if words:
            return Problem(f"{key} in the URL is no option of {self._named}: it is {words}", certain)
        near = difflib.get_close_matches(key.lower(), names, n=1, cutoff=0.75)
        if near:
            right = "plugin=holdfast" if near[0] == "plugin" else near[0]
            return Problem(f"{key} in the URL is no option of {self._named}. Did you mean {right}?", certain)
        shown = key if name_it and re.fullmatch(r"[A-Za-z][A-Za-z_.-]{0,40}", key) else "A word behind the ?"
        text = f"{shown} in the URL is no option of {self._named}, which refuses the whole URL for it. Remove it."
        if not name_it:
            text += " Or is it a piece of the password? In a URL, write ? as %3F, & as %26 and @ as %40."
        return Problem(text, certain=False)


def _what_it_does_not_do(key: str, value: str, driver: drivers.Driver) -> str:
    """Say what is wrong with a value that the driver takes, or refuses only when it connects."""
    word = value.strip().lower()
    if re.search(r"[?;](plugin|charset|holdfast_\w+)=", word):
        return (
            f"The value of {key} in the URL has a second ? or a ; in it. What stands behind the first ? is separated "
            "by &: ?plugin=holdfast&charset=utf8mb4."
        )
    if key == "ssl" and driver.url_name != "mysqlconnector":
        return f"ssl={_shown(value)} in the URL switches TLS neither on nor off. It is {foreign.advice(key, value, '')}"
    if key == "charset" and re.search(r"_(ci|cs|bin)$", word):
        return (
            f"charset={_shown(value)} in the URL is the name of a collation. Write charset={word.partition('_')[0]}"
            f"&collation={word}."
        )
    if key == "charset" and ("-" in word or " " in word or not word):
        right = "latin1" if "8859" in word else "utf8mb4"
        return (
            f"charset={_shown(value)} in the URL is no character set of MySQL, whose names have no hyphen. Write "
            f"charset={right}."
        )
    return ""


def _switched_on(key: str, value: str, driver: str) -> str:
    text = f"{key}={_shown(value)} in the URL switches {key} on: {driver} takes any text for true. "
    if key == "autocommit":
        return text + ("Leave it out: it is off by default. (On is create_engine(url, isolation_level='AUTOCOMMIT').)")
    if key == "ssl_disabled":
        return text + "So TLS would be off. Leave it out; with TLS, write holdfast_tls=required."
    return text + f"Leave it out, or give create_engine(url, connect_args={{'{key}': False}})."


_NUMBERS = dict.fromkeys(("client_flag", "client_flags", "pool_size"), "a whole number")
_VALUES = {
    "charset": "the name of a character set that the driver knows, such as utf8mb4",
    "executemany_fallback": "loop or multi",
}


def _seconds(key: str) -> str:
    return "a whole number of seconds, 1 or more" if key.endswith("timeout") else ""


def _no_file(value: str) -> str:
    if value.startswith("~"):
        return "~ is not the home directory here. Write the whole path."
    if not os.path.isabs(value):
        return (
            "it is looked for in the directory that the program runs in, which a web server may choose. Write the "
            "whole path, from / on."
        )
    return "is the path right, and may this program read the folder?"


def _names(url: URL) -> tuple[str, ...]:
    given = url.query.get("plugin", ())
    return (given,) if isinstance(given, str) else given


def _plugins() -> set[str]:
    """The names of the plugins that SQLAlchemy can load."""
    found = {entry.name for entry in importlib.metadata.entry_points(group="sqlalchemy.plugins")}
    return found | set(registered.impls)


def _is_near(name: str) -> bool:
    plain = foreign.plain(name).strip()
    return plain in ("sqlalchemyholdfast", "hold") or bool(difflib.get_close_matches(plain, [PLUGIN], cutoff=0.7))


def _texts(url: URL) -> Iterator[str]:
    for value in url.query.values():
        yield from (value,) if isinstance(value, str) else value


def _shown(value: str) -> str:
    """Repeat a value only where it cannot be a piece of something secret."""
    return value if _MAY_BE_SHOWN.fullmatch(value) else "…"
