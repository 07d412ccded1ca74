"""That subjects were erased, and what the receipts of that are signed with."""

from __future__ import annotations

from sqlalchemy import Column, Float, Index, PrimaryKeyConstraint, Table, Text, text

from holdfast.backends.schema.base import metadata

erasures = Table(
    "erasures",
    metadata,
    Column("id", Text, nullable=False),
    Column("project", Text, nullable=False),
    Column("kind", Text, nullable=False),
    # keyed hash of the subject
    Column("mark", Text, nullable=False),
    # the subject itself, until it is erased
    Column("subject", Text),
    Column("state", Text, nullable=False),
    Column("found", Text, nullable=False),
    Column("remains", Text, nullable=False),
    Column("receipt", Text),
    Column("started_at", Float, nullable=False),
    Column("completed_at", Float),
    PrimaryKeyConstraint("id"),
    sqlite_with_rowid=False,
)
Index("erasures_by_mark", erasures.c.project, erasures.c.mark)
# Every commit asks whether somebody of its project is being erased.
Index(
    "erasures_running",
    erasures.c.project,
    sqlite_where=text("state = 'RUNNING'"),
    postgresql_where=text("state = 'RUNNING'"),
)

signing_keys = Table(
    "signing_keys",
    metadata,
    Column("id", Text, nullable=False),
    Column("project", Text, nullable=False),
    Column("algorithm", Text, nullable=False),
    Column("secret", Text, nullable=False),
    Column("public", Text),
    Column("created_at", Float, nullable=False),
    PrimaryKeyConstraint("id"),
    sqlite_with_rowid=False,
)
