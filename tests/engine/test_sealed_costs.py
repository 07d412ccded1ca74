"""What sealing adds: no statement where keys are known, a few for a new one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from holdfast import AsyncMemory
from holdfast.backends.keyrings.local import LocalKeyRing
from holdfast.backends.sqlite.connect import SqliteConnection
from support.sealed import MASTER
from tests.engine.test_sealed import config, hold

USERS = 5


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    file = tmp_path / "master.keys"
    file.touch(mode=0o600)
    hold(file, MASTER)
    return file


OUTSIDE = ("BEGIN", "COMMIT", "PRAGMA busy_timeout")
"""Whose number depends on who commits: a loop does not wait for other processes, a thread does."""


@pytest.fixture
def counts() -> Iterator[Counter[str]]:
    """Statements of the store, and calls of the keyring."""
    counted: Counter[str] = Counter()
    execute, unwrap, wrap = SqliteConnection.execute, LocalKeyRing.unwrap, LocalKeyRing.wrap

    def executed(self: Any, sql: str, *rest: Any) -> Any:
        counted["statements"] += not sql.startswith(OUTSIDE)
        return execute(self, sql, *rest)

    async def unwrapped(self: Any, *rest: Any) -> bytes:
        counted["unwrap"] += 1
        return await unwrap(self, *rest)

    async def wrapped(self: Any, *rest: Any) -> bytes:
        counted["wrap"] += 1
        return await wrap(self, *rest)

    with (
        patch.object(SqliteConnection, "execute", executed, create=True),
        patch.object(LocalKeyRing, "unwrap", unwrapped),
        patch.object(LocalKeyRing, "wrap", wrapped),
    ):
        yield counted


async def used(memory: AsyncMemory, times: int, counts: Counter[str]) -> Counter[str]:
    """What so many adds and searches of each user cost."""
    before = Counter(counts)
    for n in range(times):
        for user in range(USERS):
            await memory.add(f"I ate {n} plums.", user_id=f"u{user}", infer=False)
            await memory.search("plums", filters={"user_id": f"u{user}"})
    return counts - before


async def test_known_keys_cost_no_statement(
    tmp_path: Path, keys: Path, counts: Counter[str]
) -> None:
    told = {}
    for folder, ring in (("plain", None), ("sealed", keys)):
        async with AsyncMemory(config(tmp_path / folder, ring)) as memory:
            first = await used(memory, 1, counts)
            told[folder] = (first, await used(memory, 4, counts))
    plain, sealed = told["plain"], told["sealed"]
    assert plain[1]["statements"] > 100
    assert sealed[1] == plain[1], "more statements, or a call of the keyring, for known keys"
    assert sealed[0]["wrap"] == sealed[0]["unwrap"] == USERS
    # looked up, put, and read back
    assert sealed[0]["statements"] - plain[0]["statements"] <= 3 * USERS


async def test_a_cold_working_set_is_read_once(
    tmp_path: Path, keys: Path, counts: Counter[str]
) -> None:
    """The user's key is in memory before; it would be missed in the middle, and all read again."""
    told = {}
    for folder, ring in (("plain", None), ("sealed", keys)):
        async with AsyncMemory(config(tmp_path / folder, ring)) as memory:
            for n in range(5):
                await memory.add(f"Plum {n}", user_id="ann", infer=False)
        async with AsyncMemory(config(tmp_path / folder, ring)) as memory:
            before = Counter(counts)
            found = await memory.search("plum", filters={"user_id": "ann"})
            assert len(found["results"]) == 5
            told[folder] = counts - before
    assert told["sealed"]["statements"] - told["plain"]["statements"] == 1, "that for the key"


async def test_keys_are_loaded_once_for_many_rows(
    tmp_path: Path, keys: Path, counts: Counter[str]
) -> None:
    async with AsyncMemory(config(tmp_path, keys)) as memory:
        for n in range(20):
            await memory.add(f"Plum {n}", user_id=f"u{n}", agent_id="cook", infer=False)
    async with AsyncMemory(config(tmp_path, keys)) as memory:
        before = Counter(counts)
        listed = await memory.get_all(filters={"agent_id": "cook"})
        assert len(listed["results"]) == 20
        cold = counts - before
        await memory.get_all(filters={"agent_id": "cook"})
        warm = counts - before - cold
        assert cold["unwrap"] == 20
        assert cold["statements"] - 2 * warm["statements"] <= 1, "one look-up, and run again"
        assert warm["unwrap"] == 0
