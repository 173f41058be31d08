"""Writes docs/doctor/HF….md, a page for each check of `holdfast doctor`: python tools/doctor_pages.py

The text is in the checks themselves. The pages are files in the repository, because findings name their addresses.
A test compares them with the checks.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy_holdfast.doctor import Check
from sqlalchemy_holdfast.doctor.checks import CHECKS

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "doctor"

WHAT = {
    "url": "a database URL, or an engine",
    "server": "a connection to the server",
    "application": "an application that is examined (`--app`, or `flask holdfast doctor`)",
}


def page(check: Check) -> str:
    """A page's text."""
    needs = " and ".join(WHAT[need] for need in ("url", "server", "application") if need in check.needs)
    return f"""# {check.id}: {check.title}

{check.explanation}

## What to do

{check.cure}

## The check

Severity: {check.severity.value}, unless the finding says otherwise. Group: `{check.group}`. It needs {needs}.

    holdfast doctor --only {check.id}
    holdfast doctor --ignore {check.id}

[All checks](../doctor.md)
"""


def pages() -> dict[str, str]:
    """All pages' texts, by their files' names."""
    return {f"{check.id}.md": page(check) for check in CHECKS}


def main() -> None:
    """Write them, and remove those whose check is gone."""
    FOLDER.mkdir(exist_ok=True)
    for path in FOLDER.glob("*.md"):
        path.unlink()
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
