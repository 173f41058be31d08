"""When each entry was written."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("entry", sa.Column("written_at", sa.DateTime(), nullable=True))


def downgrade() -> None:
    op.drop_column("entry", "written_at")
