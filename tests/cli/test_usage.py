"""`holdfast usage`, `budget` and `estimate`: tables, charts and JSON of what calls cost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from holdfast.admin import AsyncAdmin
from holdfast.core.usage import INSTRUCTION_TOKENS
from holdfast.model import Cost, Project, Scope, Usage
from holdfast.ports import PutSpared, PutUsage

Told = Callable[..., Any]
AT = 1_790_000_000.0


def row(operation: str, user: str | None, nano: int | None, key: str | None = None) -> PutUsage:
    return PutUsage(
        usage=Usage(model="tests:small", input_tokens=1_000, cached_tokens=600, output_tokens=50),
        operation=operation,
        scope=Scope(user_id=user, run_id="r"),
        at=AT,
        key_id=key,
        cost=None if nano is None else Cost(nano_usd=nano, version="v1"),
    )


@pytest.fixture
def spent(tmp_path: Path) -> list[str]:
    """A store with a few calls in its ledger, and the options that name it and its time."""

    async def fill() -> None:
        async with AsyncAdmin({"path": str(tmp_path / "store")}) as admin:
            parts = await admin._parts()
            rows = [
                row("add", "ann", 1_500_000),
                row("search", "ann", 500_000, "k1"),
                row("add", "b\x1b[31mob", 3_000_000),
                row("add", None, None),
            ]
            rows[0] = replace(rows[0], saved_nano_usd=400_000)
            spared = PutSpared(
                model="tests:small", operation="search", at=AT, calls=9, tokens=81, nano_usd=20_000
            )
            await parts.records.commit(parts.project, [*rows, spared])
            await parts.records.commit(Project("other"), [row("add", "cem", 7_000_000)])

    asyncio.run(fill())
    span = ["--since", "2026-09-01", "--before", "2026-10-01"]
    return ["--home", str(tmp_path / "store"), *span]


def test_usage_is_told_by_what_calls_share(told: Told, spent: list[str]) -> None:
    report = told("usage", *spent)
    assert report["by"] == ["model"]
    assert report["total"] == {
        "calls": 4, "input_tokens": 4_000, "cached_tokens": 2_400, "cache_write_tokens": 0,
        "output_tokens": 200, "unpriced": 1, "cost_usd": 0.005, "saved_usd": 0.0004,
        "spared_calls": 9, "spared_tokens": 81, "spared_usd": 0.00002,
    }  # fmt: skip
    assert report["instructions"]["calls"] == 3
    assert report["instructions"]["fewer_tokens"] == 3 * (7_606 - INSTRUCTION_TOKENS)
    assert report["instructions"]["fewer_usd"] == 0, "no price is known"
    users = told("usage", "--by", "user", *spent)["results"]
    assert [(one["user"], one["cost_usd"]) for one in users] == [
        ("b\x1b[31mob", 0.003),
        ("ann", 0.002),
        (None, 0.0),
    ]
    [day] = told("usage", "--by", "month", "--by", "operation", "--user", "ann", "--key", "k1",
                 *spent)["results"]  # fmt: skip
    assert (day["month"], day["operation"], day["calls"]) == ("2026-09", "search", 1)
    every = told("usage", "--by", "project", "--all-projects", *spent)["results"]
    assert [(one["project"], one["calls"]) for one in every] == [("other", 1), ("default", 4)]
    assert told("usage", "--by", "user", "--limit", "1", *spent)["left_off"] == 2


def test_people_see_a_table_with_bars(done: Callable[..., str], spent: list[str]) -> None:
    shown = done("usage", "--by", "user", *spent)
    assert "\x1b" not in shown
    assert "4 " in shown.split("in all")[1]
    assert shown.count("█") > 30, "the dearest has the whole bar, the other two thirds"
    assert "1 calls have no price" in shown
    shown = " ".join(shown.split())
    assert "Saved: 0.0004 USD by providers' caches, about 0.0000 by ours (9 calls not made" in shown
    assert f"Instructions: about {INSTRUCTION_TOKENS} tokens a call" in shown
    assert "No calls" in done("usage", *spent[:2], "--before", "2020-01-01")


def test_a_chart_is_drawn(done: Callable[..., str], spent: list[str], tmp_path: Path) -> None:
    chart = tmp_path / "costs.png"
    assert "costs.png" in done("usage", "--by", "user", "--chart", chart, *spent)
    assert chart.read_bytes().startswith(b"\x89PNG")


def test_wrong_wishes_are_refused(refused: Callable[..., str], spent: list[str]) -> None:
    assert "users" in refused(2, "usage", "--by", "users", *spent)
    refused(2, "usage", *spent[:2], "--since", "2026-10-01", "--before", "2026-09-01")
    refused(2, "usage", "--chart", "costs.txt", *spent)


def test_budgets_are_set_listed_and_removed(
    told: Told, done: Callable[..., str], refused: Callable[..., str], tmp_path: Path
) -> None:
    home = ["--home", str(tmp_path / "store")]
    assert "not bounded" in done("budget", "list", *home)
    made = told("budget", "set", "1.5", "--per", "day", "--user", "*", *home)
    assert (made["kind"], made["subject"], made["amount"]) == ("user", "*", 1.5)
    again = told("budget", "set", "2", "--per", "day", "--user", "*", "--at-limit", "warn", *home)
    assert (again["id"], again["amount"], again["at_limit"]) == (made["id"], 2.0, "warn")
    shown = done("budget", "set", "5000", "--unit", "tokens", *home)
    assert shown == "5,000 tokens a month for project: block.\n"
    table = done("budget", "list", *home)
    assert "2.0000 USD" in table
    assert "0%" in table
    [_, mine] = sorted(
        told("budget", "list", *home)["results"], key=lambda one: one["kind"] == "user"
    )
    assert mine["id"] == made["id"]
    assert mine["spent"] == mine["held"] == 0
    done("budget", "remove", made["id"], *home)
    refused(3, "budget", "remove", made["id"], *home)
    refused(2, "budget", "set", "1", "--per", "week", *home)


def test_an_estimate_without_models_is_nothing(
    told: Told, done: Callable[..., str], tmp_path: Path
) -> None:
    home = ["--home", str(tmp_path / "store"), "--user", "ann"]
    assert "Nothing" in done("estimate", "I keep bees.", *home)
    assert told("estimate", "I keep bees.", *home)["cost_usd"] == 0.0
