"""gevent has patched Python; two drivers."""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import os  # noqa: E402

import sqlalchemy_holdfast as holdfast  # noqa: E402

engine = holdfast.create_engine(os.environ["DATABASE_URL"])
