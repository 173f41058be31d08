"""Units of work in Flask: `db.run` and `@db.transactional`."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import String, text
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import Mapped, mapped_column

import sqlalchemy_holdfast as holdfast
from sqlalchemy_holdfast.lab import Proxy
from tests.flask.conftest import Names, Site
from tests.transactions.conftest import WRITE


def test_run_and_the_decorator_in_both_spellings(make_site: Callable[..., Site], driver: str, entries: Names) -> None:
    site = make_site(driver)
    db = site.db

    def add(name: str) -> str:
        db.session.execute(WRITE, {"name": name})
        site.lose_first(db.session)
        db.session.execute(text("SELECT 1"))
        return name.upper()

    @db.transactional
    def plain(name: str) -> str:
        return add(name)

    @db.transactional(verify=True, attempts=3)
    def with_options(name: str, *, suffix: str) -> str:
        return add(name + suffix)

    with site.app.app_context():
        assert db.run(lambda: add("a")) == "A"
        assert site.calls == 2
        site.calls = 0
        assert plain("b") == "B"
        assert site.calls == 2
        site.calls = 0
        assert with_options("c", suffix="!") == "C!"
        assert site.calls == 2
        assert entries() == ["a", "b", "c!"]
        assert plain.__name__ == "plain"
        assert holdfast.status(db).counters.units == 3


def test_a_view_can_be_a_unit(site: Site, proxy: Proxy, entries: Names) -> None:
    db = site.db

    @site.app.post("/<name>")
    @db.transactional(verify=True)
    def add(name: str) -> str:
        db.session.execute(WRITE, {"name": name})
        return f"added {name}"

    client = site.app.test_client()
    assert client.post("/a").text == "added a"
    proxy.cut_at("COMMIT", delivered=True)
    assert client.post("/b").text == "added b"
    proxy.cut_at("COMMIT", delivered=False)
    assert client.post("/c").text == "added c"
    assert entries() == ["a", "b", "c"]


def test_after_reads_in_the_same_request_a_unit_can_begin_and_after_writes_not(site: Site, entries: Names) -> None:
    db = site.db

    class Guest(db.Model):  # type: ignore[name-defined,misc]
        __tablename__ = "entry"
        id: Mapped[int] = mapped_column(primary_key=True)
        name: Mapped[str] = mapped_column(String(40))

    with site.app.app_context():
        db.run(lambda: db.session.add(Guest(id=1, name="a")))
        guest = db.session.get(Guest, 1)
        assert guest is not None

        def rename() -> None:
            guest.name = "b"

        db.run(rename)
        assert (guest.name, entries()) == ("b", ["b"])
        db.session.add(Guest(name="pending"))
        with pytest.raises(InvalidRequestError, match="changes that were made before"):
            db.run(rename)
        db.session.rollback()


def test_what_is_not_done_when_it_returns_is_refused(site: Site) -> None:
    def stream() -> Iterator[str]:
        yield "x"

    with pytest.raises(TypeError, match="generator"):
        site.db.transactional(stream)
    with site.app.app_context(), pytest.raises(TypeError, match="generator"):
        site.db.run(stream)
