"""The actions, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .script import Step
    from .side import Side

__all__ = ["ACTIONS", "Skip", "action"]

Action = Callable[["Side", "Step"], Any]
ACTIONS: dict[str, Action] = {}


class Skip(Exception):
    """The step means nothing here: there is nobody to do it, or nothing to do it with."""


def action(function: Action) -> Action:
    """Register a function under its name, without a last underscore."""
    ACTIONS[function.__name__.rstrip("_")] = function
    return function
