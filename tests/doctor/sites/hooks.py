"""Hooks that are not needed: the engine is held."""

from __future__ import annotations

import os
from collections.abc import Callable

import sqlalchemy_holdfast as holdfast

try:
    from uwsgidecorators import postfork
except ImportError:  # not under uWSGI

    def postfork(function: Callable[[], None]) -> Callable[[], None]:
        return function


engine = holdfast.create_engine(os.environ["DATABASE_URL"])


@postfork  # type: ignore[untyped-decorator,unused-ignore]
def start_anew() -> None:
    engine.dispose(close=False)
