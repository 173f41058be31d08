"""One setting: its name and default, what it accepts, and how a URL's text becomes its value."""

from __future__ import annotations

import inspect
import math
import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..errors import SettingError

__all__ = ["PREFIX", "Setting", "shown"]

PREFIX = "holdfast_"
"""What every setting's name starts with, in the URL and as a keyword argument."""

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})
_KINDS = {
    "path": "the absolute path of a directory",
    "file": "the absolute path of a file",
    "command": "a command line",
    "function": "a function, as a keyword argument of create_engine",
}
"""Units of what is no number."""
_NEEDS_SHELL = frozenset({"|", "||", "&", "&&", ";", "<", ">", ">>", "2>", "2>&1"})


@dataclass(frozen=True)
class Setting:
    """One row of the settings table."""

    name: str
    """Name without the ``holdfast_`` prefix."""
    default: bool | float | str | None
    """Value when nothing is given; ``None`` means off."""
    consequence: str
    """What the setting changes, and when to touch it."""
    unit: str = ""
    """Unit of a number; empty for a switch; ``path`` for a directory, ``file``, ``command``, ``function``."""
    minimum: float = 0.0
    """Smallest number accepted."""
    maximum: float = 0.0
    """Largest number accepted."""
    can_be_off: bool = False
    """Whether ``off`` is accepted in place of a number."""
    whole: bool = False
    """Whether the number must be a whole one."""
    word: str = ""
    """A word that is accepted in place of a number or a switch's two values."""
    choices: tuple[str, ...] = ()
    """The words that are accepted, where it is neither a number nor a switch nor a path."""
    none_means: str = "off"
    """What it means when nothing is given, where the default is ``None``."""

    yes_means: str = ""
    """Which of the choices is meant by who gives yes, true or on. It is not accepted, and an error names it."""

    @property
    def key(self) -> str:
        """The name as it is written in a URL or a keyword argument."""
        return PREFIX + self.name

    @property
    def accepts(self) -> str:
        """The accepted values, in words."""
        if self.choices:
            return f"{', '.join(self.choices[:-1])} or {self.choices[-1]}"
        if not self.unit:
            return f"true or false, or {self.word}" if self.word else "true or false"
        if self.unit == "file" and self.word:
            return f"the path of a file, or {self.word}"
        if self.unit in _KINDS:
            return f"{_KINDS[self.unit]}, or off"
        span = f"a {'whole ' * self.whole}number of {self.unit} from {self.minimum:g} to {self.maximum:g}"
        choices = [self.word] * bool(self.word) + [span] + ["off"] * self.can_be_off
        return ", or ".join(filter(None, [", ".join(choices[:-1]), choices[-1]]))

    def parse(self, value: object) -> Any:
        """Turn a URL's text or a keyword argument into the setting's value.

        :raises SettingError: when the value is not one that :attr:`accepts` describes.
        """
        word = value.strip().lower() if isinstance(value, str) else None
        if self.choices:
            if value is False and "off" in self.choices:
                return "off"
            if value is None and self.default is None:
                return None
            if word not in self.choices:
                raise self._refused(value)
            return word
        if not self.unit:
            if isinstance(value, bool):
                return value
            if word in _TRUE:
                return True
            if word in _FALSE:
                return False
            if self.word and word == self.word:
                return word
            raise self._refused(value)
        if self.can_be_off and (value is None or value is False or word in _FALSE - {"0"}):
            return None
        if self.unit == "function":
            return self._function(value)
        if self.unit == "command":
            return self._command(value)
        if self.unit == "file" and self.word:
            return self.word if word == self.word else value if value is None else self._file(value)
        if self.unit in _KINDS:
            return self._path(value)
        if self.word and word == self.word:
            return word
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise self._refused(value)
        try:
            number = float(value)
        except (ValueError, OverflowError):
            raise self._refused(value) from None
        if not math.isfinite(number) or not self.minimum <= number <= self.maximum:
            raise self._refused(value)
        if self.whole and number != int(number):
            raise self._refused(value)
        return int(number) if self.whole else number

    def _path(self, value: object) -> str:
        if not isinstance(value, (str, os.PathLike)):
            raise self._refused(value)
        path = os.fspath(value)
        if not isinstance(path, str) or not os.path.isabs(path) or "\0" in path:
            raise self._refused(value)
        return path

    def _file(self, value: object) -> str:
        if not isinstance(value, (str, os.PathLike)):
            raise self._refused(value)
        path = os.fspath(value)
        if not isinstance(path, str) or not path or "\0" in path:
            raise self._refused(value)
        return os.path.abspath(path)  # a worker may go to another directory

    def _function(self, value: object) -> Callable[[], Any]:
        if not callable(value):
            raise SettingError(
                f"{self.key} takes {self.accepts}; what was given is not a function (it is not shown here). The "
                "function returns the password. A password itself belongs in the URL or in a file "
                "(holdfast_password_file), or comes from a command (holdfast_password_command)."
            )
        if inspect.iscoroutinefunction(value):
            raise SettingError(f"{self.key} takes {self.accepts}: an ordinary one, not one that is defined as async.")
        return value

    def _command(self, value: object) -> str:
        if isinstance(value, (list, tuple)) and all(isinstance(part, str) for part in value):
            value = shlex.join(value)
        try:
            parts = shlex.split(value) if isinstance(value, str) else []
        except ValueError:
            parts = []
        if not parts or not isinstance(value, str) or "\0" in value:
            raise SettingError(
                f"{self.key} takes {self.accepts} (or a list of its parts); what was given is not a command line, or "
                "has a quotation mark without the other one (it is not shown here)."
            )
        if found := _NEEDS_SHELL.intersection(parts):
            raise SettingError(
                f"{self.key} has {min(found)} in it, which only a shell understands, and holdfast runs the command "
                "without one. Give the shell as the command: sh -c 'first | second'."
            )
        return value

    def _refused(self, value: object) -> SettingError:
        default = f" (default {self.none_means if self.default is None else f'{self.default}'.lower()})."
        if self.default is None and self.none_means != "off":
            default = f". Without it, {self.none_means}."
        if self.yes_means and (value is True or f"{value}".strip().lower() in _TRUE):
            default += f" For {shown(value)}, write {self.yes_means}."
        return SettingError(f"{self.key}={shown(value)} is not accepted: {self.key} takes {self.accepts}{default}")


def shown(value: object) -> str:
    """Return a value as a message has it: short."""
    if value is None:
        return "off"
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
