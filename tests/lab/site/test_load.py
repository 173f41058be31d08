"""load() counts each answer once, as what it was."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from sqlalchemy_holdfast.lab import Prefork, Question, load

APP = """
import os, time


def application(environ, start_response):
    kind, _, value = environ["PATH_INFO"].strip("/").partition("/")
    status, answer = "200 OK", str(2 * int(value or 0))
    if kind == "wrong":
        answer = "somebody else's"
    elif kind == "error":
        status = "500 Internal Server Error"
    elif kind == "gone":
        os._exit(9)
    elif kind == "hang":
        time.sleep(30)
    elif kind == "echo":
        size = int(environ.get("CONTENT_LENGTH") or 0)
        answer = environ["REQUEST_METHOD"] + " " + environ["wsgi.input"].read(size).decode() + environ["HTTP_X_TAG"]
    start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
    return [answer.encode()]
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prefork]:
    directory = tmp_path_factory.mktemp("double")
    (directory / "double.py").write_text(APP)
    with Prefork("double.py:application", workers=6, directory=directory) as site:
        yield site
        site.kill()  # stopping takes a second


def questions(**kinds: int) -> list[Question]:
    """So many of each kind, mixed."""
    asked = [(n, Question(f"/{kind}/{n}", str(2 * n))) for kind, count in kinds.items() for n in range(count)]
    return [question for _, question in sorted(asked, key=lambda pair: pair[0])]


class Peer:
    """Listens, and hands each connection to `answer`."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def answer(self, *parts: bytes, pause: float = 0.0) -> None:
        def serve() -> None:
            connection, _ = self.listener.accept()
            with connection:
                connection.recv(65536)
                try:
                    for part in parts:
                        connection.sendall(part)
                        time.sleep(pause)
                except OSError:
                    pass  # the client has had enough

        threading.Thread(target=serve, daemon=True).start()


@pytest.fixture
def peer() -> Iterator[Peer]:
    peer = Peer()
    with peer.listener:
        yield peer


@pytest.mark.slow
def test_every_kind_of_answer_is_counted_exactly(site: Prefork) -> None:
    start = time.monotonic()
    report = load(site.url, questions(right=200, wrong=7, error=5, gone=3, hang=2), clients=16, timeout=5)
    assert (report.sent, report.right, report.wrong, report.errors, report.hangs) == (217, 200, 7, 8, 2), report
    assert report.statuses == Counter({200: 207, 500: 5})
    assert 5 <= report.slowest <= report.seconds <= time.monotonic() - start
    assert Counter(example.kind for example in report.examples) <= Counter(wrong=7, error=8, hang=2)
    assert len(report.examples) == 10


@pytest.mark.slow
def test_a_request_that_hangs_does_not_stop_the_others(site: Prefork) -> None:
    answered: list[float] = []

    def note(text: str) -> bool:
        answered.append(time.monotonic())
        return text == "0"

    start = time.monotonic()
    report = load(site.url, [Question("/hang/0", ""), *[Question("/right/0", note)] * 50], clients=4, timeout=5)
    assert (report.right, report.hangs) == (50, 1), report
    assert answered[-1] - start < 5
    assert report.examples[0].reason == "no answer within 5 s"


def test_an_example_tells_the_question_and_the_beginning_of_the_answer(site: Prefork) -> None:
    report = load(site.url, [Question("/wrong/4", "8"), Question("/error/5", "10")], clients=1)
    wrong, error = report.examples
    assert (wrong.question.path, wrong.kind, wrong.status, wrong.text) == ("/wrong/4", "wrong", 200, "somebody else's")
    assert (error.question.path, error.kind, error.status, error.text) == ("/error/5", "error", 500, "10")
    assert "2 sent" in str(report)
    assert "wrong: GET /wrong/4" in str(report)


def test_a_longer_answer_is_cut_in_the_examples_and_compared_whole(peer: Peer) -> None:
    text = b"x" * 5000
    for _ in range(2):
        peer.answer(b"HTTP/1.0 200 OK\r\n\r\n", text)
    report = load(peer.url, [Question("/", text.decode()), Question("/", "x" * 4999)], clients=1)
    assert (report.right, report.wrong) == (1, 1), report
    assert report.examples[0].text == "x" * 200


def test_an_expectation_that_raises_has_said_no(site: Prefork) -> None:
    report = load(site.url, [Question("/right/1", lambda text: bool(1 / 0)), Question("/right/1", str.isdigit)])
    assert (report.right, report.wrong) == (1, 1)
    assert report.examples[0].reason == "expect raised ZeroDivisionError: division by zero"


def test_method_body_and_headers_are_sent(site: Prefork) -> None:
    posts = [Question("/echo/1", f"{m} größe!", m, b, {"X-Tag": "!"}) for m in ("POST", "PUT") for b in ("größe",)]
    assert load(site.url, posts).right == 2


def test_the_url_may_have_a_path(site: Prefork) -> None:
    assert load(site.url + "/right/", [Question("/21", "42")]).right == 1


def test_a_refused_connection_is_an_error(peer: Peer) -> None:
    peer.listener.close()
    report = load(peer.url, questions(right=20))
    assert (report.sent, report.errors, report.statuses) == (20, 20, Counter())
    assert report.examples[0].reason.startswith("ConnectionRefusedError")


@pytest.mark.parametrize(
    "parts",
    [(), (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", b"0"), (b"SSH-2.0\r\n",)],
    ids=["none", "half", "not HTTP"],
)
def test_an_answer_that_does_not_come_whole_is_an_error(peer: Peer, parts: tuple[bytes, ...]) -> None:
    peer.answer(*parts)
    report = load(peer.url, questions(right=1), timeout=60)
    assert (report.sent, report.errors) == (1, 1), report
    assert report.examples[0].status is None


@pytest.mark.slow
def test_an_answer_that_trickles_in_is_a_hang_when_its_time_is_over(peer: Peer) -> None:
    peer.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", *[b"0"] * 100, pause=0.05)
    report = load(peer.url, questions(right=1), timeout=0.4)
    assert (report.sent, report.hangs) == (1, 1), report
    assert 0.4 <= report.slowest < 4, "all of it takes 5 s"


def test_questions_may_be_a_generator_and_are_taken_as_clients_are_free(site: Prefork) -> None:
    taken = 0

    def endless() -> Iterator[Question]:
        nonlocal taken
        while taken < 100:
            taken += 1
            yield Question("/right/1", "2")

    report = load(site.url, endless(), clients=8)
    assert (taken, report.sent, report.right) == (100, 100, 100), report


def test_what_the_questions_raise_is_raised(site: Prefork) -> None:
    def broken() -> Iterator[Question]:
        yield Question("/right/1", "2")
        raise LookupError("no more")

    with pytest.raises(LookupError, match="no more"):
        load(site.url, broken())
    with pytest.raises(http.client.InvalidURL):
        load(site.url, [Question("/a b", "")])


def test_no_question_is_no_trouble(site: Prefork) -> None:
    report = load(site.url, [])
    assert (report.sent, report.slowest, report.statuses, report.examples) == (0, 0.0, Counter(), ())


def test_what_cannot_be_meant_is_refused() -> None:
    for url in ("https://localhost", "localhost:80", "http://"):
        with pytest.raises(ValueError, match="http://host:port"):
            load(url, [])
    with pytest.raises(ValueError, match="at least one"):
        load("http://localhost", [], clients=0)
    with pytest.raises(ValueError, match="not positive"):
        load("http://localhost", [], timeout=0)
    with pytest.raises(ValueError, match="slash"):
        Question("double/1", "2")
