"""What works in the background ends when it is told to, whatever else happens at that moment; and
it works no harder while it can do nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from holdfast.backends.webhook_sender import HttpSender
from holdfast.engine import deliveries as delivering
from holdfast.engine import jobs, worker
from holdfast.engine.deliveries import Deliveries
from holdfast.errors import (
    BudgetExceededError,
    HoldfastError,
    ModelUnavailableError,
    StoreUnavailableError,
)
from support.embedded import add, opened

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


class Away:
    """A model that is left alone: its calls fail without being made."""

    provider, model = "tests", "away"

    def __init__(self, error: HoldfastError) -> None:
        self.error = error
        self.asked = 0

    async def complete(self, *_: object, **__: object) -> object:
        self.asked += 1
        raise self.error

    async def close(self) -> None:
        """Nothing to release."""


def left_alone(*, tried: bool) -> HoldfastError:
    error = ModelUnavailableError("It failed too often lately.", retry_after_s=30.0)
    error.tried = tried
    return error


@pytest.mark.parametrize(
    ("error", "becomes"),
    [
        (left_alone(tried=False), "held_back"),
        (left_alone(tried=True), "ran"),
        (BudgetExceededError("No room.", retry_after_s=30.0), "ran"),
    ],
)
async def test_what_became_of_the_next_job(
    tmp_path: Path, error: HoldfastError, becomes: str
) -> None:
    """Others fare no better only where the model itself is left alone: a budget is somebody's."""
    async with opened(tmp_path / "store.db", llm=Away(error)) as parts:  # type: ignore[arg-type]
        assert await jobs.run_next(parts) == "none"
        await add(parts, "I like tea.", "ann", wait=False)
        assert await jobs.run_next(parts) == becomes
        assert await jobs.run_next(parts) == "none"


async def test_adds_do_not_drive_a_worker_whose_model_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "HELD_S", 60.0)
    model = Away(left_alone(tried=False))
    async with opened(tmp_path / "store.db", llm=model) as parts:  # type: ignore[arg-type]
        task = asyncio.create_task(worker.serve(parts))
        for number in range(20):
            await add(parts, f"I like tea number {number}.", f"user-{number}", wait=False)
        await asyncio.sleep(0.05)
        assert model.asked == 1
        task.cancel()
        await asyncio.wait([task])


async def test_a_store_that_is_away_is_told_once_by_what_tells_webhooks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It looks every second, and there may be many of it."""
    rounds = 0
    done = asyncio.Event()

    async def round_(_: Deliveries) -> None:
        nonlocal rounds
        rounds += 1
        if rounds in (2, 3, 4, 7):
            raise StoreUnavailableError("The record store is away.")
        if rounds == 9:
            done.set()

    monkeypatch.setattr(Deliveries, "round", round_)
    monkeypatch.setattr(delivering, "POLL_S", 0.01)
    sender = HttpSender(private=True, timeout_s=1.0)
    async with opened(tmp_path / "store.db") as parts:
        task = asyncio.create_task(delivering.serve(parts, sender))
        await asyncio.wait_for(done.wait(), 10)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await sender.close()
    said = [record.getMessage() for record in caplog.records if record.name == "holdfast.webhooks"]
    once = "webhooks cannot be told anything, it is tried again: STORE_UNAVAILABLE"
    assert [each.partition(" (")[0] for each in said] == [once, "webhooks are told again"] * 2
