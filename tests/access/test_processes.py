"""Several processes on one store: each sees at once what any of them was told is kept."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from holdfast import Memory
from support.peer import Peer

PEERS = 3
ADDS = 60
HEAD_START_S = 0.1
MOMENT = 1_700_000_000

Call = tuple[str, dict[str, Any]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shared")


@pytest.fixture(scope="module")
def peers(folder: Path) -> Iterator[list[Peer]]:
    """Processes that were started together on a store that did not exist."""
    with ExitStack() as stack:
        yield [stack.enter_context(Peer(folder)) for _ in range(PEERS)]


def at_once(peers: list[Peer], calls: list[list[Call]]) -> list[list[Any]]:
    """Each process makes its calls; all begin at the same time."""
    start_at = time.time() + HEAD_START_S
    for peer, own in zip(peers, calls, strict=True):
        peer.tell(own, start_at)
    return [peer.hear() for peer in peers]


def texts(peer: Peer, user: str) -> list[str]:
    found = peer.call("get_all", filters={"user_id": user}, top_k=1_000)
    assert found["total"] == len(found["results"])
    return sorted(one["memory"] for one in found["results"])


def found(peer: Peer, user: str) -> dict[str, str]:
    """Everything a search of a user's memories returns: text by id."""
    results = peer.call(
        "search", query="note", filters={"user_id": user}, top_k=1_000, threshold=0.0
    )["results"]
    return {one["id"]: one["memory"] for one in results}


def test_the_first_openers_make_one_store(peers: list[Peer]) -> None:
    assert [texts(peer, "nobody") for peer in peers] == [[]] * PEERS


def test_all_writes_of_all_processes_are_kept(peers: list[Peer]) -> None:
    """To one user they share, and to one of each's own."""
    calls: list[list[Call]] = [
        [
            ("add", {"messages": f"note {n} by {peer}", "user_id": user})
            for n in range(ADDS // 2)
            for user in ("shared", f"own {peer}")
        ]
        for peer in range(PEERS)
    ]
    for results in at_once(peers, calls):
        assert all(result["results"][0]["event"] == "ADD" for result in results)
    wanted = sorted(f"note {n} by {peer}" for n in range(ADDS // 2) for peer in range(PEERS))
    for number, peer in enumerate(peers):
        assert texts(peer, "shared") == wanted
        assert sorted(found(peer, "shared").values()) == wanted
        assert texts(peer, f"own {(number + 1) % PEERS}") == [
            text for text in wanted if text.endswith(f"by {(number + 1) % PEERS}")
        ]


def test_a_write_that_was_acknowledged_is_seen_by_every_process(peers: list[Peer]) -> None:
    """Random adds, updates and deletes by random processes, each looked for by another."""
    chance = random.Random(20261123)
    held: dict[str, dict[str, str]] = {"ann": {}, "bob": {}}
    for step in range(150):
        writer, reader = chance.sample(peers, 2)
        user = chance.choice(sorted(held))
        mine = held[user]
        dice = chance.random()
        if not mine or dice < 0.5:
            added = writer.call("add", messages=f"note {step}", user_id=user)["results"]
            mine[added[0]["id"]] = f"note {step}"
        elif dice < 0.75:
            memory_id = chance.choice(sorted(mine))
            writer.call("update", memory_id=memory_id, text=f"changed note {step}")
            mine[memory_id] = f"changed note {step}"
        elif dice < 0.97:
            memory_id = chance.choice(sorted(mine))
            writer.call("delete", memory_id=memory_id)
            del mine[memory_id]
            assert reader.call("get", memory_id=memory_id) is None
        else:
            writer.call("delete_all", user_id=user)
            mine.clear()
        assert found(reader, user) == mine
        assert texts(reader, user) == sorted(mine.values())


def turn(user: str, text: str, **more: Any) -> list[Call]:
    return [("add", {"messages": text, "user_id": user, "timestamp": MOMENT, **more})]


def test_one_turn_from_many_processes_is_one_memory(peers: list[Peer]) -> None:
    for attempt in range(20):
        user = f"once {attempt}"
        results = at_once(peers, [turn(user, "I said this once.")] * PEERS)
        told = [answer["results"][0] for [answer] in results]
        assert sorted(one["event"] for one in told) == ["ADD"] + ["NONE"] * (PEERS - 1)
        assert len({one["id"] for one in told}) == 1
        assert texts(peers[0], user) == ["I said this once."]


def test_one_idempotency_key_from_many_processes_is_one_add(peers: list[Peer]) -> None:
    said = [{"role": "user", "content": text} for text in ("one", "two", "one")]
    for attempt in range(20):
        key, user = f"key {attempt}", f"keyed {attempt}"
        call: Call = ("add", {"messages": said, "user_id": user, "idempotency_key": key})
        results = at_once(peers, [[call, call]] * PEERS)
        answers = [answer for own in results for answer in own]
        assert all(answer["results"] == answers[0]["results"] for answer in answers)
        assert len({one["id"] for one in answers[0]["results"]}) == 3
        assert texts(peers[attempt % PEERS], user) == ["one", "one", "two"]


def test_one_idempotency_key_for_two_contents_is_a_conflict(peers: list[Peer]) -> None:
    contents = [turn("torn", f"content {n}", idempotency_key="torn") for n in range(PEERS)]
    results = [answer for [answer] in at_once(peers, contents)]
    assert [result.get("code") for result in results].count("CONFLICT") == PEERS - 1
    assert len(texts(peers[0], "torn")) == 1


def test_counts_and_history_are_right_afterwards(peers: list[Peer], folder: Path) -> None:
    with Memory({"path": str(folder)}) as memory:
        for entity in memory.entities(page_size=1_000)["results"]:
            listed = memory.get_all(filters={"user_id": entity["name"]}, top_k=1)
            assert listed["total"] == entity["total_memories"]
        stats = memory.stats()
        assert stats["vectors"] == stats["memories"]
