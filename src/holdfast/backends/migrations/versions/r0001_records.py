"""Records: turns, memories, vectors, sources, history, outbox, jobs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    _create_spaces()
    _create_counters()
    _create_entities()
    _create_messages()
    _create_memories()
    _index_memories()
    _create_embeddings()
    _create_sources()
    _create_history()
    _create_outbox()
    _create_jobs()
    if op.get_context().dialect.name == "postgresql":
        from holdfast.backends.postgres.ddl import OWN

        for statement in OWN:
            op.execute(statement)
        return
    op.execute("INSERT INTO counters (name, value) VALUES ('generation', 0)")


def downgrade() -> None:
    op.drop_table("jobs")
    op.drop_table("outbox")
    op.drop_table("history")
    op.drop_table("sources")
    op.drop_table("embeddings")
    op.drop_table("memories")
    op.drop_table("messages")
    op.drop_table("entities")
    op.drop_table("counters")
    op.drop_table("spaces")


def _create_spaces() -> None:
    op.create_table(
        "spaces",
        sa.Column("no", sa.Integer(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("dimensions", sa.Integer(), nullable=False),
        sa.Column("normalised", sa.Integer(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("no"),
        sa.UniqueConstraint("provider", "model", "dimensions", "normalised"),
    )


def _create_counters() -> None:
    op.create_table(
        "counters",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
        sqlite_with_rowid=False,
    )


def _create_entities() -> None:
    op.create_table(
        "entities",
        sa.Column("no", sa.Integer(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("memories", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("updated_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("no"),
        sa.UniqueConstraint("project", "kind", "id"),
    )


def _create_messages() -> None:
    op.create_table(
        "messages",
        sa.Column("no", sa.Integer(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=True),
        sa.Column("agent_id", sa.Text(), nullable=True),
        sa.Column("app_id", sa.Text(), nullable=True),
        sa.Column("run_id", sa.Text(), nullable=True),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("actor_id", sa.Text(), nullable=True),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("event_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("no"),
        sa.UniqueConstraint("project", "id"),
    )


def _create_memories() -> None:
    op.create_table(
        "memories",
        sa.Column("no", sa.Integer(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("identity", sa.LargeBinary(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=True),
        sa.Column("agent_id", sa.Text(), nullable=True),
        sa.Column("app_id", sa.Text(), nullable=True),
        sa.Column("run_id", sa.Text(), nullable=True),
        sa.Column("actor_id", sa.Text(), nullable=True),
        sa.Column("role", sa.Text(), nullable=True),
        sa.Column("metadata", sa.Text(), nullable=True),
        sa.Column("categories", sa.Text(), nullable=True),
        sa.Column("listed", sa.Integer(), nullable=False),
        sa.Column("event_at", sa.Float(), nullable=False),
        sa.Column("valid_from", sa.Float(), nullable=True),
        sa.Column("valid_to", sa.Float(), nullable=True),
        sa.Column("superseded_by", sa.Text(), nullable=True),
        sa.Column("expires_on", sa.Text(), nullable=True),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("updated_at", sa.Float(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("terms", sa.LargeBinary(), nullable=False),
        sa.Column("flags", sa.Integer(), nullable=False),
        sa.Column("words", sa.Integer(), nullable=False),
        sa.Column("speaker", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("no"),
        sa.UniqueConstraint("project", "id"),
        sa.UniqueConstraint("project", "identity"),
        sqlite_autoincrement=True,
    )


def _index_memories() -> None:
    op.create_index(
        "memories_by_agent",
        "memories",
        ["project", "agent_id", "no"],
        unique=False,
        sqlite_where=sa.text("agent_id IS NOT NULL"),
        postgresql_where=sa.text("agent_id IS NOT NULL"),
    )
    op.create_index(
        "memories_by_app",
        "memories",
        ["project", "app_id", "no"],
        unique=False,
        sqlite_where=sa.text("app_id IS NOT NULL"),
        postgresql_where=sa.text("app_id IS NOT NULL"),
    )
    op.create_index(
        "memories_by_run",
        "memories",
        ["project", "run_id", "no"],
        unique=False,
        sqlite_where=sa.text("run_id IS NOT NULL"),
        postgresql_where=sa.text("run_id IS NOT NULL"),
    )
    op.create_index(
        "memories_by_user",
        "memories",
        ["project", "user_id", "no"],
        unique=False,
        sqlite_where=sa.text("user_id IS NOT NULL"),
        postgresql_where=sa.text("user_id IS NOT NULL"),
    )


def _create_embeddings() -> None:
    op.create_table(
        "embeddings",
        sa.Column("memory_no", sa.Integer(), nullable=False),
        sa.Column("space_no", sa.Integer(), nullable=False),
        sa.Column("vector", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("memory_no", "space_no"),
        sqlite_with_rowid=False,
    )


def _create_sources() -> None:
    op.create_table(
        "sources",
        sa.Column("memory_no", sa.Integer(), nullable=False),
        sa.Column("message_no", sa.Integer(), nullable=False),
        sa.Column("quote", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("memory_no", "message_no"),
        sqlite_with_rowid=False,
    )
    op.create_index("sources_by_message", "sources", ["message_no"], unique=False)


def _create_history() -> None:
    op.create_table(
        "history",
        sa.Column("no", sa.Integer(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("memory_id", sa.Text(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("old_memory", sa.Text(), nullable=True),
        sa.Column("new_memory", sa.Text(), nullable=True),
        sa.Column("actor_id", sa.Text(), nullable=True),
        sa.Column("role", sa.Text(), nullable=True),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("updated_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("no"),
    )
    op.create_index("history_by_memory", "history", ["project", "memory_id"], unique=False)


def _create_outbox() -> None:
    op.create_table(
        "outbox",
        sa.Column("entity_no", sa.Integer(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("memory_no", sa.Integer(), nullable=False),
        sa.Column("memory_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("entity_no", "generation", "memory_no"),
        sqlite_with_rowid=False,
    )
    op.create_index("outbox_by_generation", "outbox", ["generation"], unique=False)


def _create_jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("no", sa.Integer(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("scope_key", sa.Text(), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=True),
        sa.Column("fingerprint", sa.Text(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("run_after", sa.Float(), nullable=False),
        sa.Column("lease_owner", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.Float(), nullable=True),
        sa.Column("result", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("started_at", sa.Float(), nullable=True),
        sa.Column("completed_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("no"),
        sa.UniqueConstraint("project", "id"),
        sa.UniqueConstraint("project", "idempotency_key"),
    )
    op.create_index(
        "jobs_unfinished",
        "jobs",
        ["project", "scope_key", "no"],
        unique=False,
        sqlite_where=sa.text("state IN ('PENDING', 'RUNNING')"),
        postgresql_where=sa.text("state IN ('PENDING', 'RUNNING')"),
    )
