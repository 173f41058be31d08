"""What has changed since the last release: the files of changes/, by kind, for the page on changes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tables import Generated

if TYPE_CHECKING:
    from sphinx.application import Sphinx

__all__ = ["setup"]

CHANGES = Path(__file__).resolve().parents[2] / "changes"
KINDS = ("added", "changed", "fixed", "removed")
"""In the order in which they are shown; changes/README.md explains them."""


class Unreleased(Generated):
    """`{holdfast-unreleased}`: a list for each kind of change, or a line that says that there is none."""

    def lines(self) -> Iterator[str]:
        name = re.compile(rf".+\.({'|'.join(KINDS)})\.md")
        files = [file for file in sorted(CHANGES.glob("*.md")) if name.fullmatch(file.name)]
        if not files:
            yield "Nothing yet."
        for kind in KINDS:
            those = [file for file in files if file.name.endswith(f".{kind}.md")]
            if those:
                yield f"### {kind.capitalize()}\n"
            for file in those:
                self.env.note_dependency(str(file))
                text = file.read_text(encoding="utf-8").strip()
                yield "* " + text.replace("\n", "\n  ") + "\n"


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("holdfast-unreleased", Unreleased)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
