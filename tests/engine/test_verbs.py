"""The verbs from the public face to the disk: Mem0's shapes and semantics, and what goes beyond."""

from __future__ import annotations

import asyncio
import inspect
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from holdfast import (
    AsyncMemory,
    ClosedError,
    ConflictError,
    Memory,
    NotFoundError,
    UnsupportedError,
    ValidationError,
)

ALICE = {"user_id": "alice"}


async def test_add_answers_like_mem0(memory: AsyncMemory) -> None:
    answer = await memory.add(
        [
            {"role": "system", "content": "You are helpful."},
            {"role": "user", "content": "I am allergic to peanuts.", "name": "Alice"},
            {"role": "assistant", "content": "Noted."},
        ],
        user_id="alice",
        infer=False,
    )
    first, second = answer["results"]
    assert set(answer) == {"results"}
    assert first["memory"] == "I am allergic to peanuts."
    assert (first["event"], first["actor_id"], first["role"]) == ("ADD", "Alice", "user")
    assert second["role"] == "assistant"


async def test_get_has_every_field_of_mem0(memory: AsyncMemory) -> None:
    added = await memory.add("I like tea", user_id="alice", metadata={"topic": "drinks"})
    got = await memory.get(added["results"][0]["id"])
    assert got is not None
    assert got["memory"] == "I like tea"
    assert got["metadata"] == {"topic": "drinks"}
    assert got["user_id"] == "alice"
    assert got["score"] is None
    assert len(got["hash"]) == 32
    assert datetime.fromisoformat(got["created_at"]).tzinfo == UTC
    assert await memory.get("00000000-0000-7000-8000-000000000000") is None


async def test_search_finds_and_explains(memory: AsyncMemory) -> None:
    await memory.add("My sister Rosa lives in Lisbon", user_id="alice")
    await memory.add("The car needs new tyres before winter", user_id="alice")
    answer = await memory.search("Where does Rosa live?", filters=ALICE, explain=True)
    best = answer["results"][0]
    assert best["memory"] == "My sister Rosa lives in Lisbon"
    assert 0.0 <= best["score"] <= 1.0
    details = best["score_details"]
    assert {"semantic_score", "bm25_score", "final_score", "threshold"} <= set(details)
    assert details["final_score"] == best["score"]
    assert details["bm25_score"] > 0


async def test_scores_mean_something_in_a_store_of_few(memory: AsyncMemory) -> None:
    texts = [
        "I moved to Lisbon in May and I am allergic to peanuts.",
        "My sister Joana visits on 12 June.",
        "The car needs new tyres before winter.",
        "I work as a nurse in a children's hospital.",
        "We adopted a greyhound called Pickle.",
    ]
    await memory.add(texts, user_id="alice")

    async def scores(question: str) -> dict[str, float]:
        found = await memory.search(question, filters=ALICE, threshold=0.0)
        return {hit["memory"]: hit["score"] for hit in found["results"]}

    told = await scores("What am I allergic to?")
    assert told[texts[0]] > 0.5
    assert told[texts[4]] < 0.3
    loosely = await scores("Any allergies?")
    assert max(loosely, key=loosely.__getitem__) == texts[0]
    assert loosely[texts[0]] > 0.1
    assert max((await scores("Who wrote Faust?")).values()) < 0.35


async def test_search_needs_an_entity(memory: AsyncMemory) -> None:
    for filters in (None, {}, {"topic": "x"}, {"NOT": [{"user_id": "alice"}]}):
        with pytest.raises(ValueError, match="user_id"):
            await memory.search("anything", filters=filters)


async def test_callers_before_mem0_2_still_work(memory: AsyncMemory) -> None:
    await memory.add("I like tea", user_id="alice")
    with pytest.warns(DeprecationWarning, match="Top-level ids"):
        found = await memory.search("what do I like to drink, tea?", user_id="alice", limit=3)
    assert found["results"][0]["memory"] == "I like tea"
    with pytest.warns(DeprecationWarning, match="Top-level ids"):
        assert (await memory.get_all(user_id="alice", limit=5))["total"] == 1


async def test_users_do_not_see_each_other(memory: AsyncMemory) -> None:
    await memory.add("The launch code is swordfish", user_id="alice")
    await memory.add("I like fish", user_id="bob")
    found = await memory.search("launch code swordfish", filters={"user_id": "bob"}, threshold=0.0)
    assert [hit["memory"] for hit in found["results"]] == ["I like fish"]


async def test_a_memory_is_found_through_each_of_its_entities(memory: AsyncMemory) -> None:
    await memory.add("Tickets are booked", user_id="alice", agent_id="planner", run_id="r1")
    for filters in (
        ALICE,
        {"agent_id": "planner"},
        {"run_id": "r1"},
        {"AND": [ALICE, {"run_id": "r1"}]},
    ):
        found = await memory.search("tickets", filters=filters)
        assert len(found["results"]) == 1, filters
    none = await memory.search("tickets", filters={"AND": [ALICE, {"run_id": "r2"}]})
    assert none["results"] == []


async def test_metadata_filters_apply_to_search_and_listing(memory: AsyncMemory) -> None:
    for number in range(40):
        await memory.add(f"note {number} about tea", user_id="alice", metadata={"n": number})
    filters = {"AND": [ALICE, {"n": {"gte": 38}}]}
    found = await memory.search("note about tea", filters=filters, top_k=5)
    assert {hit["metadata"]["n"] for hit in found["results"]} == {38, 39}
    assert (await memory.get_all(filters=filters))["total"] == 2
    assert await memory.count(filters) == 2


async def test_listing_pages_by_cursor_without_gap_or_repetition(memory: AsyncMemory) -> None:
    texts = [f"thing {number}" for number in range(25)]
    await memory.add(texts, user_id="alice")
    seen: list[str] = []
    cursor = None
    while True:
        page = await memory.get_all(filters=ALICE, top_k=10, cursor=cursor)
        assert page["total"] == 25
        seen += [one["memory"] for one in page["results"]]
        cursor = page["cursor"]
        if cursor is None:
            break
        await memory.add("written meanwhile", user_id="bob")
    assert seen == texts[::-1]


async def test_update_keeps_identity_and_writes_history(memory: AsyncMemory) -> None:
    added = await memory.add("I live in Oslo", user_id="alice", metadata={"a": 1})
    memory_id = added["results"][0]["id"]
    before = await memory.get(memory_id)
    answer = await memory.update(memory_id, "I live in Bergen", metadata={"b": 2})
    after = await memory.get(memory_id)
    assert before is not None
    assert after is not None
    assert answer == {"message": "Memory updated successfully!"}
    assert (after["memory"], after["metadata"]) == ("I live in Bergen", {"a": 1, "b": 2})
    assert after["created_at"] == before["created_at"]
    assert after["updated_at"] > before["updated_at"]
    events = await memory.history(memory_id)
    assert [event["event"] for event in events] == ["ADD", "UPDATE"]
    assert (events[1]["old_memory"], events[1]["new_memory"]) == (
        "I live in Oslo",
        "I live in Bergen",
    )
    found = await memory.search("Bergen", filters=ALICE)
    assert found["results"][0]["id"] == memory_id
    old = await memory.search("Oslo", filters=ALICE, threshold=0.0, explain=True)
    assert old["results"][0]["score_details"]["bm25_score"] == 0.0
    assert old["results"][0]["score"] < found["results"][0]["score"]


async def test_identity_cannot_be_set_through_metadata(memory: AsyncMemory) -> None:
    with pytest.warns(UserWarning, match="Identity"):
        added = await memory.add("mine", user_id="alice", metadata={"user_id": "bob", "x": 1})
    memory_id = added["results"][0]["id"]
    with pytest.warns(UserWarning, match="Identity"):
        await memory.update(memory_id, metadata={"user_id": "bob"})
    got = await memory.get(memory_id)
    assert got is not None
    assert (got["user_id"], got["metadata"]) == ("alice", {"x": 1})


async def test_delete_leaves_history_and_delete_all_leaves_no_text(
    memory: AsyncMemory, tmp_path: Path
) -> None:
    one = (await memory.add("zebra crossing", user_id="alice"))["results"][0]["id"]
    two = (await memory.add("giraffe neck", user_id="alice"))["results"][0]["id"]
    await memory.delete(one)
    assert await memory.get(one) is None
    assert (await memory.history(one))[-1]["event"] == "DELETE"
    with pytest.raises(NotFoundError):
        await memory.delete(one)
    with pytest.raises(ValueError, match="not found"):
        await memory.update(one, "x")
    assert (await memory.delete_all(user_id="alice"))["count"] == 1
    assert all(event["old_memory"] is None for event in await memory.history(two))
    assert (await memory.stats())["turns"] == 0
    await memory.aclose()
    left = b"".join(path.read_bytes() for path in (tmp_path / "store").glob("holdfast.db"))
    assert b"giraffe" not in left


async def test_delete_all_needs_somebody(memory: AsyncMemory) -> None:
    await memory.add("kept", user_id="alice")
    with pytest.raises(ValueError, match="At least one"):
        await memory.delete_all()
    assert await memory.count(ALICE) == 1


async def test_reset_forgets_everything(memory: AsyncMemory) -> None:
    await memory.add("gone", user_id="alice")
    await memory.search("gone", filters=ALICE)
    await memory.reset()
    assert (await memory.search("gone", filters=ALICE, threshold=0.0))["results"] == []
    assert (await memory.entities())["results"] == []
    await memory.add("again", user_id="alice")
    assert await memory.count(ALICE) == 1


async def test_expired_memories_are_hidden(memory: AsyncMemory) -> None:
    yesterday = (datetime.now(UTC) - timedelta(days=1)).date()
    await memory.add("the code is 1234", user_id="alice", expiration_date=yesterday)
    assert (await memory.search("code", filters=ALICE))["results"] == []
    shown = await memory.search("code", filters=ALICE, show_expired=True)
    assert shown["results"][0]["expiration_date"] == yesterday.isoformat()
    memory_id = shown["results"][0]["id"]
    assert (await memory.get_all(filters=ALICE))["total"] == 0
    await memory.update(memory_id, expiration_date=None)
    assert (await memory.get_all(filters=ALICE))["total"] == 1
    await memory.update(memory_id, expiration_date=date(2999, 1, 1))
    assert (await memory.search("code", filters=ALICE))["results"] != []


async def test_event_time_is_apart_from_ingest_time(memory: AsyncMemory) -> None:
    added = await memory.add(
        [
            {"role": "user", "content": "first", "timestamp": "2024-05-01T10:00:00+02:00"},
            {"role": "user", "content": "second"},
        ],
        user_id="alice",
        timestamp=1_700_000_000,
    )
    times = []
    for item in added["results"]:
        got = await memory.get(item["id"])
        assert got is not None
        times.append(got["event_at"])
    assert times == ["2024-05-01T08:00:00+00:00", "2023-11-14T22:13:20+00:00"]
    old = await memory.search("first", filters=ALICE, as_of="2024-01-01", threshold=0.0)
    assert [hit["memory"] for hit in old["results"]] == ["second"]


async def test_retries_do_not_duplicate(memory: AsyncMemory) -> None:
    turn = {"role": "user", "content": "ok", "timestamp": "2026-01-01T00:00:00Z"}
    first = await memory.add([turn, turn], user_id="alice")
    again = await memory.add([turn, turn], user_id="alice")
    assert await memory.count(ALICE) == 2
    assert [item["event"] for item in again["results"]] == ["NONE", "NONE"]
    assert [item["id"] for item in again["results"]] == [item["id"] for item in first["results"]]
    await memory.add("ok", user_id="alice")
    await memory.add("ok", user_id="alice")
    assert await memory.count(ALICE) == 4


async def test_idempotency_key_replays_the_first_answer(memory: AsyncMemory) -> None:
    first = await memory.add("pay the rent", user_id="alice", idempotency_key="k1")
    again = await memory.add("pay the rent", user_id="alice", idempotency_key="k1")
    assert again == first
    assert await memory.count(ALICE) == 1
    with pytest.raises(ConflictError):
        await memory.add("pay the tax", user_id="alice", idempotency_key="k1")
    many = await asyncio.gather(
        *(memory.add("water plants", user_id="alice", idempotency_key="k2") for _ in range(20))
    )
    assert len({answer["results"][0]["id"] for answer in many}) == 1
    assert await memory.count(ALICE) == 2


async def test_a_keyed_add_of_a_known_turn_names_the_stored_memory(memory: AsyncMemory) -> None:
    turn = {"role": "user", "content": "tea", "timestamp": "2026-01-01T00:00:00Z"}
    [first] = (await memory.add(turn, user_id="alice"))["results"]
    for _ in range(2):
        [again] = (await memory.add(turn, user_id="alice", idempotency_key="k"))["results"]
        assert (again["id"], again["event"], again["memory"]) == (first["id"], "NONE", "tea")


async def test_entities_and_stats_count(memory: AsyncMemory) -> None:
    await memory.add("one", user_id="alice", run_id="r")
    await memory.add("two", user_id="bob")
    listed = await memory.entities(page_size=2)
    assert listed["total"] == 3
    assert [(one["type"], one["name"]) for one in listed["results"]] == [
        ("run", "r"),
        ("user", "alice"),
    ]
    stats = await memory.stats()
    assert (stats["memories"], stats["turns"], stats["vectors"]) == (2, 2, 2)


async def test_projects_are_apart_in_one_store(tmp_path: Path) -> None:
    config = {"path": str(tmp_path / "s")}
    async with (
        AsyncMemory(config, project="red") as red,
        AsyncMemory(config, project="blue") as blue,
    ):
        added = await red.add("secret plan", user_id="alice", idempotency_key="k")
        memory_id = added["results"][0]["id"]
        assert await blue.get(memory_id) is None
        assert await blue.history(memory_id) == []
        assert (await blue.entities())["total"] == 0
        assert (await blue.search("plan", filters=ALICE, threshold=0.0))["results"] == []
        with pytest.raises(NotFoundError):
            await blue.delete(memory_id)
        await blue.add("other plan", user_id="alice", idempotency_key="k")
        await blue.delete_all(user_id="alice")
        await blue.reset()
        assert await red.count(ALICE) == 1


async def test_closed_memories_say_so(memory: AsyncMemory) -> None:
    await memory.add("x", user_id="alice")
    memory.close()
    memory.close()
    with pytest.raises(ClosedError):
        await memory.get_all(filters=ALICE)


async def test_procedural_memory_needs_a_model(memory: AsyncMemory) -> None:
    with pytest.raises(ValidationError, match="memory_type"):
        await memory.add("x", user_id="alice", memory_type="semantic")
    with pytest.raises(UnsupportedError):
        await memory.add("x", agent_id="a", memory_type="procedural_memory")
    with pytest.raises(NotImplementedError):
        await memory.chat("hello")


def test_the_blocking_memory_is_the_same(blocking: Memory) -> None:
    blocking.add("I like tea", user_id="alice")
    assert blocking.search("tea", filters=ALICE)["results"][0]["memory"] == "I like tea"
    assert blocking.get_all(filters=ALICE)["total"] == 1


def test_signatures_agree() -> None:
    skip = {"open", "aclose", "close"}
    for name, method in inspect.getmembers(AsyncMemory, inspect.isfunction):
        if name.startswith("_") or name in skip:
            continue
        assert inspect.signature(method) == inspect.signature(getattr(Memory, name)), name
