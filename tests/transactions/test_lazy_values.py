"""What a unit returns is finished: nothing that is read later, in whatever it is wrapped."""

from __future__ import annotations

import asyncio
import functools
import io
import itertools
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from flask import Flask, Response, jsonify, send_file, stream_with_context
from sqlalchemy import Engine, create_engine, select, text
from sqlalchemy.orm import Session, sessionmaker

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast.lab import Server
from tests.conftest import EngineFactory
from tests.transactions.conftest import WRITE, Entry

Names = Callable[[], list[str]]
READ = text("SELECT name FROM entry")


def rows(session: Session) -> Iterator[Any]:
    yield from session.execute(READ)


async def later(session: Session) -> Any:
    return session.execute(READ)


async def stream(session: Session) -> AsyncIterator[Any]:
    yield session.execute(READ)


class Rows:
    """An iterator of the application's own."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def __iter__(self) -> Rows:
        return self

    def __next__(self) -> Any:
        return self.session.execute(READ).scalar_one()


LAZY: dict[str, Callable[[Session], Any]] = {
    "a generator": rows,
    "a coroutine": later,
    "an async generator": stream,
    "a result": lambda session: session.execute(READ),
    "scalars": lambda session: session.scalars(select(Entry)),
    "mappings": lambda session: session.execute(READ).mappings(),
    "partitions": lambda session: session.execute(READ).partitions(1),
    "map()": lambda session: map(session.execute, [READ]),
    "filter()": lambda session: filter(lambda number: session.get(Entry, number), [1]),
    "itertools.starmap()": lambda session: itertools.starmap(session.execute, [(READ,)]),
    "itertools.chain()": lambda session: itertools.chain([1], rows(session)),
    "zip()": lambda session: zip([1], rows(session), strict=False),
    "enumerate()": lambda session: enumerate(rows(session)),
    "iter() with a function": lambda session: iter(session.begin_nested, None),
    "a query": lambda session: session.query(Entry),
    "an iterator of the application's": Rows,
    "a driver's cursor": lambda session: session.connection().connection.cursor(),
}


@dataclass
class Page:
    items: Any


class Slotted:
    __slots__ = ("items",)

    def __init__(self, items: Any) -> None:
        self.items = items


class Pair(NamedTuple):
    first: int
    items: Any


WRAPPED: dict[str, Callable[[Any], Any]] = {
    "by itself": lambda value: value,
    "in a list": lambda value: [1, value],
    "in a tuple": lambda value: (value, 200),
    "in a dictionary": lambda value: {"rows": value},
    "in a dictionary of lists": lambda value: {"pages": [{"rows": [value]}]},
    "in a deque": lambda value: deque([value]),
    "in the values of a dictionary": lambda value: {1: value}.values(),
    "in an iterator over a list": lambda value: iter([value]),
    "in a named tuple": lambda value: Pair(1, value),
    "in a partial function": lambda value: functools.partial(list, value),
    "in a closure": lambda value: lambda: list(value),
    "in a default": lambda value: lambda items=value: list(items),
    "in a generator over it": lambda value: (item for item in [value]),
}
OBJECTS: dict[str, Callable[[Any], Any]] = {
    "in a dataclass": Page,
    "in an object with slots": Slotted,
    "in a namespace": lambda value: SimpleNamespace(items=value),
    "in an object in an object": lambda value: Page(Page([value])),
}


@pytest.fixture
def make(server: Server, held: EngineFactory) -> sessionmaker[Session]:
    return sessionmaker(held(server.url("pymysql")))


def refused(make: sessionmaker[Session], entries: Names, give: Callable[[Session], Any]) -> None:
    kept: list[Any] = []

    def unit(session: Session) -> Any:
        session.execute(WRITE, {"name": "no"})
        kept.append(give(session))
        return kept[0]

    with pytest.raises(TypeError, match="after the commit"):
        holdfast.run(make, unit)
    assert entries() == []
    close(kept)


def close(kept: list[Any]) -> None:
    """Nobody awaits it: that is no warning of this test's."""
    while kept:
        value = kept.pop()
        if asyncio.iscoroutine(value):
            value.close()
        elif isinstance(value, (list, tuple, deque)):
            kept.extend(value)
        elif isinstance(value, dict):
            kept.extend(value.values())
        elif isinstance(value, functools.partial):
            kept.extend(value.args)
        elif hasattr(value, "__closure__") and not isinstance(value, type):
            kept.extend([*(cell.cell_contents for cell in value.__closure__ or ()), *(value.__defaults__ or ())])


@pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED)
@pytest.mark.parametrize("lazy", ["a generator", "a result", "map()"])
def test_what_is_read_later_is_refused_in_whatever_it_is_wrapped(
    make: sessionmaker[Session], entries: Names, lazy: str, wrap: Callable[[Any], Any]
) -> None:
    refused(make, entries, lambda session: wrap(LAZY[lazy](session)))


@pytest.mark.parametrize("wrap", OBJECTS.values(), ids=OBJECTS)
@pytest.mark.parametrize("lazy", ["a generator", "scalars"])
def test_also_in_an_object_of_the_applications(
    make: sessionmaker[Session], entries: Names, lazy: str, wrap: Callable[[Any], Any]
) -> None:
    refused(make, entries, lambda session: wrap(LAZY[lazy](session)))


@pytest.mark.parametrize("lazy", LAZY.values(), ids=LAZY)
def test_each_kind_is_known(make: sessionmaker[Session], entries: Names, lazy: Callable[[Session], Any]) -> None:
    refused(make, entries, lambda session: [lazy(session)])


def test_a_bound_method_of_a_result_is_one(make: sessionmaker[Session], entries: Names) -> None:
    refused(make, entries, lambda session: session.execute(READ).all)


FLASK = Flask("site")


@pytest.mark.parametrize(
    "respond",
    [
        lambda session: Response(rows(session)),
        lambda session: (Response(rows(session)), 200),
        lambda session: Response(stream_with_context(rows(session))),
    ],
    ids=["a streamed response", "with a status", "with the request's context"],
)
def test_a_response_that_is_streamed_is_refused(
    make: sessionmaker[Session], entries: Names, respond: Callable[[Session], Any]
) -> None:
    with FLASK.test_request_context():
        refused(make, entries, respond)


FINISHED: dict[str, Callable[[Session], Any]] = {
    "nothing": lambda session: None,
    "rows": lambda session: session.execute(READ).all(),
    "objects": lambda session: session.scalars(select(Entry)).all(),
    "a closed result": lambda session: closed(session.execute(READ)),
    "the result of a write": lambda session: session.execute(WRITE, {"name": "Ada"}),
    "an iterator over what is there": lambda session: iter([1, 2]),
    "a pair of such": lambda session: zip([1], [2], strict=True),
    "a file": lambda session: io.BytesIO(b"..."),
    "a page that keeps its query": lambda session: Page({"query": session.query(Entry), "items": [1]}),
    "a statement": lambda session: select(Entry),
    "the session": lambda session: session,
    "a function": lambda session: session.get,
    "a large table": lambda session: [(number, "x") for number in range(50_000)],
}


def closed(result: Any) -> Any:
    result.close()
    return result


@pytest.mark.parametrize("give", FINISHED.values(), ids=FINISHED)
def test_what_is_finished_is_returned(make: sessionmaker[Session], give: Callable[[Session], Any]) -> None:
    kept: list[Any] = []

    def unit(session: Session) -> Any:
        kept.append(give(session))
        return kept[-1]

    assert holdfast.run(make, unit) is kept[0]


def test_what_a_view_answers_is_returned(make: sessionmaker[Session]) -> None:
    with FLASK.test_request_context():
        for respond in (
            lambda: Response("text"),
            lambda: jsonify(a=1),
            lambda: send_file(io.BytesIO(b"..."), mimetype="text/plain"),
            lambda: ({"a": 1}, 201, {"X-A": "1"}),
        ):
            answer: Any = holdfast.run(make, lambda session, respond=respond: respond())  # type: ignore[misc]
            if isinstance(answer, Response):
                answer.close()


class AsyncCall:
    async def __call__(self, session: Session) -> None:
        raise NotImplementedError


class GeneratorCall:
    def __call__(self, session: Session) -> Iterator[int]:
        yield 1


@pytest.mark.parametrize(
    "function",
    [later, rows, stream, functools.partial(later), functools.partial(rows), AsyncCall(), GeneratorCall()],
    ids=["coroutine", "generator", "async generator", "partial", "partial generator", "object", "generator object"],
)
def test_a_function_that_is_not_done_when_it_returns_is_not_called(function: Callable[..., Any]) -> None:
    engine: Engine = create_engine("sqlite://")
    with pytest.raises(TypeError, match=r"coroutine function|generator function"):
        holdfast.run(sessionmaker(engine), function)
    engine.dispose()
