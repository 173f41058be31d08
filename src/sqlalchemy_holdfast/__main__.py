"""``python -m sqlalchemy_holdfast``: the command ``holdfast``, for where it is not on the PATH."""

from __future__ import annotations

from .cli import main

if __name__ == "__main__":
    main()
