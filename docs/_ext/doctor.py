"""`{holdfast-checks}`: the checks of `holdfast doctor`, a table for each group, made from the code."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tables import Generated

from sqlalchemy_holdfast.doctor.check import GROUPS
from sqlalchemy_holdfast.doctor.checks import CHECKS

if TYPE_CHECKING:
    from sphinx.application import Sphinx

__all__ = ["setup"]


class Checks(Generated):
    """The tables."""

    def lines(self) -> Iterator[str]:
        for group in GROUPS:
            found = [check for check in CHECKS if check.group == group]
            if not found:
                continue
            yield f"### `{group}`\n"
            yield "| id | severity | what is the matter |"
            yield "|---|---|---|"
            for check in found:
                yield f"| [{check.id}](doctor/{check.id}.md) | {check.severity.value} | {check.title} |"
            yield ""


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("holdfast-checks", Checks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
