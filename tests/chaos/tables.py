"""The ledger and the accounts that random operations write to, and the statements that do."""

from __future__ import annotations

from sqlalchemy import BigInteger, Integer, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

PER_THREAD = 10_000_000
"""Tokens of one thread begin at its number times this."""
ROWS = text("WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300) SELECT :k * i FROM n")


class Base(DeclarativeBase):
    pass


class Entry(Base):
    # The token is not unique on purpose: a doubled write must be able to happen.
    __tablename__ = "chaos_ledger"
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    token: Mapped[int] = mapped_column(BigInteger, index=True)
    value: Mapped[int] = mapped_column(Integer)


class Account(Base):
    __tablename__ = "chaos_account"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    total: Mapped[int] = mapped_column(BigInteger)


INSERT = text("INSERT INTO chaos_ledger (token, value) VALUES (:token, :value)")
FIND = text("SELECT value FROM chaos_ledger WHERE token = :token")
LOCK = text("SELECT value FROM chaos_ledger WHERE token = :token FOR UPDATE")
ADD = text("UPDATE chaos_account SET total = total + :amount WHERE id = :id")


def value_of(token: int) -> int:
    return token * 7919 % 1_000_003
