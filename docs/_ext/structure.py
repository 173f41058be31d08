"""`{holdfast-layers}`: the rooms of the package, made from the table that the tests keep to."""

from __future__ import annotations

import ast
import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tables import Generated

if TYPE_CHECKING:
    from sphinx.application import Sphinx

__all__ = ["setup"]

TOP = Path(__file__).resolve().parents[2]
PACKAGE = TOP / "src" / "sqlalchemy_holdfast"
TABLE = TOP / "tests" / "promises" / "layers.py"


def purpose_of(room: str) -> str:
    """The first sentence of a module's or a package's docstring, without its links."""
    path = PACKAGE / room / "__init__.py" if (PACKAGE / room).is_dir() else PACKAGE / f"{room}.py"
    text = " ".join((ast.get_docstring(ast.parse(path.read_text())) or "").split("\n\n")[0].split())
    return re.sub(r":\w+:`~?\.?([^`]+)`", r"`\1`", text.replace("``", "`"))


class Layers(Generated):
    """The picture, and the table."""

    def lines(self) -> Iterator[str]:
        layers = runpy.run_path(str(TABLE))
        floors = [tuple(name for name in floor if not name.startswith("_")) for floor in layers["FLOORS"]]
        top = [name for name in layers["ON_TOP"] if not name.startswith("_")]
        picture = [top, *(floor for floor in floors if floor)]
        width = max(len("   ".join(floor)) for floor in picture)
        yield "```text"
        yield from ("   ".join(floor).center(width).rstrip() for floor in picture)
        yield "```"
        yield "\nEach imports from the lines below its own, never from above or beside it. A test keeps that.\n"
        yield "| room | what it knows |"
        yield "|---|---|"
        for floor in picture:
            for room in floor:
                yield f"| `{room}` | {purpose_of(room)} |"
        yield "\nInside of `pool`, in the same order:\n"
        yield "| module | what it knows |"
        yield "|---|---|"
        for floor in layers["POOL"]:
            for module in floor:
                if module != "__init__":
                    yield f"| `{module}` | {purpose_of(f'pool/{module}')} |"


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("holdfast-layers", Layers)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
