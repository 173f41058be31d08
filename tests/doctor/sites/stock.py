"""An engine without holdfast, which nothing uses yet."""

from __future__ import annotations

import os

from sqlalchemy import create_engine

engine = create_engine(os.environ["DATABASE_URL"])
