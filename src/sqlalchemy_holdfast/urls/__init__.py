"""Database URLs: built from their parts, and refused with a reason when they are almost certainly a mistake.

``checking`` says what is wrong with one (``query``: behind its ``?``, ``foreign``: in other languages' words,
``notes``: what may be meant), and ``trying`` connects once with it. ``building`` makes one, out of
``parts`` that come from arguments, the ``environment`` or ``option_files``.
"""

from __future__ import annotations

from .building import url
from .checking import Finding, check, check_dialect, check_plugins, examine, is_ours, parse
from .environment import URL_VARIABLES, VARIABLES
from .words import ESCAPING, EXAMPLE

__all__ = [
    "ESCAPING",
    "EXAMPLE",
    "URL_VARIABLES",
    "VARIABLES",
    "Finding",
    "check",
    "check_dialect",
    "check_plugins",
    "examine",
    "is_ours",
    "parse",
    "url",
]
