"""An enumeration of words: each member is the text that stands in log lines, reprs and keys."""

from __future__ import annotations

import enum

__all__ = ["Words"]


class Words(str, enum.Enum):  # enum.StrEnum, which Python 3.10 does not have
    """Members compare equal to their text, and are shown as it."""

    __str__ = str.__str__
    __repr__ = str.__repr__

    def __format__(self, format_spec: str) -> str:
        return str.__format__(self, format_spec)
