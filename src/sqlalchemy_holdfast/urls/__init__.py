"""Database URLs: built from their parts, and refused with a reason when they are almost certainly a mistake.

``checking`` says what is wrong with one, and ``trying`` connects once with it. ``building`` makes one, out of
``parts`` that come from arguments, the ``environment`` or ``option_files``.
"""

from __future__ import annotations

from .building import url
from .checking import ESCAPING, EXAMPLE, Finding, check, examine, is_ours, parse
from .environment import URL_VARIABLES, VARIABLES

__all__ = [
    "ESCAPING",
    "EXAMPLE",
    "URL_VARIABLES",
    "VARIABLES",
    "Finding",
    "check",
    "examine",
    "is_ours",
    "parse",
    "url",
]
