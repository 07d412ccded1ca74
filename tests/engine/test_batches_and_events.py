"""Batches, deletions by filter, one entity, and events: what the server's routes build on."""

from __future__ import annotations

import pytest

from holdfast import AsyncMemory
from holdfast.errors import ConflictError, NotFoundError, TooLargeError, ValidationError

pytestmark = pytest.mark.asyncio

ANN = {"user_id": "ann"}
UNKNOWN = "0190f5fe-7c1e-7b5a-9d53-6d7f0a4f1c11"


async def add(memory: AsyncMemory, text: str, **more: object) -> str:
    answer = await memory.add(text, **{"user_id": "ann", "infer": False, **more})  # type: ignore[arg-type]
    return str(answer["results"][0]["id"])


async def texts(memory: AsyncMemory) -> list[str]:
    found = await memory.get_all(filters={"user_id": "*"}, oldest_first=True, top_k=100)
    return [one["memory"] for one in found["results"]]


async def test_deleting_by_filter_needs_somebody(memory: AsyncMemory) -> None:
    await add(memory, "one", metadata={"a": 1})
    await add(memory, "two", user_id="bob", metadata={"a": 1})
    for filters in ({}, {"a": 1}, {"NOT": [ANN]}, {"OR": [ANN, {"a": 1}]}):
        with pytest.raises(ValidationError):
            await memory.delete_all(filters=filters)
    with pytest.raises(ValidationError):
        await memory.delete_all()
    assert await texts(memory) == ["one", "two"]
    assert (await memory.delete_all(user_id="bob", filters={"a": 2}))["count"] == 0
    assert (await memory.delete_all(user_id="bob", filters={"a": 1}))["count"] == 1
    done = await memory.delete_all(filters={"user_id": "*", "a": 1})
    assert done["count"] == 1
    event = await memory.event(done["event_id"])
    assert (event["event_type"], event["status"], event["scope"]) == ("DELETE_ALL", "SUCCEEDED", {})


async def test_a_batch_of_updates_is_whole(memory: AsyncMemory) -> None:
    one, two = await add(memory, "one"), await add(memory, "two", user_id="bob")
    good = {"memory_id": one, "text": "first"}
    for bad, error in (
        ({"memory_id": UNKNOWN, "text": "x"}, NotFoundError),
        ({"memory_id": two}, ValidationError),
        ({"memory_id": one, "text": "again"}, ValidationError),
        ({"memory_id": two, "text": " "}, ValidationError),
    ):
        with pytest.raises(error):
            await memory.batch_update([good, bad])
    with pytest.raises(ValidationError):
        await memory.batch_update([])
    with pytest.raises(TooLargeError):
        await memory.batch_update([good] * 1_001)
    assert await texts(memory) == ["one", "two"]
    done = await memory.batch_update([good, {"memory_id": two, "metadata": {"a": 1}}])
    assert done["count"] == 2
    assert await texts(memory) == ["first", "two"]
    found = await memory.search("first", filters=ANN)
    assert found["results"][0]["id"] == one  # its vector and terms are the new text's
    assert [event["event"] for event in await memory.history(two)] == ["ADD", "UPDATE"]


async def test_what_is_immutable_can_only_be_deleted(memory: AsyncMemory) -> None:
    kept = await add(memory, "kept", immutable=True)
    other = await add(memory, "other")
    for change in (
        {"text": "new"}, {"metadata": {"a": 1}}, {"expiration_date": None}, {"timestamp": 1}
    ):  # fmt: skip
        with pytest.raises(ConflictError, match="immutable"):
            await memory.update(kept, **change)
    both = [{"memory_id": other, "text": "changed"}, {"memory_id": kept, "text": "changed"}]
    with pytest.raises(ConflictError):
        await memory.batch_update(both)
    assert await texts(memory) == ["kept", "other"]
    assert (await memory.get(kept) or {})["immutable"] is True
    assert "immutable" not in (await memory.get(other) or {})
    assert [event["event"] for event in await memory.history(kept)] == ["ADD"]
    await memory.delete(kept)
    assert await texts(memory) == ["other"]


async def test_immutability_is_a_part_of_what_an_add_says(memory: AsyncMemory) -> None:
    await add(memory, "said", idempotency_key="k")
    with pytest.raises(ConflictError):
        await add(memory, "said", idempotency_key="k", immutable=True)
    with pytest.raises(ValidationError):
        await add(memory, "said", immutable="yes")


async def test_a_batch_of_deletions_is_whole(memory: AsyncMemory) -> None:
    ids = [await add(memory, f"number {number}") for number in range(3)]
    with pytest.raises(NotFoundError):
        await memory.batch_delete([{"memory_id": ids[0]}, {"memory_id": UNKNOWN}])
    assert len(await texts(memory)) == 3
    assert (await memory.batch_delete([{"memory_id": id_} for id_ in ids[:2]]))["count"] == 2
    assert await texts(memory) == ["number 2"]


async def test_pages_by_number(memory: AsyncMemory) -> None:
    for number in range(5):
        await add(memory, f"number {number}")
    second = await memory.get_all(filters=ANN, top_k=2, page=2)
    assert [one["memory"] for one in second["results"]] == ["number 2", "number 1"]
    assert second["total"] == 5
    with pytest.raises(ValidationError):
        await memory.get_all(filters=ANN, page=0)


async def test_one_entity_is_as_the_list_tells_it(memory: AsyncMemory) -> None:
    one = await add(memory, "one", run_id="r1")
    await add(memory, "gone", expiration_date="2020-01-01")
    await memory.update(one, metadata={"a": 1})
    listed = (await memory.entities())["results"]
    for entity in listed:
        alone = await memory.entity(entity["type"], entity["name"])
        assert alone["total_memories"] == entity["total_memories"]
        assert alone["name"] == entity["name"]
    with pytest.raises(NotFoundError):
        await memory.entity("user", "nobody")
    with pytest.raises(ValidationError):
        await memory.entity("people", "ann")  # type: ignore[arg-type]


async def test_events_by_kind_and_time(memory: AsyncMemory) -> None:
    for number in range(3):
        await memory.add(f"number {number}", user_id="ann", wait=False)
    await memory.delete_all(user_id="ann")
    assert (await memory.events())["total"] == 4
    adds = await memory.events(event_type="ADD", page=2, page_size=2)
    assert (adds["total"], len(adds["results"])) == (3, 1)
    assert (await memory.events(status="FAILED"))["total"] == 0
    assert (await memory.events(before="2020-01-01"))["total"] == 0
    assert (await memory.events(since="2020-01-01"))["total"] == 4
    with pytest.raises(ValidationError):
        await memory.events(status="DONE")  # type: ignore[arg-type]
