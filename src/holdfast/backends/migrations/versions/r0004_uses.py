"""When keys were used last, when replaced ones end, and a webhook's secret before the last."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("api_keys", sa.Column("retires_at", sa.Float(), nullable=True))
    op.add_column("webhooks", sa.Column("old_secret", sa.Text(), nullable=True))
    op.add_column("webhooks", sa.Column("old_secret_until", sa.Float(), nullable=True))
    op.create_table(
        "key_uses",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    op.drop_table("key_uses")
    op.drop_column("webhooks", "old_secret_until")
    op.drop_column("webhooks", "old_secret")
    op.drop_column("api_keys", "retires_at")
