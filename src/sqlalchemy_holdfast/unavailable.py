"""What a web server answers to a request that cannot get a database connection now: 503 and ``Retry-After``."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass

from sqlalchemy.exc import DBAPIError

from . import reporting
from .errors import CheckoutTimeout, CommitOutcomeUnknown, ServerAway, raised_connecting
from .server.error_table import Refusal
from .server.faults import judge, said

__all__ = ["TEXT", "Answer", "answer_to", "retry_after"]

TEXT = "The site cannot reach its database at the moment. Please try again in {seconds} s."
"""What a visitor reads. Nothing of the error: that is for the log."""

_SECONDS = 5
"""Seconds after which another try is worth it, where nothing is known."""
_A_ROW = 60.0
"""Seconds after which the log says again that requests are turned away."""

_last_said: dict[type, float] = {}


@dataclass(frozen=True)
class Answer:
    """A response, without what each framework adds of its own."""

    retry_after: int
    """Seconds, for the header ``Retry-After``."""
    content_type: str
    body: bytes
    status: int = 503

    @property
    def headers(self) -> list[tuple[str, str]]:
        """The response's headers."""
        return [
            ("Content-Type", self.content_type),
            ("Content-Length", str(len(self.body))),
            ("Retry-After", str(self.retry_after)),
            ("Cache-Control", "no-store"),
        ]


def answer_to(error: BaseException, method: str, path: str, accept: str) -> Answer | None:
    """Return the answer to a request that failed, and tell the log of it; ``None`` for any other error.

    :param error: what came out of the application.
    :param path: the request's path, without its query.
    :param accept: the request's ``Accept`` header, or an empty text.
    """
    seconds = retry_after(error)
    if seconds is None:
        return None
    tell(error, method, path, seconds)
    text = TEXT.format(seconds=seconds)
    if "json" in accept and "html" not in accept:
        return Answer(seconds, "application/json", json.dumps({"detail": text}).encode())
    return Answer(seconds, "text/plain; charset=utf-8", f"{text}\n".encode())


def retry_after(error: BaseException) -> int | None:
    """Return after how many seconds a request is worth another try, or ``None``.

    It is for errors that say that there was no connection to be had, and for these alone: nothing was sent. An error
    that may come from COMMIT is not one of them.
    """
    if isinstance(error, (ServerAway, CheckoutTimeout)):
        return error.retry_after
    if not isinstance(error, DBAPIError) or isinstance(error, CommitOutcomeUnknown) or error.orig is None:
        return None
    verdict = judge(error.orig, connected=False)
    if verdict.refusal is None or not (raised_connecting(error) or verdict.proves_connecting):
        return None
    return 1 if verdict.refusal is Refusal.FULL else _SECONDS


def tell(error: BaseException, method: str, path: str, seconds: int) -> None:
    """Tell the log that a request is turned away: the first of a minute as a warning."""
    now, kind = time.monotonic(), type(error)
    first = now - _last_said.get(kind, -_A_ROW) >= _A_ROW
    if first:
        _last_said[kind] = now
    reporting.request_turned_away(method, path, seconds, _why(error), first=first)


def _why(error: BaseException) -> str:
    """Say why there is no connection: the driver's words, and what holdfast has added to them."""
    if isinstance(error, (ServerAway, CheckoutTimeout)):
        return str(error)
    added = [line for line in getattr(error, "detail", ()) if line.startswith("holdfast")]  # only ours: no values
    return "\n".join((said(error), *added))
