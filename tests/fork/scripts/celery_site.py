"""A Celery application whose module uses the database when it is imported, and leaves a Session open."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery  # type: ignore[import-untyped]
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

from tests.fork.scripts.running import CELERY_TABLE as TABLE

FOLDER = os.environ["FORK_TEST_FOLDER"]

app = Celery("site", broker="filesystem://")
app.conf.update(
    broker_transport_options={
        "data_folder_in": os.path.join(FOLDER, "queue"),
        "data_folder_out": os.path.join(FOLDER, "queue"),
        "control_folder": os.path.join(FOLDER, "control"),
    },
    task_ignore_result=True,
    worker_prefetch_multiplier=4,
)

engine = create_engine(os.environ["FORK_TEST_URL"], plugins=["holdfast"])
with engine.connect() as connection:
    connection.execute(text("SELECT 1"))  # one connection idle in the pool, a ROLLBACK's reply unread
session = Session(engine)
session.execute(text("SELECT CONNECTION_ID()"))
"""Left open, for every worker process to inherit."""


def in_a_session(number: int, session: Session) -> None:
    answer, server_id = session.execute(text(f"SELECT {number}, CONNECTION_ID()")).one()
    session.execute(text(f"INSERT INTO {TABLE} VALUES ({number}, {answer}, {server_id}, {os.getpid()})"))
    session.commit()


def _task(function: Any) -> Any:
    return app.task(function, name=f"site.{function.__name__}")


@_task
def with_a_new_session(number: int) -> None:
    with Session(engine) as own:
        in_a_session(number, own)


@_task
def with_the_modules_session(number: int) -> None:
    in_a_session(number, session)


if __name__ == "__main__":  # send the tasks: half of them use the Session that the module left open
    for number in range(int(os.environ["FORK_TEST_TASKS"])):
        (with_a_new_session, with_the_modules_session)[number % 2].delay(number)
    session.close()
