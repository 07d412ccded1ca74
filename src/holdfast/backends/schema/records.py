"""Memories, what they came from, and the work on them."""

from __future__ import annotations

from sqlalchemy import (
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from holdfast.backends.schema.base import metadata

spaces = Table(
    "spaces",
    metadata,
    Column("no", Integer, primary_key=True),
    Column("provider", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("dimensions", Integer, nullable=False),
    Column("normalised", Integer, nullable=False),
    # 'active': searched; 'shadow': being filled; 'retired': kept for a roll-back
    Column("status", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    UniqueConstraint("provider", "model", "dimensions", "normalised"),
)

counters = Table(
    "counters",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Integer, nullable=False),
    sqlite_with_rowid=False,
)

# What texts are sealed with: a key of each subject's own, itself encrypted by a master key.
subject_keys = Table(
    "subject_keys",
    metadata,
    Column("project", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("version", Integer, nullable=False),
    # the name of the master key; it is not stored here
    Column("key_id", Text, nullable=False),
    # NULL: destroyed, and what was sealed with it is lost for good
    Column("wrapped", LargeBinary),
    Column("created_at", Float, nullable=False),
    PrimaryKeyConstraint("project", "kind", "id", "version"),
    sqlite_with_rowid=False,
)

entities = Table(
    "entities",
    metadata,
    Column("no", Integer, primary_key=True),
    Column("project", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("id", Text, nullable=False),
    # number of the last transaction that touched the entity
    Column("generation", Integer, nullable=False),
    Column("memories", Integer, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    UniqueConstraint("project", "kind", "id"),
)

messages = Table(
    "messages",
    metadata,
    Column("no", Integer, primary_key=True),
    Column("id", Text, nullable=False),
    Column("project", Text, nullable=False),
    Column("user_id", Text),
    Column("agent_id", Text),
    Column("app_id", Text),
    Column("run_id", Text),
    Column("role", Text, nullable=False),
    Column("actor_id", Text),
    Column("text", Text, nullable=False),
    Column("event_at", Float, nullable=False),
    UniqueConstraint("project", "id"),
)

memories = Table(
    "memories",
    metadata,
    Column("no", Integer, primary_key=True),
    Column("id", Text, nullable=False),
    Column("project", Text, nullable=False),
    Column("identity", LargeBinary, nullable=False),
    Column("kind", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("hash", Text, nullable=False),
    Column("user_id", Text),
    Column("agent_id", Text),
    Column("app_id", Text),
    Column("run_id", Text),
    Column("actor_id", Text),
    Column("role", Text),
    Column("metadata", Text),
    Column("categories", Text),
    Column("listed", Integer, nullable=False),
    Column("event_at", Float, nullable=False),
    Column("valid_from", Float),
    Column("valid_to", Float),
    Column("superseded_by", Text),
    Column("expires_on", Text),
    Column("created_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    Column("version", Integer, nullable=False),
    Column("terms", LargeBinary, nullable=False),
    Column("flags", Integer, nullable=False),
    Column("words", Integer, nullable=False),
    Column("speaker", Integer, nullable=False),
    # NULL, as in rows of before there was this column: it may change
    Column("immutable", Integer),
    UniqueConstraint("project", "id"),
    # duplicates are impossible, not unlikely
    UniqueConstraint("project", "identity"),
    sqlite_autoincrement=True,
)

# A memory is found through any entity it belongs to, in insertion order.
for _kind in ("user", "agent", "app", "run"):
    Index(
        f"memories_by_{_kind}",
        memories.c.project,
        memories.c[f"{_kind}_id"],
        memories.c.no,
        sqlite_where=text(f"{_kind}_id IS NOT NULL"),
        postgresql_where=text(f"{_kind}_id IS NOT NULL"),
    )

# The few that listings do not show: the others are counted by what is left.
ASIDE = "listed = 0 OR valid_to IS NOT NULL"
Index("memories_aside", memories.c.project, sqlite_where=text(ASIDE), postgresql_where=text(ASIDE))

embeddings = Table(
    "embeddings",
    metadata,
    Column("memory_no", Integer, nullable=False),
    Column("space_no", Integer, nullable=False),
    # float32, little-endian
    Column("vector", LargeBinary, nullable=False),
    # SQLite: with a rowid, for in an index a vector would take a page of its own
    PrimaryKeyConstraint("memory_no", "space_no"),
)
# A vector is a kilobyte and more: whoever counts them does not look at them.
Index("embeddings_by_space", embeddings.c.space_no)

sources = Table(
    "sources",
    metadata,
    Column("memory_no", Integer, nullable=False),
    Column("message_no", Integer, nullable=False),
    Column("quote", Text, nullable=False),
    PrimaryKeyConstraint("memory_no", "message_no"),
    sqlite_with_rowid=False,
)
Index("sources_by_message", sources.c.message_no)

history = Table(
    "history",
    metadata,
    Column("no", Integer, primary_key=True),
    Column("id", Text, nullable=False),
    Column("project", Text, nullable=False),
    Column("memory_id", Text, nullable=False),
    Column("event", Text, nullable=False),
    Column("old_memory", Text),
    Column("new_memory", Text),
    Column("actor_id", Text),
    Column("role", Text),
    Column("created_at", Float, nullable=False),
    Column("updated_at", Float),
    # whose memory it was, so that a deleted one is still told to nobody else
    Column("user_id", Text),
    Column("agent_id", Text),
    Column("app_id", Text),
    Column("run_id", Text),
    # 0: a raw turn beside facts, which no webhook is told of
    Column("listed", Integer, nullable=False, server_default=text("1")),
    # how it came about and who made it, without content; NULL: from before this was kept
    Column("origin", Text),
    # 1: it came in a backup of another store, which was merged into this one
    Column("restored", Integer),
    # the feed of changes tells no number twice, whatever was deleted in between
    sqlite_autoincrement=True,
)
Index("history_by_memory", history.c.project, history.c.memory_id)
# Whoever is forgotten is forgotten in what was deleted before as well; only deletions cost here.
for _kind in ("user", "agent", "app", "run"):
    Index(
        f"history_deleted_by_{_kind}",
        history.c.project,
        history.c[f"{_kind}_id"],
        sqlite_where=text(f"event = 'DELETE' AND {_kind}_id IS NOT NULL"),
        postgresql_where=text(f"event = 'DELETE' AND {_kind}_id IS NOT NULL"),
    )

# Index work, written in the record's own transaction: which memory of which entity changed.
outbox = Table(
    "outbox",
    metadata,
    Column("entity_no", Integer, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("memory_no", Integer, nullable=False),
    Column("memory_id", Text, nullable=False),
    PrimaryKeyConstraint("entity_no", "generation", "memory_no"),
    sqlite_with_rowid=False,
)
Index("outbox_by_generation", outbox.c.generation)

jobs = Table(
    "jobs",
    metadata,
    Column("no", Integer, primary_key=True),
    Column("id", Text, nullable=False),
    Column("project", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False),
    # jobs of one scope run one after the other
    Column("scope_key", Text, nullable=False),
    Column("payload", Text, nullable=False),
    Column("idempotency_key", Text),
    Column("fingerprint", Text),
    Column("attempts", Integer, nullable=False),
    Column("run_after", Float, nullable=False),
    Column("lease_owner", Text),
    Column("lease_until", Float),
    Column("result", Text),
    Column("error", Text),
    Column("error_code", Text),
    Column("created_at", Float, nullable=False),
    Column("started_at", Float),
    Column("completed_at", Float),
    UniqueConstraint("project", "id"),
    UniqueConstraint("project", "idempotency_key"),
)
# The queue itself stays small: only unfinished jobs are in it.
Index(
    "jobs_unfinished",
    jobs.c.project,
    jobs.c.scope_key,
    jobs.c.no,
    sqlite_where=text("state IN ('PENDING', 'RUNNING')"),
    postgresql_where=text("state IN ('PENDING', 'RUNNING')"),
)
Index(
    "jobs_failed",
    jobs.c.project,
    sqlite_where=text("state = 'FAILED'"),
    postgresql_where=text("state = 'FAILED'"),
)
