"""Backups by a schedule: one process of many makes them, outdated ones go, failures are told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from holdfast.admin import AsyncAdmin
from holdfast.backends.backups.folder import FolderDestination
from holdfast.clock import ManualClock
from holdfast.config import BackupSettings
from holdfast.core.cron import next_time
from holdfast.engine import backup_schedule as scheduling
from holdfast.engine.backup_schedule import Plan
from holdfast.errors import BackupUnavailableError, ConfigError
from tests.engine.test_backups import config

HOUR = 3_600.0
START = 1_799_971_200.0  # midnight, UTC


def scheduled(tmp_path: Path, **more: Any) -> Any:
    wanted = {"path": str(tmp_path / "backups"), "schedule": "0 3 * * *", **more}
    return config(tmp_path, backup={"provider": "folder", "config": wanted})


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> ManualClock:
    """The time of everything that is about backups."""
    made = ManualClock(START)
    monkeypatch.setattr("holdfast.admin.backups.SystemClock", lambda: made)
    return made


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses are over at once."""
    sleep = asyncio.sleep
    monkeypatch.setattr(scheduling.asyncio, "sleep", lambda _s: sleep(0.001))


async def rounds(plan: Plan, clock: ManualClock, hours: int) -> list[float]:
    """Look every hour; how long each look would wait."""
    lease = scheduling.Lease(plan.source, "backup:making", clock, scheduling.LEASE_S)
    pauses = []
    for _ in range(hours):
        pauses.append(await scheduling._round(plan, lease, START))
        clock.advance(HOUR)
    return pauses


async def test_a_month_of_nights(tmp_path: Path, clock: ManualClock) -> None:
    keep = {"keep_last": 2, "keep_daily": 5, "keep_weekly": 2, "keep_monthly": 1}
    async with AsyncAdmin(scheduled(tmp_path, **keep)) as admin:
        await admin.memory().add("I like tea.", user_id="ann", infer=False)
        assert (await admin.backups.status()).too_old
        async with admin.backups._plan() as plan:
            await rounds(plan, clock, 24 * 20)
            found = await admin.backups.listed()
            assert 6 <= len(found) <= 10
            assert all(one.created_at % (24 * HOUR) == 3 * HOUR for one in found)
            ids = {one.id for one in found}
            assert {one.base for one in found if one.base} <= ids
            assert {one.kind for one in found} == {"full", "incremental"}
            status = await admin.backups.status()
            assert (status.too_old, status.failed_at, status.well) == (False, None, True)
            assert status.newest == found[-1]
            assert status.next_at == found[-1].created_at + 24 * HOUR
            gauges = plan.metrics.gauges()
            assert gauges["backup_newest_at"] == found[-1].created_at
            assert gauges["backup_bytes"] == found[-1].size
            clock.advance(3 * 24 * HOUR)
            assert (await admin.backups.status()).too_old
            await rounds(plan, clock, 1)
            assert not (await admin.backups.status()).too_old, "made up for at once"


async def test_one_of_many_makes_it(tmp_path: Path, clock: ManualClock) -> None:
    async with AsyncAdmin(scheduled(tmp_path)) as one, AsyncAdmin(scheduled(tmp_path)) as two:
        await one.memory().add("I like tea.", user_id="ann", infer=False)
        clock.advance(4 * HOUR)
        async with one.backups._plan() as first, two.backups._plan() as second:
            leases = [
                scheduling.Lease(plan.source, "backup:making", clock, scheduling.LEASE_S)
                for plan in (first, second)
            ]
            await asyncio.gather(
                scheduling._round(first, leases[0], START),
                scheduling._round(second, leases[1], START),
            )
            assert len(await one.backups.listed()) == 1
            assert await leases[1].hold(), "it was given back"


async def test_a_failure_is_told_and_tried_again(
    tmp_path: Path, clock: ManualClock, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, left = FolderDestination.put, 2

    async def failing(self: FolderDestination, *values: Any) -> int:
        nonlocal left
        left -= 1
        if left >= 0:
            raise BackupUnavailableError("planted")
        return await put(self, *values)

    monkeypatch.setattr(FolderDestination, "put", failing)
    async with AsyncAdmin(scheduled(tmp_path)) as admin:
        await admin.memory().add("I like tea.", user_id="ann", infer=False)
        async with admin.backups._plan() as plan:
            serving = asyncio.create_task(scheduling.serve(plan))
            await asyncio.sleep(0.01)
            clock.advance(4 * HOUR)
            await until(lambda: left < 2)
            await until(lambda: plan.metrics.counts().get(("backup", ("failed",))) is not None)
            await until(lambda: plan.metrics.counts().get(("backup", ("made",))) == 1)
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
            assert plan.metrics.counts()["backup", ("failed",)] == 2
            assert plan.metrics.sight("backup").succeeded_at
            assert (await admin.backups.status()).well
            await scheduling._failed(plan, "PLANTED")
            status = await admin.backups.status()
            assert (status.failed_at, status.well) == (clock.now(), False)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.get_running_loop().run_in_executor(None, lambda: None)


async def test_prune_tells_before_it_does(tmp_path: Path, clock: ManualClock) -> None:
    none = {f"keep_{name}": 0 for name in ("last", "daily", "weekly", "monthly", "yearly")}
    async with AsyncAdmin(scheduled(tmp_path, **none)) as admin:
        await admin.memory().add("I like tea.", user_id="ann", infer=False)
        made = []
        for full in (True, False, True, False):
            made.append((await admin.backups.create(full=full)).id)
            clock.advance(HOUR)
        dry = await admin.backups.prune(dry=True)
        assert (dry.removed, dry.kept) == (tuple(made[:2]), 2)
        assert [one.id for one in await admin.backups.listed()] == made
        assert (await admin.backups.prune()) == dry
        assert [one.id for one in await admin.backups.listed()] == made[2:]
        assert (await admin.backups.verify()).memories == 1
    other = AsyncAdmin({**scheduled(tmp_path, **none), "path": str(tmp_path / "another")})
    async with other as admin:
        assert (await admin.backups.prune()).removed == (), "those of other stores are left alone"


async def test_without_a_schedule_nothing_is_served(tmp_path: Path) -> None:
    async with AsyncAdmin(config(tmp_path)) as admin:
        await admin.backups.serve()
    with pytest.raises(ConfigError, match="cron"):
        async with AsyncAdmin(scheduled(tmp_path, schedule="every night")) as admin:
            await admin.backups.serve()
    with pytest.raises(ConfigError, match="timezone"):
        async with AsyncAdmin(scheduled(tmp_path, timezone="Mars/Olympus")) as admin:
            await admin.backups.status()


def test_next_is_after_the_last(clock: ManualClock) -> None:
    settings = BackupSettings(schedule="0 3 * * *")
    from datetime import UTC

    assert next_time(settings.schedule, START, UTC) == START + 3 * HOUR
