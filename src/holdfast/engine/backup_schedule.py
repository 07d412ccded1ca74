"""Backups by a schedule: made by one process of many, outdated ones removed, failures told."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import tzinfo
from typing import Final

from holdfast.config import BackupSettings
from holdfast.core.archive import SUFFIX
from holdfast.core.cron import next_time
from holdfast.core.keeping import Kept, outdated
from holdfast.engine.archives import ends, name_of
from holdfast.engine.backups import Backup, Shelf, backup_of, create, listed
from holdfast.engine.leasing import Lease
from holdfast.errors import CorruptError, HoldfastError, NotFoundError
from holdfast.metrics import Metrics
from holdfast.model import Struct, unheard
from holdfast.ports import IndexSource

POLL_S: Final = 60.0
"""How often it is looked whether a backup is due, at least."""
LEASE_S: Final = 120.0
BACKOFF_S: Final = 60.0
"""Pause after a failure; doubles up to an hour."""
BACKOFF_MAX_S: Final = 3_600.0
FAILED: Final = "backup:failed"
"""The named number of the time, in seconds, of a failure that no success followed."""
_LEASE: Final = "backup:making"

_log = logging.getLogger("holdfast.backup")


class BackupStatus(Struct, frozen=True, kw_only=True):
    """How backups stand."""

    newest: Backup | None
    """Of this store; None if there is none."""
    age_s: float | None
    """Its age, in seconds."""
    too_old: bool
    """Whether there is none, or it is older than `max_age_s`: an alert."""
    failed_at: float | None
    """When the last scheduled one failed, unless one succeeded since; epoch seconds."""
    schedule: str
    next_at: float | None = None
    """When the next one is due; None without a schedule."""

    @property
    def well(self) -> bool:
        """Whether nobody need be told."""
        return not self.too_old and self.failed_at is None


class Pruned(Struct, frozen=True, kw_only=True):
    """What became of the backups of a store."""

    removed: tuple[str, ...]
    kept: int


@dataclass(frozen=True)
class Plan:
    """When backups are made, and which are kept."""

    shelf: Shelf
    settings: BackupSettings
    zone: tzinfo
    source: IndexSource
    """Keeps the lease, and the last failure."""
    metrics: Metrics


async def store_of(shelf: Shelf) -> str:
    """What tells the store from others."""
    async with shelf.archiving.snapshot() as snapshot:
        return snapshot.store


async def newest(shelf: Shelf, store: str) -> Backup | None:
    """The newest whole archive of a store: names begin with their time."""
    for stored in reversed(await shelf.destination.listed()):
        if not stored.name.endswith(SUFFIX):
            continue
        with suppress(CorruptError, NotFoundError):  # cut off, or pruned meanwhile: no backup
            opened, end = await ends(shelf.destination, stored.name)
            if opened.header.store == store:
                return backup_of(opened.header, end.size)
    return None


async def status(plan: Plan) -> BackupStatus:
    """How backups stand. Raises BackupUnavailableError, StoreError."""
    now = plan.shelf.clock.now()
    found = await newest(plan.shelf, await store_of(plan.shelf))
    failed = await plan.source.number(FAILED)
    age_s = None if found is None else max(0.0, now - found.created_at)
    settings = plan.settings
    next_at = None
    if settings.schedule:
        after = now if found is None else found.created_at
        next_at = max(now, next_time(settings.schedule, after, plan.zone))
    return BackupStatus(
        newest=found,
        age_s=age_s,
        too_old=age_s is None or age_s > settings.max_age_s,
        failed_at=None if failed is None else float(failed),
        schedule=settings.schedule,
        next_at=next_at,
    )


async def prune(
    shelf: Shelf, settings: BackupSettings, zone: tzinfo, *, store: str, dry: bool
) -> Pruned:
    """Remove the archives of a store that are not to be kept; `dry`: only tell which.

    Damaged ones, and those of other stores, are left alone.
    """
    mine = [one for one in await listed(shelf) if one.whole and one.store == store]
    ids = outdated([Kept(one.id, one.created_at, one.base) for one in mine], settings, zone)
    bases = {one.id for one in mine if one.base is None}
    # what is built upon another goes before it: whoever lists meanwhile sees no orphan
    for backup_id in sorted(ids, key=lambda one: (one in bases, one)):
        if not dry:
            await shelf.destination.delete(name_of(backup_id))
    return Pruned(removed=tuple(ids), kept=len(mine) - len(ids))


async def serve(plan: Plan) -> None:
    """Make backups when they are due, until cancelled.

    Any number of processes may do so: one makes it. What was due while none ran is made at once.
    Failures are logged, counted, and tried again with growing pauses.
    """
    lease = Lease(plan.source, _LEASE, plan.shelf.clock, LEASE_S)
    began = plan.shelf.clock.now()
    failures = 0
    while True:
        try:
            pause_s = await _round(plan, lease, began)
            failures = 0
        except HoldfastError as error:
            failures += 1
            pause_s = min(BACKOFF_MAX_S, BACKOFF_S * 2.0 ** (failures - 1))
            _log.error("no backup was made: %s: %s", error.code, error.message)
            await _failed(plan, error.code)
        await asyncio.sleep(pause_s)


async def _round(plan: Plan, lease: Lease, began: float) -> float:
    """Make a backup if one is due; how long to wait before the next look."""
    now = plan.shelf.clock.now()
    store = await store_of(plan.shelf)
    found = await newest(plan.shelf, store)
    _told(plan.metrics, found)
    after = began if found is None else found.created_at
    due = next_time(plan.settings.schedule, after, plan.zone)
    if due > now:
        return min(POLL_S, due - now)
    if not await lease.hold():
        return POLL_S
    async with _held(lease):
        found = await create(plan.shelf, full=False, told=unheard)
        await prune(plan.shelf, plan.settings, plan.zone, store=store, dry=False)
    await _move(plan.source, None)
    _told(plan.metrics, found)
    plan.metrics.seen("backup", "", plan.shelf.clock.now() - now)
    plan.metrics.count("backup", "made")
    return 1.0


@asynccontextmanager
async def _held(lease: Lease) -> AsyncIterator[None]:
    """Keep the lease while something long is done."""

    async def keep() -> None:
        while True:
            await asyncio.sleep(LEASE_S / 4)
            with suppress(HoldfastError):  # asked again before it is over
                await lease.hold()

    keeping = asyncio.create_task(keep())
    try:
        yield
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        await lease.release()


async def _failed(plan: Plan, code: str) -> None:
    plan.metrics.count("backup", "failed")
    plan.metrics.seen("backup", code, 0.0)
    with suppress(HoldfastError):  # the store is away perhaps, which is why; others tell of that
        await _move(plan.source, round(plan.shelf.clock.now()))


async def _move(source: IndexSource, value: int | None) -> None:
    await source.move(FAILED, await source.number(FAILED), value)


def _told(metrics: Metrics, found: Backup | None) -> None:
    """The gauges of the newest backup."""
    metrics.gauge("backup_newest_at", _always(0.0 if found is None else found.created_at))
    metrics.gauge("backup_bytes", _always(0.0 if found is None else float(found.size)))


def _always(value: float) -> Callable[[], float]:
    return lambda: value
