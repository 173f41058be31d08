"""Every pool option that is not needed or does harm, each on a database of its own."""

from __future__ import annotations

import os

from sqlalchemy import make_url
from sqlalchemy.orm import sessionmaker
from sqlalchemy.pool import NullPool, StaticPool

import sqlalchemy_holdfast as holdfast

url = make_url(os.environ["DATABASE_URL"])
null = holdfast.create_engine(url.set(database="a"), poolclass=NullPool)
pinging = holdfast.create_engine(url.set(database="b"), pool_pre_ping=True)
recycling = holdfast.create_engine(url.set(database="c"), pool_recycle=280)
unlimited = holdfast.create_engine(url.set(database="d"), max_overflow=-1)
echoing = holdfast.create_engine(url.set(database="e"), echo=True)
committing = holdfast.create_engine(url.set(database="f"), isolation_level="AUTOCOMMIT")
make_session = sessionmaker(committing)
shared = holdfast.create_engine(url.set(database="g"), poolclass=StaticPool)
off = holdfast.create_engine(url.set(database="h"), holdfast_enabled=False)
