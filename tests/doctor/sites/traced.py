"""OpenTelemetry has wrapped PyMySQL's connect."""

from __future__ import annotations

import os

from opentelemetry.instrumentation.pymysql import PyMySQLInstrumentor

PyMySQLInstrumentor().instrument()

import sqlalchemy_holdfast as holdfast  # noqa: E402

engine = holdfast.create_engine(os.environ["DATABASE_URL"])
