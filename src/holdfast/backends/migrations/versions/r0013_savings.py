"""What caches save, in the ledger."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"

_NEW = ("saved_nano_usd", "spared_calls", "spared_tokens", "spared_nano_usd")


def upgrade() -> None:
    for name in _NEW:
        op.add_column("usage", sa.Column(name, sa.Integer(), nullable=True))


def downgrade() -> None:
    for name in reversed(_NEW):
        op.drop_column("usage", name)
