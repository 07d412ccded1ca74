"""Memories that never change."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("memories", sa.Column("immutable", sa.Integer(), nullable=True))


def downgrade() -> None:
    op.drop_column("memories", "immutable")
