"""The audit: who did what, linked row by row."""

from __future__ import annotations

from sqlalchemy import Column, Float, Index, Integer, PrimaryKeyConstraint, Table, Text, text

from holdfast.backends.schema.base import metadata

audit = Table(
    "audit",
    metadata,
    Column("project", Text, nullable=False),
    Column("no", Integer, nullable=False),
    Column("at", Float, nullable=False),
    Column("action", Text, nullable=False),
    Column("sort", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("code", Text),
    Column("principal", Text, nullable=False),
    Column("principal_kind", Text, nullable=False),
    Column("via", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("request_id", Text, nullable=False),
    # whose memories; "*" stands for any of the kind
    Column("user_id", Text),
    Column("agent_id", Text),
    Column("app_id", Text),
    Column("run_id", Text),
    Column("target", Text),
    Column("count", Integer),
    # "store" or "sealed": which key the hash was made with
    Column("keyed", Text, nullable=False),
    Column("previous", Text, nullable=False),
    Column("hash", Text, nullable=False),
    PrimaryKeyConstraint("project", "no"),
    sqlite_with_rowid=False,
)
Index(
    "audit_by_user",
    audit.c.project,
    audit.c.user_id,
    audit.c.no,
    sqlite_where=text("user_id IS NOT NULL"),
    postgresql_where=text("user_id IS NOT NULL"),
)

# The end of each chain, and where it begins since rows were pruned. Whoever appends locks it.
audit_heads = Table(
    "audit_heads",
    metadata,
    Column("project", Text, nullable=False),
    Column("no", Integer, nullable=False),
    Column("hash", Text, nullable=False),
    Column("base_no", Integer, nullable=False),
    Column("base_hash", Text, nullable=False),
    Column("keyed", Text, nullable=False),
    Column("mac", Text, nullable=False),
    PrimaryKeyConstraint("project"),
    sqlite_with_rowid=False,
)
