"""Three instances on one store and one Redis, all writing: no answer is ever older than a write.

What is asked of an instance is compared, whole, with what an instance without any cache answers.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.errors import Flaky
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from holdfast import AsyncMemory
from holdfast.ports import EntityState
from holdfast.wrap import cached_index
from support.redis import BINARY, MISSING, Redis, running
from support.thorough import often

pytestmark = pytest.mark.skipif(not BINARY, reason=MISSING)

USERS = ("ann", "bob")
TEXTS = ("I keep bees in Kent", "tea at four", "my bees drink tea", "Kent is green", "ok")
QUERIES = ("bees", "who drinks tea in Kent?")
INSTANCES = 3

users = st.sampled_from(USERS)
texts = st.sampled_from(TEXTS)
queries = st.sampled_from(QUERIES)
instances = st.integers(0, INSTANCES - 1)
numbers = st.integers(0, 50)
filters = st.sampled_from(
    (
        {"user_id": "ann"},
        {"user_id": "bob"},
        {"OR": [{"user_id": "ann"}, {"user_id": "bob"}]},
        {"AND": [{"user_id": "ann"}, {"mood": "good"}]},
        {"user_id": "*"},
    )
)

Run = Callable[[Coroutine[Any, Any, Any]], Any]


class Fleet:
    """Instances, one more without a cache, and the loop they run on."""

    def __init__(self, folder: Path, url: str) -> None:
        self._runner = asyncio.Runner()
        self.run: Run = self._runner.run
        cache = {"provider": "redis", "config": {"url": url, "deployment": uuid.uuid4().hex}}
        home = {"path": str(folder), "content_key": "secret"}
        self.instances = [AsyncMemory({**home, "cache": cache}) for _ in range(INSTANCES)]
        off = {"provider": "process", "config": {"results": False}}
        self.plain = AsyncMemory({**home, "cache": off})
        self.run(self._each(lambda memory: memory.open()))

    async def _each(self, what: Callable[[AsyncMemory], Awaitable[Any]]) -> None:
        for memory in (*self.instances, self.plain):
            await what(memory)

    def counts(self, outcome: str) -> float:
        """Look-ups of answers that came out like this, in all instances."""
        key = ("cache_lookup", ("answer", outcome))
        parts = [memory._assembly.parts for memory in self.instances if memory._assembly]
        return sum(each.metrics.counts().get(key, 0.0) for each in parts)  # type: ignore[call-overload]

    def close(self) -> None:
        self.run(self._each(lambda memory: memory.aclose()))
        self._runner.close()


class Machine(RuleBasedStateMachine):
    """Writes and questions, one after another and all at once."""

    fleet: Fleet

    def __init__(self) -> None:
        super().__init__()
        self._instances = self.fleet.instances
        self._run = self.fleet.run
        self._run(self._anew())
        self._ids: list[str] = []
        self._asked: list[tuple[dict[str, Any], str]] = []

    async def _anew(self) -> None:
        """An example starts from nothing, so that it can be told again."""
        await self._instances[0].reset()
        for memory in self._instances:
            assert memory._assembly is not None
            await memory._assembly.clear_cache()

    def _add(self, at: int, user: str, text: str, mood: str) -> Coroutine[Any, Any, Any]:
        return self._instances[at].add(text, user_id=user, metadata={"mood": mood}, infer=False)

    @rule(at=instances, user=users, text=texts, mood=st.sampled_from(("good", "bad")))
    def add(self, at: int, user: str, text: str, mood: str) -> None:
        added = self._run(self._add(at, user, text, mood))
        self._ids += [each["id"] for each in added["results"]]

    @rule(at=instances, number=numbers, text=texts)
    def update(self, at: int, number: int, text: str) -> None:
        if self._ids:
            with suppress(ValueError):  # deleted before
                id_ = self._ids[number % len(self._ids)]
                self._run(self._instances[at].update(id_, text))

    @rule(at=instances, number=numbers)
    def delete(self, at: int, number: int) -> None:
        if self._ids:
            with suppress(ValueError):
                self._run(self._instances[at].delete(self._ids[number % len(self._ids)]))

    @rule(at=instances, user=users)
    def delete_all(self, at: int, user: str) -> None:
        self._run(self._instances[at].delete_all(user_id=user))

    @rule(at=instances, chance=st.integers(0, 3))
    def reset(self, at: int, chance: int) -> None:
        if not chance:
            self._run(self._instances[at].reset())
            self._ids.clear()

    @rule(at=instances, wanted=filters, query=queries)
    def search(self, at: int, wanted: dict[str, Any], query: str) -> None:
        self._asked.append((wanted, query))
        self._run(self._compare([self._instances[at]], wanted, query))

    @rule(number=numbers)
    def search_again_everywhere(self, number: int) -> None:
        if self._asked:
            self._run(self._compare(self._instances, *self._asked[number % len(self._asked)]))

    @rule(at=instances, user=users, text=texts, wanted=filters, query=queries)
    def write_while_all_search(
        self, at: int, user: str, text: str, wanted: dict[str, Any], query: str
    ) -> None:
        async def together() -> Any:
            asked = [each.search(query, filters=wanted) for each in self._instances * 2]
            added, *_ = await asyncio.gather(self._add(at, user, text, "good"), *asked)
            await self._compare(self._instances, wanted, query)
            return added

        self._ids += [each["id"] for each in self._run(together())["results"]]

    async def _compare(self, asked: list[AsyncMemory], wanted: dict[str, Any], query: str) -> None:
        right = await self.fleet.plain.search(query, filters=wanted, explain=True)
        for memory in asked:
            for _ in range(2):  # the second one is a hit more often
                assert await memory.search(query, filters=wanted, explain=True) == right


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    server = Redis(tmp_path_factory.mktemp("redis"))
    with running([server]):
        yield server


@pytest.fixture
def fleet(redis: Redis, tmp_path: Path) -> Iterator[Fleet]:
    made = Fleet(tmp_path, redis.url)
    yield made
    made.close()


def campaign(fleet: Fleet, examples: int) -> None:
    class Told(Machine):
        pass

    Told.fleet = fleet
    run_state_machine_as_test(
        Told,
        settings=settings(
            max_examples=examples,
            stateful_step_count=25,
            deadline=None,
            phases=[Phase.generate],
            print_blob=False,
        ),
    )


def test_no_answer_is_older_than_a_write(fleet: Fleet) -> None:
    campaign(fleet, often(12, 20))
    assert fleet.counts("hit") > 50, "answers were cached in processes"
    assert fleet.counts("shared_hit") > 20, "and those of others were used"


Fault = Callable[[Sequence[EntityState]], list[int] | None]


def deaf(states: Sequence[EntityState]) -> list[int] | None:
    """Hears of no write."""
    return [1]


def forgetful(states: Sequence[EntityState]) -> list[int] | None:
    """Forgets all but the first entity of a question."""
    generation = states[0].generation
    return [generation] if generation else None


@pytest.mark.parametrize("fault", [deaf, forgetful])
def test_a_planted_fault_is_caught(
    fleet: Fleet, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cached_index, "_generations", fault)
    with pytest.raises((AssertionError, Flaky)):  # what runs at once need not fail again
        campaign(fleet, 400)  # ends at the first that finds it: about the thirtieth of "forgetful"
