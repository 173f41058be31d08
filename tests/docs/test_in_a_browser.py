"""In a real browser: the search finds an error by its number, and a phone shows whole lines of code."""

from __future__ import annotations

import html
import json
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
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The documentation, in a folder of its own."""
    folder = tmp_path_factory.mktemp("docs")
    build = [sys.executable, "-m", "sphinx", "-b", "html", "-q", "-d", str(folder / "doctrees")]
    subprocess.run([*build, str(ROOT / "docs"), str(folder / "html")], check=True, timeout=100)
    return folder / "html"


@pytest.fixture(scope="module")
def shown(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """Open an address of the built documentation in the browser: gives the page as it is when its scripts have run."""
    assert BROWSER is not None
    profile = tmp_path_factory.mktemp("profile")
    switches = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", f"--user-data-dir={profile}"]
    browser = [BROWSER, *switches, "--virtual-time-budget=20000", "--dump-dom"]
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(built))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()

        def open_page(address: str) -> str:
            url = f"http://127.0.0.1:{server.server_port}/{address}"
            return subprocess.run([*browser, url], capture_output=True, text=True, timeout=90).stdout

        yield open_page
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def found(shown: Callable[[str], str]) -> Callable[[str], list[str]]:
    """Search: gives the pages that the browser shows as found, the best first."""

    def search(words: str) -> list[str]:
        page = shown(f"search.html?q={words}")
        results = re.search(r'<ul[^>]*class="search"[^>]*>(.*?)</ul>', page, re.DOTALL)
        assert results, page[-3000:]
        links = re.findall(r'<a href="([^"?#]+)', results[1])
        return list(dict.fromkeys(html.unescape(link) for link in links))

    return search


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


PHONE = """<!DOCTYPE html><body><script>
async function cutOff(page) {
  const frame = document.createElement("iframe");
  frame.width = 390;
  frame.height = 800;
  const loaded = new Promise((done) => (frame.onload = done));
  frame.src = page;
  document.body.append(frame);
  await loaded;
  const seen = [...frame.contentDocument.querySelectorAll("article pre, article h1, article h2, article h3")];
  const cut = seen.filter((box) => box.scrollWidth > box.clientWidth + 1).map((box) => box.textContent.slice(0, 80));
  frame.remove();
  return [page, seen.length, cut];
}
async function main() {
  const found = [];
  for (const page of PAGES) found.push(await cutOff(page));
  const result = document.createElement("output");
  result.textContent = JSON.stringify(found);
  document.body.append(result);
}
main();
</script></body>"""


def test_no_code_and_no_heading_is_cut_off_on_a_phone(built: Path, shown: Callable[[str], str]) -> None:
    pages = sorted(str(page.relative_to(built)) for page in built.rglob("*.html"))
    pages = [page for page in pages if not page.startswith(("_", "genindex", "py-modindex", "search"))]
    (built / "phone.html").write_text(PHONE.replace("PAGES", json.dumps(pages)))
    page = shown("phone.html")
    result = re.search(r"<output>(.*?)</output>", page, re.DOTALL)
    assert result, page[-3000:]
    looked_at = json.loads(html.unescape(result[1]))
    assert [name for name, _, _ in looked_at] == pages
    assert all(boxes for _, boxes, _ in looked_at)
    assert {name: cut for name, _, cut in looked_at if cut} == {}
