"""What calls cost, and budgets for it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_NEW = (
    ("cache_write_tokens", sa.Integer()),
    ("key_id", sa.Text()),
    ("nano_usd", sa.Integer()),
    ("price_version", sa.Text()),
)


def upgrade() -> None:
    for name, kind in _NEW:
        op.add_column("usage", sa.Column(name, kind, nullable=True))
    _create_budgets()
    _create_budget_periods()


def downgrade() -> None:
    op.drop_table("budget_periods")
    op.drop_table("budgets")
    for name, _ in reversed(_NEW):
        op.drop_column("usage", name)


def _create_budgets() -> None:
    op.create_table(
        "budgets",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("amount", sa.Integer(), nullable=False),
        sa.Column("at_limit", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("updated_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("project", "kind", "subject", "period", "unit"),
        sqlite_with_rowid=False,
    )


def _create_budget_periods() -> None:
    op.create_table(
        "budget_periods",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("budget", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("since", sa.Float(), nullable=False),
        sa.Column("spent", sa.Integer(), nullable=False),
        sa.Column("held", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("project", "budget", "subject", "since"),
        sqlite_with_rowid=False,
    )
