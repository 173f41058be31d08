"""Which prefork server the experiment uses."""

from __future__ import annotations

import pytest

from sqlalchemy_holdfast.experiments import prefork
from sqlalchemy_holdfast.lab import ServerNotFound


@pytest.mark.parametrize(
    ("installed", "found"), [(("uwsgi", "gunicorn"), "uwsgi"), (("gunicorn",), "gunicorn"), ((), None)]
)
def test_the_prefork_server_is_the_one_that_is_installed(
    installed: tuple[str, ...], found: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def only_those(app: str, *, kind: str) -> None:
        if kind not in installed:
            raise ServerNotFound(kind)

    monkeypatch.setattr(prefork, "Prefork", only_those)
    assert prefork.available() == found
