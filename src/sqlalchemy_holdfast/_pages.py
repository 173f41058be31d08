"""The address of a page of the documentation, for the end of a message.

Where the documentation is stands in the package's metadata (``[project.urls]``) and nowhere else.
"""

from __future__ import annotations

import functools
import importlib.metadata

__all__ = ["page"]

_DISTRIBUTION = "sqlalchemy-holdfast"
_START = "index.md"


def page(name: str) -> str:
    """Return the address of a page, or an empty text where the package was not installed as one.

    :param name: the page's path without its ending, such as ``errors/1045``; behind a ``#`` the place in it.
    """
    start = _documentation()
    path, mark, place = name.partition("#")
    if not start.endswith(_START):
        return start
    return f"{start.removesuffix(_START)}{path}.md{mark}{place}"


@functools.cache
def _documentation() -> str:
    try:
        found = importlib.metadata.metadata(_DISTRIBUTION).get_all("Project-URL") or []
    except importlib.metadata.PackageNotFoundError:
        return ""
    return next(
        (address for name, _, address in (line.partition(", ") for line in found) if name == "Documentation"), ""
    )
