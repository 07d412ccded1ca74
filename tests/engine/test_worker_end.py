"""What works in the background ends when it is told to, whatever else happens at that moment."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from holdfast.engine import worker
from holdfast.engine.deliveries import Deliveries
from support.embedded import opened

TICKS = range(6)
"""Steps of the event loop between the news and the end."""


async def ends(task: asyncio.Task[None], event: asyncio.Event, ticks: int) -> bool:
    """Whether a task ends that is woken and, so many steps later, cancelled."""
    await asyncio.sleep(0.1)
    event.set()
    for _ in range(ticks):
        await asyncio.sleep(0)
    task.cancel()
    done, _ = await asyncio.wait([task], timeout=1.0)
    for _ in range(3):
        if not task.done():
            task.cancel()
            await asyncio.wait([task], timeout=1.0)
    return bool(done)


@pytest.mark.parametrize("ticks", TICKS)
async def test_a_worker_that_is_woken_as_it_is_stopped_stops(tmp_path: Path, ticks: int) -> None:
    async with opened(tmp_path / "store.db") as parts:
        task = asyncio.create_task(worker.serve(parts))
        assert await ends(task, parts.wake, ticks)


@pytest.mark.parametrize("ticks", TICKS)
async def test_what_tells_webhooks_stops_too(ticks: int) -> None:
    deliveries = object.__new__(Deliveries)
    deliveries._wake = asyncio.Event()

    async def serve() -> None:
        while True:
            await deliveries.pause(30.0)
            deliveries._wake.clear()

    assert await ends(asyncio.create_task(serve()), deliveries._wake, ticks)
