"""Postgres: the project in every row that has one, and in every key of a large table."""

from __future__ import annotations

from typing import Final

from alembic import op

revision = "0011"
down_revision = "0010"

# Each with the row its project stands in, and its key. The policies follow by themselves.
_OWNED: Final = (
    ("embeddings", "memories", "memory_no", "memory_no, space_no"),
    ("sources", "memories", "memory_no", "memory_no, message_no"),
    ("outbox", "entities", "entity_no", "entity_no, generation, memory_no"),
)
_NUMBERED: Final = ("entities", "messages", "memories", "history", "jobs", "usage")

_OF_PROJECT: Final = """
CREATE POLICY projects_of_project ON projects USING (
	id = (SELECT current_setting('holdfast.project', true))
	OR (SELECT current_setting('holdfast.reach', true)) = 'all'
)
"""


def upgrade() -> None:
    if op.get_bind().dialect.name != "postgresql":
        return
    op.execute("SELECT set_config('holdfast.reach', 'all', true)")
    for table, owner, number, key in _OWNED:
        _own(table, owner, number)
        _rekey(table, key)
    for table in _NUMBERED:
        _rekey(table, "no")
    op.execute("ALTER TABLE projects ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE projects FORCE ROW LEVEL SECURITY")
    op.execute(_OF_PROJECT)


def _own(table: str, owner: str, number: str) -> None:
    """Give the rows the project of the row they belong to; without one they are nobody's."""
    op.execute(f'ALTER TABLE {table} ADD COLUMN project TEXT COLLATE "C"')
    op.execute(f"UPDATE {table} t SET project = o.project FROM {owner} o WHERE o.no = t.{number}")
    op.execute(f"DELETE FROM {table} WHERE project IS NULL")
    op.execute(
        f"ALTER TABLE {table} ALTER COLUMN project SET NOT NULL, ALTER COLUMN project "
        "SET DEFAULT nullif(current_setting('holdfast.project', true), '')"
    )


def _rekey(table: str, key: str) -> None:
    op.execute(
        f"ALTER TABLE {table} DROP CONSTRAINT {table}_pkey, ADD PRIMARY KEY ({key}, project)"
    )


def downgrade() -> None:
    if op.get_bind().dialect.name != "postgresql":
        return
    op.execute("DROP POLICY projects_of_project ON projects")
    op.execute("ALTER TABLE projects DISABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE projects NO FORCE ROW LEVEL SECURITY")
    for table in _NUMBERED:
        op.execute(f"ALTER TABLE {table} DROP CONSTRAINT {table}_pkey, ADD PRIMARY KEY (no)")
    for table, _, _, key in _OWNED:
        op.execute(f"DROP POLICY IF EXISTS {table}_of_project ON {table}")
        op.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} DROP COLUMN project, ADD PRIMARY KEY ({key})")
