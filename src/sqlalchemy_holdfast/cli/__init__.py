"""The command ``holdfast``; ``python -m sqlalchemy_holdfast`` does the same.

Only argument parsing and presentation live here. What the commands need beyond holdfast itself is the extra ``cli``;
without it :func:`main` says so.
"""

from __future__ import annotations

__all__ = ["main"]

_NEEDED = ("click", "rich")


def main() -> None:
    """Run the command line.

    :raises SystemExit: always, with the exit status; when a package of the extra ``cli`` is missing, with a message
        that says what to install.
    """
    try:
        from .commands import cli
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _NEEDED:
            raise
        raise SystemExit(
            f"holdfast: the command line needs the package {missing}, which is not installed: "
            f"pip install {' '.join(_NEEDED)}"
        ) from None
    cli(prog_name="holdfast")
