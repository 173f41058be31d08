"""Many clients at once, each of which knows the right answer to what it asks."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

_SHOWN_CHARACTERS = 200


@dataclass(frozen=True)
class Question:
    """One request, and how to tell that its answer is right."""

    path: str
    """From the first slash on: "/double/4?x=1". It is put behind the path of `load`'s URL, if that has one."""
    expect: str | Callable[[str], bool]
    """The whole text of the right answer, or a function that tells whether a text is right. One that raises an
    exception has said no."""
    method: str = "GET"
    body: str | bytes | None = None
    """Text is sent as UTF-8."""
    headers: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.path.startswith("/"):
            raise ValueError(f"path is {self.path!r}, which does not begin with a slash")


@dataclass(frozen=True)
class LoadFailure:
    """A question that did not get its answer."""

    question: Question
    kind: Literal["wrong", "error", "hang"]
    """As `LoadReport` counts them."""
    seconds: float
    """How long it took."""
    status: int | None = None
    """The answer's HTTP status; None when no whole answer came."""
    text: str = ""
    """The answer's first 200 characters."""
    reason: str = ""
    """What went wrong where there is no status: "ConnectionResetError: …"; or what `expect` raised."""

    def __str__(self) -> str:
        parts = [f"{self.kind}: {self.question.method} {self.question.path}, {self.seconds:.3f} s"]
        if self.status is not None:
            parts.append(f"status {self.status}: {self.text!r}")
        if self.reason:
            parts.append(self.reason)
        return ", ".join(parts)


@dataclass(frozen=True)
class LoadReport:
    """What came of a `load`. Each question is counted once: `sent == right + wrong + errors + hangs`.

    As text, for the message of an assertion, it is the figures and the examples.
    """

    sent: int
    """How many questions were asked."""
    right: int
    """Status 200 and the right answer."""
    wrong: int
    """Status 200 and another answer."""
    errors: int
    """Another status, or none: the connection was refused, reset, or ended within the answer."""
    hangs: int
    """No whole answer within the timeout."""
    seconds: float
    """How long all of it took."""
    slowest: float
    """Seconds of the longest request, those that hung included; 0 without any."""
    statuses: Counter[int]
    """How many whole answers had each HTTP status."""
    examples: tuple[LoadFailure, ...]
    """The first ten of those that were not right."""

    def __str__(self) -> str:
        statuses = ", ".join(f"{status}: {count}" for status, count in sorted(self.statuses.items()))
        lines = [
            f"{self.sent} sent in {self.seconds:.2f} s: {self.right} right, {self.wrong} wrong, {self.errors} errors, "
            f"{self.hangs} hangs; slowest {self.slowest:.3f} s; statuses {statuses or 'none'}"
        ]
        return "\n  ".join([*lines, *map(str, self.examples)])


def load(url: str, questions: Iterable[Question], *, clients: int = 16, timeout: float = 20.0) -> LoadReport:
    """Ask a site all questions, `clients` at a time, and check each answer; return what came of it.

    Every request has a connection of its own. Redirects are not followed: any status but 200 is an error. A question
    is taken when a client is free for it, so `questions` may be a generator, without an end even if it stops by a
    clock; it is never run by two threads at once. A request that hangs keeps one client busy, not the others.

    :param url: "http://127.0.0.1:8000", as `Prefork.url` has it; a path in it is put before those of the questions.
    :param clients: how many threads ask.
    :param timeout: seconds that one request may take in all, from connecting to the last byte.
    :raises ValueError: `url` is not of plain HTTP, or `clients` or `timeout` is not positive.

    What `questions` raises is raised here, after the requests under way have ended; so is `http.client.InvalidURL`
    for a path that cannot be sent.
    """
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        raise ValueError(f"url is {url!r}, which is not of the form 'http://host:port'")
    if clients < 1:
        raise ValueError(f"clients is {clients!r}: at least one is needed")
    if timeout <= 0:
        raise ValueError(f"timeout is {timeout!r} seconds, which is not positive")
    return _Load(parts.hostname, parts.port or 80, parts.path.rstrip("/"), iter(questions), timeout).run(clients)


class _Load:
    """One call of `load`."""

    EXAMPLES = 10

    def __init__(self, host: str, port: int, prefix: str, questions: Iterator[Question], timeout: float) -> None:
        self._host = host
        self._port = port
        self._prefix = prefix
        self._questions = questions
        self._timeout = timeout
        # Two locks, so that a slow generator of questions does not keep the others' results from being counted.
        self._asking = threading.Lock()
        self._counting = threading.Lock()
        self._stopped = False
        self._trouble: BaseException | None = None
        self._results: Counter[str] = Counter()
        self._statuses: Counter[int] = Counter()
        self._examples: list[LoadFailure] = []
        self._slowest = 0.0

    def run(self, clients: int) -> LoadReport:
        threads = [
            threading.Thread(target=self._ask_all, name=f"sqlalchemy_holdfast.lab.load-{n}", daemon=True)
            for n in range(clients)
        ]
        start = time.monotonic()
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            self._stopped = True  # for the threads that Ctrl-C leaves behind
        if self._trouble is not None:
            raise self._trouble
        return LoadReport(
            sent=self._results.total(),
            right=self._results["right"],
            wrong=self._results["wrong"],
            errors=self._results["error"],
            hangs=self._results["hang"],
            seconds=time.monotonic() - start,
            slowest=self._slowest,
            statuses=self._statuses,
            examples=tuple(self._examples),
        )

    def _ask_all(self) -> None:
        try:
            while (question := self._next()) is not None:
                self._ask(question)
        except BaseException as error:
            with self._counting:
                self._trouble = self._trouble or error
            self._stopped = True

    def _next(self) -> Question | None:
        with self._asking:
            return None if self._stopped else next(self._questions, None)

    def _ask(self, question: Question) -> None:
        start = time.monotonic()
        status: int | None = None
        text = reason = ""
        kind: Literal["right", "wrong", "error", "hang"] = "error"
        try:
            status, text = self._request(question, start + self._timeout)
        except TimeoutError:
            kind, reason = "hang", f"no answer within {self._timeout:g} s"
        except http.client.InvalidURL:
            raise
        except (OSError, http.client.HTTPException) as error:
            reason = f"{type(error).__name__}: {error}"
        seconds = time.monotonic() - start
        if status == 200:
            right, reason = _is_right(question, text)
            kind = "right" if right else "wrong"
        with self._counting:
            self._results[kind] += 1
            self._slowest = max(self._slowest, seconds)
            if status is not None:
                self._statuses[status] += 1
            if kind != "right" and len(self._examples) < self.EXAMPLES:
                shown = text[:_SHOWN_CHARACTERS]
                self._examples.append(LoadFailure(question, kind, seconds, status, shown, reason))

    def _request(self, question: Question, deadline: float) -> tuple[int, str]:
        """Return status and text of an answer that came whole; raise `TimeoutError` at the deadline."""
        connection = _Connection(self._host, self._port, deadline)
        body = question.body.encode() if isinstance(question.body, str) else question.body
        headers = {"Connection": "close", **question.headers}
        try:
            connection.request(question.method, self._prefix + question.path, body, headers)
            answer = connection.getresponse()
            data = answer.read()
            return answer.status, data.decode(_charset(answer), errors="replace")
        finally:
            connection.close()


def _is_right(question: Question, text: str) -> tuple[bool, str]:
    """Return whether an answer is right, and what `expect` raised, if it did."""
    if isinstance(question.expect, str):
        return text == question.expect, ""
    try:
        return bool(question.expect(text)), ""
    except Exception as error:
        return False, f"expect raised {type(error).__name__}: {error}"


def _charset(answer: http.client.HTTPResponse) -> str:
    charset = answer.headers.get_content_charset() or "utf-8"
    try:
        "".encode(charset)
    except LookupError:
        return "utf-8"
    return charset


class _Connection(http.client.HTTPConnection):
    """One whose deadline is for everything together; the timeout of http.client starts anew with every byte."""

    def __init__(self, host: str, port: int, deadline: float) -> None:
        super().__init__(host, port)
        self._deadline = deadline

    def connect(self) -> None:
        plain = socket.create_connection((self.host, self.port), _left(self._deadline))
        self.sock = _Socket(self._deadline, plain)


class _Socket(socket.socket):
    def __init__(self, deadline: float, plain: socket.socket) -> None:
        super().__init__(plain.family, plain.type, plain.proto, fileno=plain.detach())
        self._deadline = deadline

    def sendall(self, *args: Any) -> None:
        self.settimeout(_left(self._deadline))
        super().sendall(*args)

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        self.settimeout(_left(self._deadline))
        return super().recv_into(*args, **kwargs)


def _left(deadline: float) -> float:
    """Return the seconds until the deadline; raise `TimeoutError` after it."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
