"""What the doctor notes of an engine's pool. Nothing is connected to."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from sqlalchemy_holdfast.doctor.application.engines import pool_of


@pytest.mark.parametrize("recycle", [-1, 0, 280])
@pytest.mark.parametrize("pool", [{}, {"poolclass": NullPool}], ids=["QueuePool", "NullPool"])
def test_a_pool_recycle_of_nothing_is_not_taken_for_off(pool: dict[str, Any], recycle: int) -> None:
    engine = create_engine("mysql+pymysql://app@127.0.0.1:1/test", pool_recycle=recycle, **pool)
    assert pool_of(engine).recycle == recycle
