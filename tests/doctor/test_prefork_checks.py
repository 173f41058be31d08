"""Each check of what forks finds what it is for in a site under one web server's settings, and nothing under others."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from sqlalchemy_holdfast.doctor.application.facts import ApplicationFacts
from sqlalchemy_holdfast.doctor.application.web_server import look
from tests.doctor.application_findings import evidence, found, severities
from tests.doctor.conftest import Watched

UWSGI = {"uwsgi.ini": "[uwsgi]\nmodule = shop:app\nprocesses = 4\n"}
LAZY = {"uwsgi.ini": "[uwsgi]\nmodule = shop:app\nlazy-apps = true\nenable-threads\n"}
THREADS = {"uwsgi.ini": "[uwsgi]\nmodule = shop:app\nenable-threads = true\n"}
HOOKS_RUN = {"uwsgi.ini": "[uwsgi]\nmodule = shop:app\npy-call-uwsgi-fork-hooks = true\n"}
PRELOAD = {"gunicorn.conf.py": "workers = 4\npreload_app = True\n"}
NO_PRELOAD = {"Procfile": "web: gunicorn shop:app --workers 4\n"}
GEVENT = {"Procfile": "web: gunicorn -k gevent shop:app\n"}

Files = dict[str, str]
CASES: list[tuple[str, Files, dict[str, str]]] = [
    *[("held", files, {}) for files in ({}, UWSGI, LAZY, PRELOAD, NO_PRELOAD)],
    *[("stock", files, {}) for files in ({}, UWSGI, LAZY, PRELOAD)],
    ("touched", {}, {"HF301": "warning"}),
    *[("touched", files, {"HF301": "error"}) for files in (UWSGI, HOOKS_RUN, PRELOAD)],
    *[("touched", files, {}) for files in (LAZY, NO_PRELOAD)],
    *[("hooked", files, {"HF302": "error"}) for files in ({}, HOOKS_RUN, PRELOAD)],
    ("hooked", UWSGI, {"HF301": "error", "HF308": "warning"}),
    ("hooked", LAZY, {}),
    *[("kept", files, {}) for files in ({}, HOOKS_RUN, PRELOAD)],
    ("kept", UWSGI, {"HF301": "error", "HF308": "warning"}),
    ("hooks", UWSGI, {"HF303": "note"}),
    ("left_open", UWSGI, {"HF304": "warning"}),
    ("left_open", LAZY, {}),
    ("threaded", {}, {}),
    ("threaded", PRELOAD, {"HF305": "warning"}),
    ("threaded", NO_PRELOAD, {}),
    ("threaded", UWSGI, {"HF305": "warning", "HF306": "warning"}),
    ("threaded", THREADS, {"HF305": "warning"}),
    ("threaded", LAZY, {}),
    ("patched", {}, {"HF307": "warning"}),
    ("held with mysqlclient", GEVENT, {"HF307": "warning"}),
    ("held", GEVENT, {}),
]


def facts_of(watched: Watched, site: str, files: Files, folder: Path) -> ApplicationFacts:
    """What was seen of a site, and the settings that stand in a folder."""
    for name, content in files.items():
        (folder / name).write_text(content)
    name, _, mysqlclient = site.partition(" with ")
    facts = watched(name, "mysqldb" if mysqlclient or site == "patched" else "pymysql")
    return dataclasses.replace(facts, web_servers=look(folder, {}))


@pytest.mark.slow
@pytest.mark.parametrize(("site", "files", "expected"), CASES)
def test_a_site_under_a_web_server_has_these_findings_and_no_other(
    watched: Watched, tmp_path: Path, site: str, files: Files, expected: dict[str, str]
) -> None:
    findings = [finding for finding in found(facts_of(watched, site, files, tmp_path)) if finding.group == "prefork"]
    assert severities(findings) == expected, [finding.evidence for finding in findings]


@pytest.mark.slow
def test_greenlets_with_a_driver_in_python_are_all_right(watched: Watched) -> None:
    assert severities(found(watched("patched", "pymysql"))) == {}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("site", "files", "check", "says"),
    [
        ("touched", UWSGI, "HF301", "1 open connection when the import ends, opened at touched.py line 13, in read_"),
        ("touched", UWSGI, "HF301", "uWSGI without lazy-apps (uwsgi.ini line 1) forks"),
        ("touched", PRELOAD, "HF301", "gunicorn with preload_app (gunicorn.conf.py line 2)"),
        ("hooked", PRELOAD, "HF302", "(hooked.py line 18)"),
        ("hooks", UWSGI, "HF303", "uWSGI's postfork runs a function that calls dispose() (hooks.py line 23)"),
        ("threaded", PRELOAD, "HF305", "'metrics' is started at threaded.py line 12"),
        ("held with mysqlclient", GEVENT, "HF307", "worker_class = gevent (Procfile line 1)"),
    ],
)
def test_the_evidence_names_both_lines(
    watched: Watched, tmp_path: Path, site: str, files: Files, check: str, says: str
) -> None:
    assert says in evidence(facts_of(watched, site, files, tmp_path), check)
