"""Turns of untrusted sources, until somebody approves or rejects them."""

from __future__ import annotations

from sqlalchemy import Column, Float, Index, PrimaryKeyConstraint, Table, Text

from holdfast.backends.schema.base import metadata

held = Table(
    "held",
    metadata,
    Column("id", Text, nullable=False),
    Column("project", Text, nullable=False),
    Column("user_id", Text),
    Column("agent_id", Text),
    Column("app_id", Text),
    Column("run_id", Text),
    Column("messages", Text, nullable=False),
    Column("request", Text, nullable=False),
    Column("principal", Text, nullable=False),
    Column("principal_kind", Text, nullable=False),
    Column("via", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    PrimaryKeyConstraint("id"),
    sqlite_with_rowid=False,
)
Index("held_by_project", held.c.project, held.c.id)
