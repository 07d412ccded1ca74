"""The ledger: what model calls took and cost, and the budgets that bound it."""

from __future__ import annotations

from sqlalchemy import Column, Float, Index, Integer, PrimaryKeyConstraint, Table, Text

from holdfast.backends.schema.base import metadata

usage = Table(
    "usage",
    metadata,
    Column("no", Integer, primary_key=True),
    Column("project", Text, nullable=False),
    Column("at", Float, nullable=False),
    Column("operation", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("input_tokens", Integer, nullable=False),
    Column("cached_tokens", Integer, nullable=False),
    Column("output_tokens", Integer, nullable=False),
    Column("user_id", Text),
    Column("agent_id", Text),
    Column("app_id", Text),
    Column("run_id", Text),
    Column("job_id", Text),
    # NULL: of calls before they were written down
    Column("cache_write_tokens", Integer),
    # the credential of whoever called
    Column("key_id", Text),
    # billionths of a US dollar; NULL: no price was known
    Column("nano_usd", Integer),
    Column("price_version", Text),
    # what the provider's cache took off the price
    Column("saved_nano_usd", Integer),
    # not NULL: no call, but so many that a cache of ours made unnecessary, and what they would have
    # taken and cost
    Column("spared_calls", Integer),
    Column("spared_tokens", Integer),
    Column("spared_nano_usd", Integer),
)
Index("usage_by_time", usage.c.project, usage.c.at)

budgets = Table(
    "budgets",
    metadata,
    Column("id", Text, nullable=False),
    Column("project", Text, nullable=False),
    Column("kind", Text, nullable=False),
    # of a user or key; '*': each of them by itself; '' of the project
    Column("subject", Text, nullable=False),
    Column("period", Text, nullable=False),
    Column("unit", Text, nullable=False),
    # tokens, or billionths of a US dollar
    Column("amount", Integer, nullable=False),
    Column("at_limit", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    PrimaryKeyConstraint("project", "kind", "subject", "period", "unit"),
    sqlite_with_rowid=False,
)

# What a budget's subject has spent in a period. `held` is reserved for calls under way; of a
# process that died in one it stays: what the call cost is not known, only that it was not more.
budget_periods = Table(
    "budget_periods",
    metadata,
    Column("project", Text, nullable=False),
    Column("budget", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("since", Float, nullable=False),
    Column("spent", Integer, nullable=False),
    Column("held", Integer, nullable=False),
    PrimaryKeyConstraint("project", "budget", "subject", "since"),
    sqlite_with_rowid=False,
)
