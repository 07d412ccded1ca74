"""The directory: who may use the deployment, and what was set up for them."""

from __future__ import annotations

from sqlalchemy import (
    Column,
    Float,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
)

from holdfast.backends.schema.base import metadata

projects = Table(
    "projects",
    metadata,
    Column("id", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("description", Text),
    Column("settings", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    PrimaryKeyConstraint("id"),
    sqlite_with_rowid=False,
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Text, nullable=False),
    Column("project", Text, nullable=False),
    Column("label", Text, nullable=False),
    # of the secret half; the key itself is stored nowhere
    Column("digest", Text, nullable=False),
    Column("permissions", Text, nullable=False),
    # JSON lists; NULL: no restriction
    Column("users", Text),
    Column("agents", Text),
    Column("apps", Text),
    Column("runs", Text),
    Column("account", Text),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float),
    Column("revoked_at", Float),
    # end of a key that was changed for a new one
    Column("retires_at", Float),
    # NULL where it is trusted
    Column("trust", Text),
    PrimaryKeyConstraint("id"),
    sqlite_with_rowid=False,
)
Index("api_keys_by_project", api_keys.c.project)

# Apart from the keys, whose every change makes all processes forget what they know of them.
key_uses = Table(
    "key_uses",
    metadata,
    Column("id", Text, nullable=False),
    Column("project", Text, nullable=False),
    Column("at", Float, nullable=False),
    PrimaryKeyConstraint("id"),
    sqlite_with_rowid=False,
)

accounts = Table(
    "accounts",
    metadata,
    Column("id", Text, nullable=False),
    Column("email", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("password", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("onboarded", Integer, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    PrimaryKeyConstraint("id"),
    UniqueConstraint("email"),
    sqlite_with_rowid=False,
)

# Refresh tokens of accounts, good for one use.
sessions = Table(
    "sessions",
    metadata,
    Column("id", Text, nullable=False),
    Column("account", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    PrimaryKeyConstraint("id"),
    sqlite_with_rowid=False,
)
Index("sessions_by_account", sessions.c.account)

members = Table(
    "members",
    metadata,
    Column("project", Text, nullable=False),
    Column("email", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    PrimaryKeyConstraint("project", "email"),
    sqlite_with_rowid=False,
)

webhooks = Table(
    "webhooks",
    metadata,
    Column("id", Text, nullable=False),
    Column("project", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("url", Text, nullable=False),
    Column("event_types", Text, nullable=False),
    Column("secret", Text, nullable=False),
    Column("is_active", Integer, nullable=False),
    # number of the last change in `history` that deliveries were made of
    Column("fed", Integer, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    # signs too, until then
    Column("old_secret", Text),
    Column("old_secret_until", Float),
    PrimaryKeyConstraint("id"),
    sqlite_with_rowid=False,
)
Index("webhooks_by_project", webhooks.c.project)

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", Text, nullable=False),
    Column("project", Text, nullable=False),
    Column("webhook", Text, nullable=False),
    Column("event", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("change_no", Integer),
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("run_after", Float, nullable=False),
    Column("answer", Integer),
    Column("error", Text),
    Column("created_at", Float, nullable=False),
    Column("completed_at", Float),
    PrimaryKeyConstraint("id"),
    sqlite_with_rowid=False,
)
Index("deliveries_by_project", deliveries.c.project, deliveries.c.id)
Index("deliveries_due", deliveries.c.state, deliveries.c.run_after)
Index("deliveries_of_webhook", deliveries.c.webhook, deliveries.c.state, deliveries.c.id)

feedback = Table(
    "feedback",
    metadata,
    Column("project", Text, nullable=False),
    Column("memory_id", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("feedback", Text),
    Column("reason", Text),
    Column("at", Float, nullable=False),
    PrimaryKeyConstraint("project", "memory_id"),
    sqlite_with_rowid=False,
)

exports = Table(
    "exports",
    metadata,
    Column("id", Text, nullable=False),
    Column("project", Text, nullable=False),
    Column("request", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("result", Text),
    Column("memories", Text, nullable=False),
    Column("error", Text),
    Column("created_at", Float, nullable=False),
    Column("completed_at", Float),
    PrimaryKeyConstraint("id"),
    sqlite_with_rowid=False,
)
Index("exports_by_project", exports.c.project, exports.c.id)

# The version of a map is what the next one must follow.
shard_maps = Table(
    "shard_maps",
    metadata,
    Column("collection", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("value", Text, nullable=False),
    PrimaryKeyConstraint("collection"),
    sqlite_with_rowid=False,
)
