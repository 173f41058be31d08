"""Applications that are watched once, for every test that looks at what was seen."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sqlalchemy_holdfast.doctor.application.facts import ApplicationFacts, from_plain, to_plain
from sqlalchemy_holdfast.doctor.application.watching import watch
from sqlalchemy_holdfast.lab import Server

SITES = Path(__file__).parent / "sites"

Watched = Callable[..., ApplicationFacts]


def environment(server: Server, driver: str = "pymysql", **more: str) -> dict[str, str]:
    """This process's environment, with a site's database, and without what could be taken for a hosting platform."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHONANYWHERE", "FLASK_"))}
    return {**own, "DATABASE_URL": server.url(driver).render_as_string(hide_password=False), **more}


@pytest.fixture(scope="session")
def watched(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Watched:
    """Watches a site of tests/doctor/sites, and remembers what was seen: for all processes of a run of tests."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent

    def of(site: str, driver: str = "pymysql") -> ApplicationFacts:
        known = folder / f"watched-{site}-{driver}.json"
        with known.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # whoever comes second waits, and has it for nothing
            if not known.exists():
                facts = watch(site, directory=SITES, environ=environment(server, driver)).facts
                known.write_text(json.dumps(to_plain(facts)))
        return from_plain(ApplicationFacts, json.loads(known.read_text()))

    return of
