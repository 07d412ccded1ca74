"""SQLite: vectors in ordinary rows, three of a kilobyte to a page.

A table without rowids keeps whole rows in its index, and what is above a quarter of a page goes to
a page of its own: a vector of 256 floats took 4.6 kB.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"

_INDEX: Final = "embeddings_by_space"


def upgrade() -> None:
    _remake(with_rowid=True)


def downgrade() -> None:
    _remake(with_rowid=False)


def _remake(*, with_rowid: bool) -> None:
    """Make the table anew, with the same rows."""
    if op.get_bind().dialect.name != "sqlite":
        return
    op.drop_index(_INDEX, "embeddings")
    op.rename_table("embeddings", "embeddings_before")
    op.create_table(
        "embeddings",
        sa.Column("memory_no", sa.Integer(), nullable=False),
        sa.Column("space_no", sa.Integer(), nullable=False),
        sa.Column("vector", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("memory_no", "space_no"),
        sqlite_with_rowid=with_rowid,
    )
    columns = "memory_no, space_no, vector"
    op.execute(
        f"INSERT INTO embeddings ({columns}) "
        f"SELECT {columns} FROM embeddings_before ORDER BY memory_no, space_no"
    )
    op.drop_table("embeddings_before")
    op.create_index(_INDEX, "embeddings", ["space_no"])
