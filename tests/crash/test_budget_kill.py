"""Budgets and processes of the system: several race for one, and one dies while it holds room."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from holdfast.admin import AsyncAdmin
from holdfast.clock import ManualClock
from holdfast.core.pricing import NANO
from holdfast.engine import budgets
from holdfast.testing.contracts.values import SPACE
from support import postgres
from support.llm_server import LLMServer, chat
from support.thorough import often
from tests.crash.budget_victim import LEASE_S, opened
from tests.engine.test_budget_races import budget, least, spent

ROOT = Path(__file__).parents[2]
PROCESSES = 3
KINDS = ("sqlite", "postgres")


def started(*words: str) -> subprocess.Popen[str]:
    """A victim, running."""
    command = [sys.executable, "-m", "tests.crash.budget_victim", *words]
    path = {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT / 'tests'}:{ROOT}"}
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **path},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def around() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(often(1, 5)))
async def test_processes_that_race_do_not_overspend_a_dollar(
    kind: str, seed: int, tmp_path: Path, around: ExitStack
) -> None:
    """And they leave less than the smallest call needs."""
    place = (
        str(tmp_path / "h.db") if kind == "sqlite" else around.enter_context(postgres.database())
    )
    store = opened(kind, place, 99)
    await store.open(SPACE)
    await store.directory.insert(budget("dollar", NANO))
    racing = [started("race", kind, place, str(seed * 10 + n)) for n in range(PROCESSES)]
    for one in racing:
        assert one.stdout is not None
        assert await asyncio.to_thread(one.stdout.readline) == "ready\n"
    told = await asyncio.gather(*(asyncio.to_thread(one.communicate, "\n") for one in racing))
    billed = [int(out) for out, _ in told]
    assert [one.returncode for one in racing] == [0] * PROCESSES
    assert sum(bill > 0 for bill in billed) > 1, "one alone is no race"
    assert await spent(store, "dollar") == (sum(billed), 0), "every bill is counted, none is held"
    assert sum(billed) <= NANO, f"overspent by {sum(billed) - NANO}"
    assert NANO - sum(billed) < least("tests:cheap"), "a call that fits is made"
    await store.close()


@pytest.fixture
def server() -> Iterator[LLMServer]:
    with LLMServer() as running:
        yield running


@pytest.fixture
def config(server: LLMServer, tmp_path: Path, around: ExitStack) -> Callable[[str], Any]:
    """The settings of a store with a model behind HTTP that has a price."""

    def make(kind: str) -> Any:
        model = {
            "model": "scripted", "openai_base_url": server.url, "api_key": "sk-test",
            "max_tokens": 100,
        }  # fmt: skip
        made: dict[str, Any] = {
            "path": str(tmp_path / "store"),
            "workers": 0,
            "model_attempts_max": 1,
            "llm": {"provider": "openai", "config": model},
            "prices": {"openai:scripted": {"input": 10.0, "cached": 10.0, "output": 10.0}},
        }
        if kind == "postgres":
            url = around.enter_context(postgres.database())
            made["records"] = {"provider": "postgres", "config": {"url": url}}
        return made

    return make


async def room(admin: AsyncAdmin, parts: Any = None) -> tuple[int, int]:
    """What is spent of the budget and held in it."""
    [status] = await budgets.listed(parts or await admin._parts())
    return status.spent, status.held


@pytest.mark.parametrize("kind", KINDS[: often(1, 2)])
async def test_what_a_killed_process_held_counts_until_the_period_ends(
    kind: str, server: LLMServer, config: Callable[[str], Any]
) -> None:
    """It dies while the provider works on its question: nobody knows what that costs."""
    settings = config(kind)
    async with AsyncAdmin(settings) as admin:
        await admin.budgets.put(1.0)
    server.say(chat(json.dumps({"facts": []}), delay_s=60.0))
    victim = started("add", json.dumps(settings))
    while not server.requests and victim.poll() is None:  # noqa: ASYNC110  (another process)
        await asyncio.sleep(0.02)
    victim.kill()
    await asyncio.to_thread(victim.communicate)

    server.say(chat(json.dumps({"facts": []}), usage=(1_000, 0, 10)))
    async with AsyncAdmin(settings) as admin:
        assert (await admin.usage.report()).total.calls == 0, "it was never told"
        paid, held = await room(admin)
        assert paid == 0
        assert 0 < held < NANO
        await asyncio.sleep(2 * LEASE_S)
        again = await admin.memory().add("I keep bees", user_id="ann", idempotency_key="once")
        assert again["status"] == "SUCCEEDED"
        assert await room(admin) == (1_010 * 10_000, held), "done again, paid for, held no more"

        await admin.budgets.put((1_010 * 10_000 + held) / NANO)
        later = await admin.memory().add("I keep goats", user_id="ann", wait=False, infer=False)
        assert later["status"] == "SUCCEEDED", "what asks no model is not bounded"
        before = len(server.requests)
        with pytest.raises(Exception, match="budget"):
            await admin.memory().add("I keep hens", user_id="ann")
        assert len(server.requests) == before, "what was held is not given out again"

        parts = await admin._parts()
        month = ManualClock(parts.clock.now() + 32 * 86_400)
        assert await room(admin, replace(parts, clock=month)) == (0, 0), "a new period is free"
