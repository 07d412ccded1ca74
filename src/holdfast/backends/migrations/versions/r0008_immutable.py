"""Memories that never change."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.add_column("memories", sa.Column("immutable", sa.Integer(), nullable=True))


def downgrade() -> None:
    op.drop_column("memories", "immutable")
