"""What a driver says to an option, such as a part of a URL's query, without connecting to anything.

The driver itself is asked, so what it takes is never refused, whatever its version: each adapter has a function
``refuses(name, value)``, which hands the option to the driver's own class in a way that ends before a connection is
made.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from .registry import Driver

__all__ = ["Refused", "any_text_is_true", "option_names", "refuses"]


@dataclass(frozen=True)
class Refused:
    """A driver's answer to an option that it does not take."""

    unknown: bool
    """It has no option of that name. Else it has, and the value is of the wrong kind."""
    words: str = ""
    """What the driver said; it may repeat the value."""


def refuses(driver: Driver, name: str, value: Any) -> Refused | None:
    """Ask an installed driver for an option.

    :param value: as the driver gets it: SQLAlchemy makes numbers and booleans of some.
    :return: ``None`` when the driver takes it, or tells only when it connects.
    """
    answer: Refused | None = _adapter(driver).refuses(name, value)
    return answer


def option_names(driver: Driver) -> tuple[str, ...]:
    """Return the names of a driver's options, to guess from what a misspelt one was meant to be."""
    names: tuple[str, ...] = _adapter(driver).OPTIONS
    return names


def any_text_is_true(driver: Driver, name: str) -> bool:
    """Say whether an option is a switch that any text turns on, ``false`` among them."""
    return name in _adapter(driver).ANY_TEXT_IS_TRUE


def _adapter(driver: Driver) -> Any:
    return importlib.import_module(f"{__package__}.{driver.module}_options")
