"""`Directory.update` with rows to insert, and what the stamp tells of, in every back end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from holdfast.backends.memory.records import MemoryRecords, Store
from holdfast.backends.sqlite.records import SqliteRecords
from holdfast.clock import ManualClock, seeded_ids
from holdfast.directory import Delivery, Export, Feedback, Member, Webhook, Where
from holdfast.errors import ConflictError
from holdfast.ports import Directory
from holdfast.testing.contracts.values import SPACE

HOOK = Webhook(
    id="w", project="p", name="n", url="u", event_types=("memory_add",), secret="s", fed=1,
    created_at=1.0, updated_at=1.0,
)  # fmt: skip
MESSAGE = Delivery(
    id="d", project="p", webhook="w", event="memory_add", body={"a": [1]}, change_no=2,
    run_after=1.0, created_at=1.0,
)  # fmt: skip
IS = (Where("id", "w"), Where("fed", 1))


@pytest.fixture(params=["memory", "sqlite"])
async def directory(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Directory]:
    ids = seeded_ids(ManualClock(), seed=1)
    records: Any = (
        MemoryRecords(Store(), ids)
        if request.param == "memory"
        else SqliteRecords(tmp_path / "store.db", ManualClock(), ids)
    )
    await records.open(SPACE)
    yield records.directory
    await records.close()


async def test_rows_come_with_the_change_they_belong_to(directory: Directory) -> None:
    await directory.insert(HOOK)
    assert await directory.update(Webhook, *IS, values={"fed": 2}, insert=[MESSAGE]) == 1
    assert await directory.select(Delivery) == [MESSAGE]
    assert (await directory.select(Webhook))[0].fed == 2
    other = replace(MESSAGE, id="e")
    assert await directory.update(Webhook, *IS, values={"fed": 3}, insert=[other]) == 0
    assert await directory.select(Delivery) == [MESSAGE]


async def test_neither_is_done_if_one_cannot_be(directory: Directory) -> None:
    await directory.insert(HOOK, MESSAGE)
    with pytest.raises(ConflictError):
        await directory.update(
            Webhook, *IS, values={"fed": 2}, insert=[replace(MESSAGE, id="e"), MESSAGE]
        )
    assert await directory.select(Delivery) == [MESSAGE]
    assert await directory.select(Webhook) == [HOOK]


async def test_of_many_at_once_one_wins(directory: Directory) -> None:
    await directory.insert(HOOK)
    rows = [replace(MESSAGE, id=f"d{i}") for i in range(20)]
    won = await asyncio.gather(
        *(directory.update(Webhook, *IS, values={"fed": 2}, insert=[row]) for row in rows)
    )
    assert sorted(won) == [0] * 19 + [1]
    assert [row.id for row in await directory.select(Delivery)] == [f"d{won.index(1)}"]


async def test_the_stamp_tells_of_rows_that_decide_who_may_do_what(directory: Directory) -> None:
    before = await directory.stamp()
    await directory.insert(HOOK, MESSAGE)
    await directory.update(Webhook, *IS, values={"fed": 2}, insert=[replace(MESSAGE, id="e")])
    await directory.update(Delivery, Where("id", "d"), values={"attempts": 1})
    await directory.delete(Delivery, Where("id", "d"))
    assert await directory.stamp() == before
    await directory.insert(Member(project="p", email="a@b", role="OWNER", created_at=1.0))
    after = await directory.stamp()
    assert after != before
    await directory.update(Member, Where("email", "a@b"), values={"role": "READER"})
    assert await directory.stamp() != after
    assert [kind for kind in (Webhook, Delivery, Feedback, Export) if kind.stamped] == []


async def test_nothing_and_something_are_told_apart(directory: Directory) -> None:
    await directory.insert(MESSAGE, replace(MESSAGE, id="e", change_no=None))
    assert [row.id for row in await directory.select(Delivery, Where("change_no", None))] == ["e"]
    assert [row.id for row in await directory.select(Delivery, Where("change_no", 2))] == ["d"]
