"""``python -m sqlalchemy_holdfast`` does what the command ``holdfast`` does."""

from __future__ import annotations

from .cli import main

if __name__ == "__main__":
    main()
