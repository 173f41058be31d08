"""The search of the documentation finds an error by its number, in a real browser."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sphinx", reason="Sphinx is not installed")

ROOT = Path(__file__).resolve().parents[2]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason=f"no browser here: none of {', '.join(BROWSERS)} is on the PATH"),
]


class Quiet(SimpleHTTPRequestHandler):
    """Serves files, and says nothing about it."""

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], list[str]]]:
    """Search the built documentation: gives the pages that the browser shows as found, the best first."""
    folder = tmp_path_factory.mktemp("docs")
    build = [sys.executable, "-m", "sphinx", "-b", "html", "-q", "-d", str(folder / "doctrees")]
    subprocess.run([*build, str(ROOT / "docs"), str(folder / "html")], check=True, timeout=100)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder / "html"))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()

        def search(words: str) -> list[str]:
            page = _shown(f"http://127.0.0.1:{server.server_port}/search.html?q={words}", folder / "profile")
            results = re.search(r'<ul[^>]*class="search"[^>]*>(.*?)</ul>', page, re.DOTALL)
            assert results, page[-3000:]
            links = re.findall(r'<a href="([^"?#]+)', results[1])
            return list(dict.fromkeys(html.unescape(link) for link in links))

        yield search
        server.shutdown()
        thread.join()


def _shown(url: str, profile: Path) -> str:
    """Return the page as it is when its scripts have run."""
    assert BROWSER is not None
    switches = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", f"--user-data-dir={profile}"]
    command = [BROWSER, *switches, "--virtual-time-budget=20000", "--dump-dom", url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90)
    return done.stdout


@pytest.mark.parametrize(
    ("words", "page"),
    [
        ("2006", "errors/2006.html"),
        ("2013", "errors/2013.html"),
        ("1045", "errors/1045.html"),
        ("1226", "errors/too-many-connections.html"),
        ("gone+away", "errors/2006.html"),
        ("pool_recycle", "moving.html"),
    ],
)
def test_an_error_is_found_by_its_number(found: Callable[[str], list[str]], words: str, page: str) -> None:
    assert page in found(words)[:3]


def test_what_is_nowhere_is_not_found(found: Callable[[str], list[str]]) -> None:
    assert found("31415926") == []
