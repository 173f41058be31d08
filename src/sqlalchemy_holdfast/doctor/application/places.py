"""Which line of the application is running: the innermost frame that belongs neither to Python nor to a library."""

from __future__ import annotations

import os
import sysconfig
from pathlib import Path
from types import FrameType

from .facts import Place

__all__ = ["APPLICATIONS", "application_frame", "is_library", "place_of", "shown"]

APPLICATIONS: set[str] = set()
"""Packages that are the application although they are installed like a library."""

_OWN = __name__.partition(".")[0]
_IMPORTING = f"{__name__.rpartition('.')[0]}.importing"
_LIBRARIES = tuple(
    os.path.join(os.path.realpath(path), "")
    for name, path in sysconfig.get_paths().items()
    if name in ("stdlib", "platstdlib", "purelib", "platlib")
)
_FOLDERS = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")


def is_library(file: str) -> bool:
    """Say whether a file is Python's own or of an installed package."""
    real = os.path.realpath(file)
    return any(folder in real for folder in _FOLDERS) or real.startswith(_LIBRARIES)


def application_frame(frame: FrameType | None) -> FrameType | None:
    """Return the innermost frame of the application's own code, from a frame outwards."""
    while frame is not None:
        module: str = frame.f_globals.get("__name__") or ""
        if module in (_IMPORTING, "__main__"):  # beyond it is only what imports the application
            return None
        file, package = frame.f_code.co_filename, module.partition(".")[0]
        if package in APPLICATIONS or (package != _OWN and not file.startswith("<") and not is_library(file)):
            return frame
        frame = frame.f_back
    return None


def place_of(frame: FrameType | None, directory: Path) -> Place | None:
    """Say where the application is: the line of :func:`application_frame`.

    :param directory: what file names are shown relative to.
    """
    found = application_frame(frame)
    if found is None:
        return None
    code = found.f_code
    return Place(shown(code.co_filename, directory), found.f_lineno, "" if code.co_name == "<module>" else code.co_name)


def shown(file: str | Path, directory: Path) -> str:
    """Return a file's name as it is shown: relative to a directory when it is in there."""
    real = Path(os.path.realpath(file))
    return str(real.relative_to(directory)) if real.is_relative_to(directory) else str(real)
