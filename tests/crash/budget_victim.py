"""Processes of their own that spend a budget: until nothing fits any more, or till they are killed.

`race KIND PLACE SEED` asks models on the store at PLACE and writes what it was billed, in
billionths of a US dollar; `add CONFIG` adds a message to a store with these settings.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from pathlib import Path
from typing import Any

from holdfast.backends.sqlite.records import SqliteRecords
from holdfast.clock import Ids, ManualClock
from holdfast.errors import BadAnswerError, BudgetExceededError, ModelUnavailableError

LEASE_S = 0.5
"""Seconds until the job of a killed process is anybody's."""
WORKERS = 4


def opened(kind: str, place: str, seed: int) -> Any:
    """A handle on the store, as this process has it."""
    from tests.engine.test_budget_races import NOW

    clock = ManualClock(NOW)
    if kind == "sqlite":
        return SqliteRecords(Path(place), clock, Ids(clock))
    from support import postgres

    return postgres.records(place, seed=seed)


async def race(kind: str, place: str, seed: int) -> int:
    """Ask dear and cheap models at once for as long as there is room; what that cost."""
    from holdfast.engine.tolls import paid_by
    from holdfast.testing.contracts.values import SPACE
    from holdfast.wrap.budgeted import BudgetedLLM
    from tests.engine.test_budget_races import ANN, RandomLLM, ask, gate

    chance = random.Random(seed)
    store = opened(kind, place, seed)
    await store.open(SPACE)
    toll = gate(store)
    inner = [RandomLLM(name, chance) for name in ("tests:cheap", "tests:dear")]
    models = [BudgetedLLM(model, toll) for model in inner]

    print("ready", flush=True)  # noqa: T201  (the parent waits for it)
    sys.stdin.readline()

    async def work(number: int) -> None:
        with paid_by(ANN):
            for size in (4_000, 1):  # what is left is used by those who need less
                while True:
                    try:
                        await ask(models[number % 2], chance.randint(1, size))
                    except BudgetExceededError:
                        break
                    except (BadAnswerError, ModelUnavailableError):
                        continue

    await asyncio.gather(*(work(number) for number in range(WORKERS)))
    await work(0)  # what was held when others were refused is free again
    await store.close()
    return sum(model.cost for model in inner)


async def add(config: dict[str, Any]) -> None:
    """Add a message; whoever asked for it kills this process while the model is asked."""
    from holdfast import AsyncMemory
    from holdfast.engine import jobs

    jobs.JOB_LEASE_S = LEASE_S  # type: ignore[assignment]
    async with AsyncMemory(config) as memory:
        await memory.add("I keep bees", user_id="ann", idempotency_key="once")


def main() -> None:
    """Do what the first argument says."""
    what, *given = sys.argv[1:]
    if what == "race":
        kind, place, seed = given
        sys.stdout.write(str(asyncio.run(race(kind, place, int(seed)))))
    else:
        asyncio.run(add(json.loads(given[0])))


if __name__ == "__main__":
    main()
