"""Vectors in a table of numbered rows: in a tree of keys each spilled over to a page of its own.

On SQLite an add wrote eleven pages of vectors to the log, and writes two and a half now.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    _made_anew(with_rowid=True)


def downgrade() -> None:
    _made_anew(with_rowid=False)


def _made_anew(*, with_rowid: bool) -> None:
    if op.get_bind().dialect.name != "sqlite":  # others have no such tables
        return
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
        f"INSERT INTO embeddings ({columns}) SELECT {columns} FROM embeddings_before "
        "ORDER BY memory_no, space_no"
    )
    op.drop_table("embeddings_before")
