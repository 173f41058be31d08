"""What is in the wheel and in the sdist, and what their metadata say."""

from __future__ import annotations

import re
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from importlib.metadata import requires
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from trove_classifiers import classifiers as known_classifiers

from hatch_build import with_absolute_links
from tests.packaging.conftest import ROOT, Built, run

pytestmark = pytest.mark.slow

SOURCE = ROOT / "src" / "sqlalchemy_holdfast"


def test_an_index_would_accept_both(built: Built) -> None:
    done = run(sys.executable, "-m", "twine", "check", "--strict", built.wheel, built.sdist)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("PASSED") == 2


def test_the_wheel_has_the_package_and_nothing_else(built: Built) -> None:
    names = zipfile.ZipFile(built.wheel).namelist()
    packed = {name for name in names if ".dist-info/" not in name}
    assert packed == {f"sqlalchemy_holdfast/{name}" for name in source_files()}
    assert "sqlalchemy_holdfast/py.typed" in packed
    assert not any("test" in Path(name).name for name in packed)


def test_the_sdist_has_what_a_build_needs_and_nothing_else(built: Built) -> None:
    with tarfile.open(built.sdist) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    package = {f"src/sqlalchemy_holdfast/{name}" for name in source_files()}
    assert names - package == {
        *(".gitignore", "CHANGELOG.md", "LICENSE", "PKG-INFO", "README.md", "hatch_build.py", "pyproject.toml"),
    }
    assert package <= names


def source_files() -> set[str]:
    files = run("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=SOURCE).stdout.split()
    return {name for name in files if (SOURCE / name).exists()}


# -- the README as it is published -----------------------------------------------------------------------------


def links(text: str) -> Iterator[str]:
    """The targets of all links and images of a Markdown text."""
    from markdown_it import MarkdownIt

    for token in MarkdownIt("commonmark").enable("table").parse(text):
        for part in [token, *(token.children or ())]:
            for attribute in ("href", "src"):
                if attribute in part.attrs:
                    yield str(part.attrs[attribute])
            if part.type in ("html_inline", "html_block"):
                yield from re.findall(r"\b(?:href|src|srcset)=\"([^\"]+)\"", part.content)


def test_the_links_of_a_text_are_found() -> None:
    text = '[a](b) ![c](d.svg) <img src="e">\n\n| [f][g] |\n|---|\n| `[h](i)` |\n\n```\n[j](k)\n```\n\n[g]: l\n'
    assert list(links(text)) == ["b", "d.svg", "e", "l"]


@pytest.mark.parametrize(
    ("written", "published"),
    [
        ("[a](docs/b.md#c) [d](#e)", "[a](R/blob/main/docs/b.md#c) [d](R/blob/main/README.md#e)"),
        ("[![a](b.svg)](c.md)", "[![a](R/raw/main/b.svg)](R/blob/main/c.md)"),
        (
            '<img alt="a" src="b/c.png"> <a href="d/">',
            '<img alt="a" src="R/raw/main/b/c.png"> <a href="R/blob/main/d/">',
        ),
        ("[a][b]\n\n[b]: c.md\n", "[a][b]\n\n[b]: R/blob/main/c.md\n"),
        ('[a](b.md "c")', '[a](R/blob/main/b.md "c")'),
        ("[a](https://example.org/b) <mailto:c@d>", "[a](https://example.org/b) <mailto:c@d>"),
        ("`[a](b)`\n```\n[c](d)\n```\n[e](f)", "`[a](b)`\n```\n[c](d)\n```\n[e](R/blob/main/f)"),
    ],
)
def test_relative_links_are_made_absolute(written: str, published: str) -> None:
    repository = "https://example.org/holdfast"
    assert with_absolute_links(written, repository) == published.replace("R/", f"{repository}/")


def test_all_links_of_the_published_readme_are_absolute(built: Built) -> None:
    found = list(links(str(built.metadata.get_payload())))
    assert len(found) > 3
    assert [link for link in found if not urlsplit(link).scheme.startswith("http")] == []


def test_the_links_into_the_repository_lead_to_something(built: Built) -> None:
    repository = urls(built)["Repository"]
    found = [link for link in links(str(built.metadata.get_payload())) if link.startswith(repository)]
    paths = [re.match(r"/(?:blob|raw)/main/([^#]+)", unquote(link.removeprefix(repository))) for link in found]
    assert [link for link, path in zip(found, paths, strict=True) if not (path and (ROOT / path[1]).exists())] == []


# -- metadata --------------------------------------------------------------------------------------------------


def urls(built: Built) -> dict[str, str]:
    entries = built.metadata.get_all("Project-URL") or []
    return dict(entry.split(", ", 1) for entry in entries)


def test_the_project_has_addresses_that_all_begin_with_the_repositorys(built: Built) -> None:
    found = urls(built)
    assert found.keys() == {"Repository", "Documentation", "Issues", "Changelog"}
    assert all(address.startswith(found["Repository"]) for address in found.values())


def test_the_repositorys_address_stands_in_one_place(built: Built) -> None:
    """It will change once, when there is one."""
    repository = urls(built)["Repository"]
    where = run("git", "grep", "-l", "--untracked", "-F", repository).stdout.split()
    assert where == ["pyproject.toml"]
    table = re.search(r"^\[project\.urls\]\n(.*?)^$", (ROOT / "pyproject.toml").read_text(), re.DOTALL | re.MULTILINE)
    assert table is not None
    assert table[1].count(repository) == (ROOT / "pyproject.toml").read_text().count(repository)


def test_the_classifiers_are_known_and_agree_with_the_rest(built: Built) -> None:
    found = built.metadata.get_all("Classifier") or []
    assert set(found) <= known_classifiers
    versions = [int(one.rpartition(".")[2]) for one in found if re.search(r"Python :: 3\.\d+$", one)]
    assert versions == list(range(versions[0], versions[-1] + 1))
    assert built.metadata["Requires-Python"] == f">=3.{versions[0]}"
    assert sys.version_info.minor in versions, "tested, so it should be named"
    assert "Typing :: Typed" in found
    assert not any(one.startswith("License ::") for one in found), "the expression says it"
    assert built.metadata["License-Expression"] == "MIT"


EXTRAS = {
    "mysqlclient": {"mysqlclient": "drivers: import MySQLdb"},
    "pymysql": {"pymysql": "drivers: from pymysql", "cryptography": ""},  # PyMySQL's need, for MySQL's passwords
    "mysqlconnector": {"mysql-connector-python": "drivers: from mysql.connector"},
    "flask": {"flask-sqlalchemy": "flask: from flask_sqlalchemy"},
    "cli": {"click": "cli: import click", "rich": "cli: from rich"},
    "lab": {
        "pymysql": "lab: import pymysql",
        "cryptography": "lab: import cryptography",
        "gunicorn": 'lab: "gunicorn"',
    },
}
"""The packages that each extra brings, and where the code has a use for them."""


def test_holdfast_needs_sqlalchemy_and_its_extras_bring_these(built: Built) -> None:
    needed, extras = set(), {name: set[str]() for name in built.metadata.get_all("Provides-Extra") or []}
    for requirement in built.metadata.get_all("Requires-Dist") or []:
        package = re.split(r"[^\w-]", requirement)[0]
        if extra := re.search(r"extra == '(\w+)'", requirement):
            extras[extra[1]].add(package)
        else:
            needed.add(package)
    assert needed == {"sqlalchemy"}
    assert extras == {name: set(packages) for name, packages in EXTRAS.items()}


@pytest.mark.parametrize("use", sorted({use for packages in EXTRAS.values() for use in packages.values() if use}))
def test_no_extra_brings_what_nothing_uses(use: str) -> None:
    folder, code = use.split(": ")
    assert any(code in file.read_text() for file in (SOURCE / folder).rglob("*.py"))


def test_pymysql_asks_for_cryptography_itself() -> None:
    assert any(one.startswith("cryptography") for one in requires("PyMySQL") or ())
