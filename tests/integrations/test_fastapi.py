"""FastAPI: endpoints in its thread pool, each with a Session from a dependency."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.testclient import TestClient
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

from tests.integrations.conftest import Watch

router = APIRouter()


def get_session(request: Request) -> Iterator[Session]:
    with Session(request.app.state.engine) as session:
        yield session


OwnSession = Annotated[Session, Depends(get_session)]


@router.post("/ledger/{number}")
def write(number: int, session: OwnSession) -> str:
    session.execute(text(f"INSERT INTO ledger VALUES ({number}, {number * 2})"))
    session.commit()
    return "written"


@router.get("/ledger/{number}")
def read(number: int, session: OwnSession) -> int | None:
    found: int | None = session.execute(text(f"SELECT value FROM ledger WHERE id = {number}")).scalar()
    return found


def site(url: str) -> FastAPI:
    app = FastAPI()
    app.state.engine = create_engine(url)
    app.include_router(router)
    return app


def test_a_kill_between_two_requests_is_not_noticed(url: str, table: str, watch: Watch) -> None:
    with TestClient(site(url)) as client:
        assert client.post("/ledger/4").json() == "written"
        watch.kill_idle()
        assert client.get("/ledger/4").json() == 8
        watch.kill_idle()
        assert client.post("/ledger/5").json() == "written"
    assert watch.server.execute(f"SELECT id FROM {table} ORDER BY id", database="test") == [(4,), (5,)]
    watch.assert_held(1)
    assert watch.replaced() == {"closed by the server": 2}


def test_requests_at_once_each_get_their_own_answer(url: str, table: str, watch: Watch) -> None:
    with TestClient(site(url)) as client:
        for number in range(20):
            assert client.post(f"/ledger/{number}").json() == "written"
        with ThreadPoolExecutor(8) as threads:
            answers = list(threads.map(lambda number: client.get(f"/ledger/{number}").json(), range(20)))
    assert answers == [2 * number for number in range(20)]
    watch.assert_held(1)
