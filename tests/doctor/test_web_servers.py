"""Web servers' settings are recognised in the files in which people write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from sqlalchemy_holdfast.doctor.application.sources import fork_hooks, read
from sqlalchemy_holdfast.doctor.application.web_server import gunicorn_sources, look


@pytest.mark.parametrize(
    ("file", "content", "forks"),
    [
        ("uwsgi.ini", "[uwsgi]\nmodule=shop:app", True),
        ("site.ini", "# comment\n[uwsgi]\nlazy-apps=true", False),
        ("site.ini", "[uwsgi]\nlazy_apps = 1", False),
        ("site.ini", "[uwsgi]\n;lazy-apps = true", True),
        ("site.ini", "[uwsgi]\nlazy-apps = false", True),
        ("gunicorn.conf.py", "preload_app = True", True),
        ("gunicorn.conf.py", "preload_app = False", False),
        ("gunicorn.conf.py", "workers = 3", False),
        ("Procfile", "web: gunicorn --preload shop:app", True),
        ("Procfile", "web: gunicorn shop:app\nworker: python jobs.py", False),
        ("Procfile", "worker: celery -A shop worker --concurrency 2", True),
        ("Procfile", "web: uwsgi --http :8000 --module shop:app --lazy-apps", False),
        ("Procfile", "web: uvicorn shop:app --workers 4", False),
        ("Procfile", "web: gunicorn -k uvicorn.workers.UvicornWorker --preload shop:app", True),
        ("Dockerfile", 'FROM python\nCMD ["gunicorn", "--preload", "shop:app"]', True),
        ("start.sh", "exec /srv/venv/bin/gunicorn --preload shop:app", True),
        ("shop.service", "[Service]\nExecStart=/srv/venv/bin/uwsgi --ini /srv/uwsgi.ini", True),
    ],
)
def test_whether_it_forks_after_the_import(tmp_path: Path, file: str, content: str, forks: bool) -> None:
    (tmp_path / file).write_text(content)
    (server,) = look(tmp_path, {})
    assert server.forks_after_import is forks
    assert server.place.file == file
    assert server.because


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("alembic.ini", "[alembic]\nscript_location = migrations"),
        ("Dockerfile", "RUN pip install gunicorn"),
        ("Procfile", "# web: gunicorn --preload shop:app"),
        ("Procfile", "beat: celery -A shop beat"),
        ("Procfile", "worker: celery -A shop worker --pool solo"),
        ("Procfile", "worker: celery -A shop worker -P threads"),
        ("start.sh", "echo 'no matching quote"),
    ],
)
def test_what_is_no_web_server(tmp_path: Path, file: str, content: str) -> None:
    (tmp_path / file).write_text(content)
    assert look(tmp_path, {}) == ()


def test_a_hosting_platform_that_forks_is_recognised_by_its_environment(tmp_path: Path) -> None:
    (server,) = look(tmp_path, {"PYTHONANYWHERE_SITE": "www.pythonanywhere.com"})
    assert server.forks_after_import


@pytest.mark.parametrize(
    ("code", "kind", "closes"),
    [
        ("os.register_at_fork(after_in_child=engine.dispose)", "os.register_at_fork", True),
        ("os.register_at_fork(after_in_child=lambda: engine.dispose(close=False))", "os.register_at_fork", False),
        ("def anew():\n    engine.dispose()\nos.register_at_fork(after_in_child=anew)", "os.register_at_fork", True),
        ("@postfork\ndef anew():\n    db.engine.dispose()", "uWSGI's postfork", True),
        ("@uwsgidecorators.postfork\ndef anew():\n    engine.dispose(False)", "uWSGI's postfork", False),
        ("def anew():\n    engine.dispose()\nuwsgi.post_fork_hook = anew", "uwsgi.post_fork_hook", True),
        (
            "@worker_process_init.connect\ndef anew(**kw):\n    engine.dispose()",
            "Celery's worker_process_init",
            True,
        ),
        (
            "def end():\n    engine.dispose()\n@celery.worker_process_init.connect(weak=True)\ndef anew():\n    end()",
            "Celery's worker_process_init",
            True,
        ),
        ("def post_fork(server, worker):\n    engine.dispose()", "gunicorn's post_fork", True),
    ],
)
def test_hooks_are_found_where_people_write_them(tmp_path: Path, code: str, kind: str, closes: bool) -> None:
    (tmp_path / "gunicorn.conf.py").write_text(code)
    found = list(fork_hooks(gunicorn_sources(tmp_path), tmp_path, gunicorn=True))
    assert [(hook.kind, hook.closes) for hook in found] == [(kind, closes)]


@pytest.mark.parametrize(
    "code",
    ["engine.dispose()", "def tear_down():\n    engine.dispose()", "@postfork\ndef anew():\n    print()", "not Python"],
)
def test_what_is_no_hook(tmp_path: Path, code: str) -> None:
    (tmp_path / "shop.py").write_text(code)
    source = read(tmp_path / "shop.py")
    assert list(fork_hooks([source] if source else [], tmp_path)) == []
