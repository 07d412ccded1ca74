"""Indexes by which large tables are counted without being read."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"

_ASIDE: Final = sa.text("listed = 0 OR valid_to IS NOT NULL")
_FAILED: Final = sa.text("state = 'FAILED'")


def upgrade() -> None:
    op.create_index("embeddings_by_space", "embeddings", ["space_no"])
    op.create_index(
        "memories_aside", "memories", ["project"], sqlite_where=_ASIDE, postgresql_where=_ASIDE
    )
    op.create_index(
        "jobs_failed", "jobs", ["project"], sqlite_where=_FAILED, postgresql_where=_FAILED
    )


def downgrade() -> None:
    op.drop_index("jobs_failed", "jobs")
    op.drop_index("memories_aside", "memories")
    op.drop_index("embeddings_by_space", "embeddings")
