"""The verbs on Postgres, through the public faces, and several instances on one database."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from holdfast import AsyncMemory, Memory
from holdfast.errors import ConfigError
from support import postgres

MOMENT = 1_700_000_000


@pytest.fixture
def config() -> Iterator[dict[str, Any]]:
    with postgres.database() as url:
        yield {"records": {"provider": "postgres", "config": {"url": url}}}


def test_the_blocking_face(config: dict[str, Any]) -> None:
    with Memory.from_config(config) as memory:
        added = memory.add("I keep bees in Kent.", user_id="alice", infer=False)
        [item] = added["results"]
        memory.add("My sister plays the viola.", user_id="alice", infer=False)
        found = memory.search("bees", filters={"user_id": "alice"})["results"]
        assert found[0]["id"] == item["id"]
        memory.update(item["id"], text="I keep bees in Sussex.")
        assert memory.get(item["id"])["memory"] == "I keep bees in Sussex."
        assert [event["event"] for event in memory.history(item["id"])] == ["ADD", "UPDATE"]
        memory.delete(item["id"])
        listed = memory.get_all(filters={"user_id": "alice"})["results"]
        assert [item["memory"] for item in listed] == ["My sister plays the viola."]
        assert memory.stats()["memories"] == 1


async def test_instances_see_each_others_writes_at_once(config: dict[str, Any]) -> None:
    async with AsyncMemory.from_config(config) as one, AsyncMemory.from_config(config) as other:
        for number in range(5):
            await one.add(f"Fact number {number}", user_id="alice", infer=False)
            found = await other.search("fact number", filters={"user_id": "alice"})
            assert len(found["results"]) == number + 1


async def test_the_same_facts_from_many_adders_are_one_memory_each(config: dict[str, Any]) -> None:
    facts = [f"Fact {number}" for number in range(6)]
    messages = [{"role": "user", "content": fact} for fact in facts]
    instances = [AsyncMemory.from_config(config) for _ in range(3)]
    for memory in instances:
        await memory.open()
    try:
        adds = [
            instances[adder % 3].add(
                messages, user_id="alice", infer=False, timestamp=1_700_000_000
            )
            for adder in range(16)
        ]
        await asyncio.gather(*adds)
        for memory in instances:
            listed = await memory.get_all(filters={"user_id": "alice"})
            assert sorted(item["memory"] for item in listed["results"]) == facts
    finally:
        for memory in instances:
            await memory.aclose()


async def test_many_open_an_empty_database_at_once() -> None:
    with postgres.database(empty=True) as url:
        config = {"records": {"provider": "postgres", "config": {"url": url}}}
        instances = [AsyncMemory.from_config(config) for _ in range(6)]
        try:
            await asyncio.gather(*(memory.open() for memory in instances))
            await instances[0].add("I keep bees.", user_id="alice", infer=False)
            found = await instances[5].search("bees", filters={"user_id": "alice"})
            assert len(found["results"]) == 1
        finally:
            for memory in instances:
                await memory.aclose()


@pytest.mark.parametrize(
    "given", [{}, {"url": ""}, {"url": "mysql://db/x"}, {"url": "postgresql://u@h/d?nonsense=1"}]
)
async def test_an_address_that_is_none(given: dict[str, str]) -> None:
    config = {"records": {"provider": "postgres", "config": given}}
    with pytest.raises(ConfigError, match=r"records\.config\.url"):
        await AsyncMemory.from_config(config).open()
