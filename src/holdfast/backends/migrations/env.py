"""Alembic's entry: runs on the connection that a back end's `migrate` (or a test) hands over."""

from __future__ import annotations

from alembic import context

from holdfast.backends.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=context.config.attributes.get("version_table", "alembic_version"),
    # the caller owns the transaction, so that a migration happens whole or not at all
    transactional_ddl=False,
)
context.run_migrations()
