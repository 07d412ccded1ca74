"""The ledger on the record database: rows of calls, sums over them, and room in budgets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from holdfast.backends.sql.dialect import Connection
from holdfast.core.periods import day_text
from holdfast.model import Project
from holdfast.ports import (
    Hold,
    HoldBudget,
    PutSpared,
    PutUsage,
    SettleBudget,
    UsageGroup,
    UsageQuery,
    UsageSum,
)

_PUT: Final = """
INSERT INTO usage (project, at, operation, model, input_tokens, cached_tokens, output_tokens,
  cache_write_tokens, user_id, agent_id, app_id, run_id, job_id, key_id, nano_usd, price_version,
  saved_nano_usd)
VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)
"""

_PUT_SPARED: Final = """
INSERT INTO usage (project, at, operation, model, input_tokens, cached_tokens, output_tokens,
  spared_calls, spared_tokens, spared_nano_usd)
VALUES (?,?,?,?,0,0,0,?,?,?)
"""

_OPEN_PERIOD: Final = """
INSERT INTO budget_periods (project, budget, subject, since, spent, held) VALUES (?,?,?,?,0,0)
ON CONFLICT DO NOTHING
"""
_OF_PERIOD: Final = "WHERE project = ? AND budget = ? AND subject = ? AND since = ?"
_HOLD: Final = (
    f"UPDATE budget_periods SET held = held + ? {_OF_PERIOD} RETURNING spent + held"  # locks it
)
_SETTLE: Final = f"UPDATE budget_periods SET held = held - ?, spent = spent + ? {_OF_PERIOD}"

_COLUMNS: Final[Mapping[UsageGroup, str]] = {
    "project": "project",
    "operation": "operation",
    "model": "model",
    "user": "user_id",
    "agent": "agent_id",
    "app": "app_id",
    "run": "run_id",
    "key": "key_id",
}

# sums of 64-bit numbers are decimals in Postgres
_SUMS: Final = ", ".join(
    [
        "count(*) - count(spared_calls)",
        *(
            f"CAST(coalesce(sum({name}), 0) AS BIGINT)"
            for name in (
                "input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens", "nano_usd",
                "saved_nano_usd", "spared_calls", "spared_tokens", "spared_nano_usd",
            )
        ),
        "count(*) - count(spared_calls) - count(nano_usd)",
    ]
)  # fmt: skip


def put_usage(connection: Connection, project: Project, op: PutUsage) -> None:
    """A row of one call."""
    usage, scope, cost = op.usage, op.scope, op.cost
    connection.execute(
        _PUT,
        (
            project,
            op.at,
            op.operation,
            usage.model,
            usage.input_tokens,
            usage.cached_tokens,
            usage.output_tokens,
            usage.cache_write_tokens,
            scope.user_id,
            scope.agent_id,
            scope.app_id,
            scope.run_id,
            op.job_id,
            op.key_id,
            None if cost is None else cost.nano_usd,
            None if cost is None else cost.version,
            op.saved_nano_usd or None,
        ),
    )


def put_spared(connection: Connection, project: Project, op: PutSpared) -> None:
    """A row of calls that were not made."""
    connection.execute(
        _PUT_SPARED,
        (project, op.at, op.operation, op.model, op.calls, op.tokens, op.nano_usd),
    )


def hold(connection: Connection, project: Project, op: HoldBudget) -> list[int]:
    """Room in all budgets or none; rows are locked in one order, so that nobody waits in a ring."""
    before: dict[Hold, int] = {}
    for one in sorted(op.holds, key=_place):
        place = (project, *_place(one))
        connection.execute(_OPEN_PERIOD, place)
        [after] = connection.execute(_HOLD, (one.amount, *place)).fetchone()
        before[one] = after - one.amount
    if any(one.limit is not None and before[one] + one.amount > one.limit for one in op.holds):
        for one in op.holds:
            connection.execute(_SETTLE, (one.amount, 0, project, *_place(one)))
    return [before[one] for one in op.holds]


def settle(connection: Connection, project: Project, op: SettleBudget) -> None:
    """What was held becomes what is spent."""
    pairs = zip(op.holds, op.spent, strict=True)
    for one, spent in sorted(pairs, key=lambda pair: _place(pair[0])):
        connection.execute(_SETTLE, (one.amount, spent, project, *_place(one)))


def _place(one: Hold) -> tuple[str, str, float]:
    return one.budget, one.subject, one.since


def usage(connection: Connection, project: Project | None, query: UsageQuery) -> list[UsageSum]:
    """Sums of calls, by the index `usage_by_time` where it is about one project."""
    keys = [connection.dialect.day if one == "day" else _COLUMNS[one] for one in query.by]
    conditions = ["at >= ?", "at < ?"]
    given: list[Any] = [query.since, query.before]
    if project is not None:
        conditions.insert(0, "project = ?")
        given.insert(0, project)
    for name, value in query.where:
        conditions.append(f"{_COLUMNS[name]} = ?")
        given.append(value)
    sql = f"SELECT {', '.join([*keys, _SUMS])} FROM usage WHERE {' AND '.join(conditions)}"
    if keys:
        sql += f" GROUP BY {', '.join(keys)}"
    return [_sum(query, row) for row in connection.execute(sql, tuple(given)).fetchall()]


def _sum(query: UsageQuery, row: Any) -> UsageSum:
    found, sums = row[: len(query.by)], row[len(query.by) :]
    group = (
        day_text(value) if name == "day" else value
        for name, value in zip(query.by, found, strict=True)
    )
    calls, fresh, cached, written, output, nano, saved, *spared, unpriced = sums
    return UsageSum(
        group=tuple(group),
        calls=calls,
        input_tokens=fresh,
        cached_tokens=cached,
        cache_write_tokens=written,
        output_tokens=output,
        nano_usd=nano,
        unpriced=unpriced,
        saved_nano_usd=saved,
        spared_calls=spared[0],
        spared_tokens=spared[1],
        spared_nano_usd=spared[2],
    )
