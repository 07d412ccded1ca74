"""How every change of a memory came about, and who made it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.add_column("history", sa.Column("origin", sa.Text(), nullable=True))
    op.add_column("history", sa.Column("restored", sa.Integer(), nullable=True))


def downgrade() -> None:
    op.drop_column("history", "restored")
    op.drop_column("history", "origin")
