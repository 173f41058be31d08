"""Pool options that are anybody's own choice, each on a database of its own."""

from __future__ import annotations

import os

from sqlalchemy import create_engine, make_url
from sqlalchemy.orm import sessionmaker
from sqlalchemy.pool import NullPool

import sqlalchemy_holdfast as holdfast

url = make_url(os.environ["DATABASE_URL"])
small = holdfast.create_engine(url.set(database="a"), pool_size=1, max_overflow=0, pool_timeout=5)
for_reports = small.execution_options(isolation_level="AUTOCOMMIT")
make_session = sessionmaker(small)
monitor = holdfast.create_engine(url.set(database="b"), isolation_level="AUTOCOMMIT")
elsewhere = create_engine("sqlite://", poolclass=NullPool, echo=True)
