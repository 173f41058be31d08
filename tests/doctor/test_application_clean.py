"""Nothing is found in the examples and in the documentation's own sites."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from sqlalchemy_holdfast.doctor.application.watching import watch
from sqlalchemy_holdfast.doctor.application.web_server import look
from sqlalchemy_holdfast.lab import Server
from tests._long import LONG
from tests.doctor.application_findings import found
from tests.doctor.conftest import environment

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"

SETTINGS = [
    {},
    {"uwsgi.ini": "[uwsgi]\nmodule = shop:app\n"},
    {"gunicorn.conf.py": "preload_app = True\n"},
    {"Procfile": "web: gunicorn shop:app\nworker: celery -A shop worker\n"},
]

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("database", "folder", "target"),
    [
        ("mysql", "guestbook", "guestbook:app"),
        *([("mysql", "guestbook", "wsgi")] if LONG else []),  # the same application by another name
        ("mysql", "", "fastapi_site:app"),
        ("sqlite", "guestbook", "guestbook:app"),
    ],
)
def test_the_examples_have_nothing(server: Server, tmp_path: Path, database: str, folder: str, target: str) -> None:
    env = environment(server)
    if database == "sqlite":
        env["DATABASE_URL"] = f"sqlite:///{tmp_path / 'example.db'}"
    facts = watch(target, directory=EXAMPLES / folder, environ=env).facts
    assert found(facts) == ()
    assert len(facts.engines) == 1
    assert facts.engines[0].ours is (database == "mysql")
    assert facts.engines[0].held is (database == "mysql")


def test_the_quickstart_has_nothing_under_any_web_server(server: Server, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "quickstart.md").read_text()
    code = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)[0]
    address = re.search(r'"mysql\+mysqldb://[^"]*"', code)
    assert address is not None
    env = environment(server, "mysqldb")
    (tmp_path / "shop.py").write_text(code.replace(address[0], repr(env["DATABASE_URL"])))
    facts = watch("shop:app", directory=tmp_path, environ=env).facts
    assert [engine.held for engine in facts.engines] == [True]
    for settings in SETTINGS:
        for name, content in settings.items():
            (tmp_path / name).write_text(content)
        assert found(dataclasses.replace(facts, web_servers=look(tmp_path, {}))) == ()
        for name in settings:
            (tmp_path / name).unlink()
