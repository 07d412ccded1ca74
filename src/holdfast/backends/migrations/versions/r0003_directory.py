"""The directory of a deployment, and whose memory a change in history was about."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_TABLES = (
    "projects",
    "api_keys",
    "accounts",
    "sessions",
    "members",
    "webhooks",
    "deliveries",
    "feedback",
    "exports",
)

_OWNERS = ("user_id", "agent_id", "app_id", "run_id")


def upgrade() -> None:
    _widen_history()
    for create in (
        _create_projects,
        _create_api_keys,
        _create_accounts,
        _create_sessions,
        _create_members,
        _create_webhooks,
        _create_deliveries,
        _create_feedback,
        _create_exports,
    ):
        create()


def downgrade() -> None:
    for table in reversed(_TABLES):
        op.drop_table(table)
    for name in _OWNERS:
        op.drop_index(f"history_deleted_by_{name.removesuffix('_id')}", "history")
    for name in (*_OWNERS, "listed"):
        op.drop_column("history", name)


def _widen_history() -> None:
    """What is known of memories that are still there; nobody knows whose the others were.

    SQLite takes no AUTOINCREMENT into a table that is there, so there it is made anew.
    """
    if op.get_context().dialect.name == "postgresql":
        _add_owners()
    else:
        _make_history_anew()
    for name in _OWNERS:
        deleted = sa.text(f"event = 'DELETE' AND {name} IS NOT NULL")
        op.create_index(
            f"history_deleted_by_{name.removesuffix('_id')}",
            "history",
            ["project", name],
            sqlite_where=deleted,
            postgresql_where=deleted,
        )


def _add_owners() -> None:
    for name in _OWNERS:
        op.add_column("history", sa.Column(name, sa.Text(), nullable=True))
    listed = sa.Column("listed", sa.Integer(), nullable=False, server_default=sa.text("1"))
    op.add_column("history", listed)
    owners = ", ".join(f"{name} = m.{name}" for name in _OWNERS)
    op.execute(
        f"UPDATE history h SET {owners}, listed = m.listed FROM memories m "
        "WHERE m.project = h.project AND m.id = h.memory_id"
    )


def _make_history_anew() -> None:
    op.drop_index("history_by_memory", "history")
    op.rename_table("history", "history_before")
    _create_history()
    old = "no, id, project, memory_id, event, old_memory, new_memory, actor_id, role"
    copied = ", ".join(f"h.{name.strip()}" for name in f"{old}, created_at, updated_at".split(","))
    owners = ", ".join(f"m.{name}" for name in _OWNERS)
    op.execute(
        f"INSERT INTO history ({old}, created_at, updated_at, {', '.join(_OWNERS)}, listed) "
        f"SELECT {copied}, {owners}, coalesce(m.listed, 1) FROM history_before h "
        "LEFT JOIN memories m ON m.project = h.project AND m.id = h.memory_id ORDER BY h.no"
    )
    op.drop_table("history_before")
    op.create_index("history_by_memory", "history", ["project", "memory_id"])


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
        *(sa.Column(name, sa.Text(), nullable=True) for name in _OWNERS),
        sa.Column("listed", sa.Integer(), nullable=False, server_default=sa.text("1")),
        sa.PrimaryKeyConstraint("no"),
        sqlite_autoincrement=True,
    )


def _create_projects() -> None:
    op.create_table(
        "projects",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("settings", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("updated_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_with_rowid=False,
    )


def _create_api_keys() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("permissions", sa.Text(), nullable=False),
        sa.Column("users", sa.Text(), nullable=True),
        sa.Column("agents", sa.Text(), nullable=True),
        sa.Column("apps", sa.Text(), nullable=True),
        sa.Column("runs", sa.Text(), nullable=True),
        sa.Column("account", sa.Text(), nullable=True),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=True),
        sa.Column("revoked_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sqlite_with_rowid=False,
    )
    op.create_index("api_keys_by_project", "api_keys", ["project"])


def _create_accounts() -> None:
    op.create_table(
        "accounts",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("password", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("onboarded", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("updated_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("email"),
        sqlite_with_rowid=False,
    )


def _create_sessions() -> None:
    op.create_table(
        "sessions",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_with_rowid=False,
    )
    op.create_index("sessions_by_account", "sessions", ["account"])


def _create_members() -> None:
    op.create_table(
        "members",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("project", "email"),
        sqlite_with_rowid=False,
    )


def _create_webhooks() -> None:
    op.create_table(
        "webhooks",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("event_types", sa.Text(), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("is_active", sa.Integer(), nullable=False),
        sa.Column("fed", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("updated_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_with_rowid=False,
    )
    op.create_index("webhooks_by_project", "webhooks", ["project"])


def _create_deliveries() -> None:
    op.create_table(
        "deliveries",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("webhook", sa.Text(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("change_no", sa.Integer(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("run_after", sa.Float(), nullable=False),
        sa.Column("answer", sa.Integer(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("completed_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sqlite_with_rowid=False,
    )
    op.create_index("deliveries_by_project", "deliveries", ["project", "id"])
    op.create_index("deliveries_due", "deliveries", ["state", "run_after"])
    op.create_index("deliveries_of_webhook", "deliveries", ["webhook", "state", "id"])


def _create_feedback() -> None:
    op.create_table(
        "feedback",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("memory_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("feedback", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("project", "memory_id"),
        sqlite_with_rowid=False,
    )


def _create_exports() -> None:
    op.create_table(
        "exports",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("request", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("result", sa.Text(), nullable=True),
        sa.Column("memories", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("completed_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sqlite_with_rowid=False,
    )
    op.create_index("exports_by_project", "exports", ["project", "id"])
