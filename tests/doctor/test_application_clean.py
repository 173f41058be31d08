"""Nothing is found in the examples and in the documentation's own sites."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sqlalchemy_holdfast.doctor.application.watching import watch
from sqlalchemy_holdfast.lab import Server
from tests.doctor.application_findings import found
from tests.doctor.conftest import environment

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("database", ["mysql", "sqlite"])
@pytest.mark.parametrize(
    ("folder", "target"),
    [("guestbook", "guestbook:app"), ("guestbook", "wsgi"), ("", "fastapi_site:app")],
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


@pytest.mark.parametrize("settings", ["", "[uwsgi]\nmodule = site:app\n"])
def test_the_quickstart_has_nothing(server: Server, tmp_path: Path, settings: str) -> None:
    page = (ROOT / "docs" / "quickstart.md").read_text()
    code = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)[0]
    address = re.search(r'"mysql\+mysqldb://[^"]*"', code)
    assert address is not None
    env = environment(server, "mysqldb")
    (tmp_path / "shop.py").write_text(code.replace(address[0], repr(env["DATABASE_URL"])))
    if settings:
        (tmp_path / "uwsgi.ini").write_text(settings)
    facts = watch("shop:app", directory=tmp_path, environ=env).facts
    assert found(facts) == ()
    assert [engine.held for engine in facts.engines] == [True]
