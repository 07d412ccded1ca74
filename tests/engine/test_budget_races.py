"""No budget is overspent, however many ask at once, on SQLite and Postgres; and none is wasted."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from holdfast.backends.models.prices import ListPrices
from holdfast.backends.sqlite.records import SqliteRecords
from holdfast.clock import Ids, ManualClock
from holdfast.config import ModelPrice
from holdfast.core.pricing import NANO, worst_cost
from holdfast.directory import AtLimit, Budget, Spending, Where
from holdfast.engine.ledger import Payer
from holdfast.engine.tolls import Tollgate, paid_by
from holdfast.errors import (
    BadAnswerError,
    BudgetExceededError,
    ModelRefusedError,
    ModelUnavailableError,
    StoreUnavailableError,
)
from holdfast.metrics import Metrics
from holdfast.model import Json, Scope, Space, Usage
from holdfast.ports import Answer, Op, QueryEmbedding, SettleBudget, Spent
from holdfast.registry import Store
from holdfast.testing.contracts.values import RED, SPACE
from holdfast.wrap.budgeted import BudgetedEmbedder, BudgetedLLM
from support import postgres
from support.thorough import often

NOW = 1_790_000_000.0
PRICES = {
    "tests:cheap": ModelPrice(input=15.0, output=60.0, cached=1.5),
    "tests:dear": ModelPrice(input=150.0, output=600.0, cached=15.0, cache_write=190.0),
    "tests:vectors": ModelPrice(input=2.0, output=0.0),
}
ANN = Payer(project=RED, operation="add", scope=Scope(user_id="ann"), key_id="k1")
SCHEMA: Mapping[str, Json] = {"type": "object"}


class RandomLLM:
    """Takes any number of tokens that its question can have, and fails now and then."""

    def __init__(self, name: str, chance: random.Random) -> None:
        self.name = name
        self.answer_tokens: int | None = 50
        self.address = None
        self.cost = 0
        self.asked = 0
        self._chance = chance

    def bound(self, tokens: int) -> int:
        return min(tokens, 50)

    async def complete(
        self, system: str, user: str, *, schema: Mapping[str, Json], timeout_s: float
    ) -> Answer:
        self.asked += 1
        await asyncio.sleep(0)
        size = len((system + user).encode())
        cached = self._chance.randint(0, size)
        usage = Usage(
            model=self.name,
            input_tokens=size,
            cached_tokens=cached,
            cache_write_tokens=self._chance.randint(0, size - cached),
            output_tokens=self._chance.randint(0, 50),
        )
        fate = self._chance.random()
        if fate < 0.1:
            raise ModelUnavailableError("away")
        self._pay(usage)
        if fate < 0.2:
            raise BadAnswerError("nonsense", usage=usage)
        return Answer(text="{}", usage=usage)

    def _pay(self, usage: Usage) -> None:
        cost = ListPrices(PRICES).cost(usage, NOW)
        assert cost is not None
        self.cost += cost.nano_usd

    async def close(self) -> None:
        """Nothing to release."""


class Vectors:
    """An embedder of another machine: a token for each letter."""

    in_process = False
    static = False

    def __init__(self) -> None:
        self.space = Space(provider="tests", model="vectors", dimensions=2)

    async def embed(self, texts: Sequence[str], spent: Spent | None = None) -> np.ndarray:
        assert spent is not None
        spent(Usage(model="tests:vectors", input_tokens=sum(map(len, texts))))
        return np.zeros((len(texts), 2), dtype=np.float32)

    async def embed_query(self, text: str, spent: Spent | None = None) -> QueryEmbedding:
        raise ModelUnavailableError("late").because("timeout")

    async def close(self) -> None:
        """Nothing to release."""


def budget(id_: str, nano: int, at_limit: AtLimit = "block", **changes: Any) -> Budget:
    fields: dict[str, Any] = {
        "kind": "project", "subject": "", "period": "month", "unit": "usd", **changes,
    }  # fmt: skip
    return Budget(
        id=id_, project=RED, amount=nano, at_limit=at_limit, created_at=NOW, updated_at=NOW,
        **fields,
    )  # fmt: skip


def gate(store: Store) -> Tollgate:
    clock = ManualClock(NOW)
    return Tollgate(store, store.directory, ListPrices(PRICES), clock, Metrics())


@asynccontextmanager
async def stores(kind: str, folder: Path) -> AsyncIterator[list[Store]]:
    """Two instances on one store."""
    clock = ManualClock(NOW)
    with ExitStack() as around:
        if kind == "sqlite":
            made: list[Any] = [SqliteRecords(folder / "h.db", clock, Ids(clock)) for _ in "12"]
        else:
            url = around.enter_context(postgres.database())
            made = [postgres.records(url, ids=Ids(clock)) for _ in "12"]
        try:
            for store in made:
                await store.open(SPACE)
            yield made
        finally:
            for store in made:
                await store.close()


async def spent(store: Store, id_: str) -> tuple[int, int]:
    rows = await store.directory.select(Spending, Where("budget", id_))
    return sum(row.spent for row in rows), sum(row.held for row in rows)


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
@pytest.mark.parametrize("seed", range(often(1, 8)))
async def test_fifty_workers_do_not_overspend_a_dollar(
    kind: str, seed: int, tmp_path: Path
) -> None:
    chance = random.Random(seed)
    async with stores(kind, tmp_path) as (one, two):
        budgets = [
            budget("dollar", NANO),
            budget("each", NANO, kind="user", subject="*", period="day"),
            budget("key", 2 * NANO, kind="key", subject="k1"),
        ]
        await one.directory.insert(*budgets)
        tolls = [gate(one), gate(two)]
        inner = [RandomLLM(name, chance) for name in ("tests:cheap", "tests:dear")]
        models = [BudgetedLLM(model, toll) for model in inner for toll in tolls]

        async def work(number: int) -> None:
            with paid_by(ANN):
                for size in (4_000, 1_000, 1):  # what is left is used by those who need less
                    while True:
                        try:
                            await ask(models[number % len(models)], chance.randint(1, size))
                        except BudgetExceededError:
                            break
                        except (BadAnswerError, ModelUnavailableError):
                            continue

        await asyncio.gather(*(work(number) for number in range(50)))
        assert sum(model.cost for model in inner) <= NANO
        await work(0)  # what was held when others were refused is free again
        paid = sum(model.cost for model in inner)
        assert await spent(one, "dollar") == await spent(two, "each") == (paid, 0)
        assert await spent(one, "key") == (paid, 0)
        assert paid <= NANO, f"overspent by {paid - NANO}"
        assert min(model.asked for model in inner) > 0
        assert NANO - paid < least("tests:cheap"), "a call that fits is made"


async def ask(model: BudgetedLLM, size: int) -> Answer:
    return await model.complete("s", "u" * size, schema=SCHEMA, timeout_s=1.0)


def least(name: str) -> int:
    """What the smallest question is held for."""
    from holdfast.core.bounds import question_usage

    cost = worst_cost(ListPrices(PRICES), question_usage(name, "s", "u", SCHEMA, 50), NOW)
    assert cost is not None
    return cost.nano_usd


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with stores("sqlite", tmp_path) as (one, _):
        yield one


async def test_a_crash_between_is_counted_as_the_worst_case(store: Store) -> None:
    await store.directory.insert(budget("b", NANO))
    model = BudgetedLLM(RandomLLM("tests:cheap", random.Random(1)), gate(store))
    commit = store.commit

    async def dies(project: Any, ops: Sequence[Op]) -> list[Json]:
        if isinstance(ops[0], SettleBudget):
            raise StoreUnavailableError("killed")
        return await commit(project, ops)

    store.commit = dies  # type: ignore[method-assign]
    with paid_by(ANN), pytest.raises(StoreUnavailableError):
        await ask(model, 1)
    assert await spent(store, "b") == (0, least("tests:cheap"))


async def test_what_may_have_been_billed_stays_held(store: Store) -> None:
    await store.directory.insert(budget("b", 10_000, unit="tokens"))
    embedder = BudgetedEmbedder(Vectors(), gate(store))
    with paid_by(ANN):
        await embedder.embed(["abc", "d"])
        assert await spent(store, "b") == (4, 0)
        with pytest.raises(ModelUnavailableError):
            await embedder.embed_query("late")
        held = await spent(store, "b")
        assert held[0] == 4
        assert held[1] > 0, "no answer in time: it may be on the bill"

    class Hangs(Vectors):
        async def embed(self, texts: Sequence[str], spent: Spent | None = None) -> np.ndarray:
            await asyncio.Event().wait()
            raise AssertionError

    async def hang() -> None:
        with paid_by(ANN):
            await BudgetedEmbedder(Hangs(), gate(store)).embed(["abc"])

    task = asyncio.create_task(hang())
    for _ in range(2_000):
        if (await spent(store, "b"))[1] > held[1]:
            break
        await asyncio.sleep(0.005)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert (await spent(store, "b"))[1] > held[1], "given up: nobody knows what it cost"


async def test_a_provider_that_tells_nothing_is_taken_at_its_most(store: Store) -> None:
    class Silent(RandomLLM):
        async def complete(self, system: str, user: str, **_: Any) -> Answer:
            return Answer(text="{}", usage=Usage(model=self.name))

    await store.directory.insert(budget("b", NANO))
    with paid_by(ANN):
        await ask(BudgetedLLM(Silent("tests:cheap", random.Random(0)), gate(store)), 1)
    assert await spent(store, "b") == (least("tests:cheap"), 0)


async def test_a_refusal_of_the_provider_costs_nothing(store: Store) -> None:
    class Refuses(RandomLLM):
        async def complete(self, system: str, user: str, **_: Any) -> Answer:
            raise ModelRefusedError("no")

    await store.directory.insert(budget("b", NANO))
    with paid_by(ANN), pytest.raises(ModelRefusedError):
        await ask(BudgetedLLM(Refuses("tests:cheap", random.Random(0)), gate(store)), 1)
    assert await spent(store, "b") == (0, 0)


async def test_who_has_no_budget_is_not_bounded(store: Store) -> None:
    model = RandomLLM("tests:unpriced", random.Random(0))
    await store.directory.insert(budget("b", 0, kind="user", subject="bob"))
    budgeted = BudgetedEmbedder(Vectors(), gate(store))
    with paid_by(ANN):
        await budgeted.embed(["abc"])
    assert await spent(store, "b") == (0, 0)
    await store.directory.insert(budget("m", NANO))
    with paid_by(ANN), pytest.raises(BudgetExceededError, match="No price"):
        await ask(BudgetedLLM(model, gate(store)), 1)
    assert model.asked == 0


async def test_a_budget_that_warns_lets_all_pass_and_counts(store: Store) -> None:
    await store.directory.insert(budget("w", 1, "warn"))
    toll = gate(store)
    with paid_by(ANN):
        await BudgetedEmbedder(Vectors(), toll).embed(["abc"])
        await BudgetedEmbedder(Vectors(), toll).embed(["abc"])
    assert await spent(store, "w") == (12_000, 0)
    assert toll._metrics.counts()["budget_event", ("warned",)] == 2
    assert toll._metrics.gauges()["budget_used_ratio"] > 1


async def test_the_strictest_decides_and_one_for_a_certain_user_goes_first(store: Store) -> None:
    await store.directory.insert(
        budget("each", 0, kind="user", subject="*", unit="tokens", period="day"),
        budget("ann", 10**6, kind="user", subject="ann", unit="tokens", period="day"),
        budget("d", 0, "degrade", kind="key", subject="*", unit="tokens"),
    )
    with paid_by(ANN), pytest.raises(BudgetExceededError) as found:
        await BudgetedEmbedder(Vectors(), gate(store)).embed(["abc"])
    assert found.value.at_limit == "degrade"
    bob = Payer(project=RED, operation="add", scope=Scope(user_id="bob"), key_id="k2")
    with paid_by(bob), pytest.raises(BudgetExceededError) as found:
        await BudgetedEmbedder(Vectors(), gate(store)).embed(["abc"])
    assert found.value.at_limit == "block"
    assert await spent(store, "ann") == (0, 0), "all or none"
