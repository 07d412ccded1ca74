"""The public face of backups: made while everybody works, verified, restored."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Literal, NamedTuple
from zoneinfo import ZoneInfo

from msgspec.structs import replace

from holdfast.clock import SystemClock
from holdfast.config import BackupSettings, Config, Part
from holdfast.core import intake, verbs
from holdfast.core.cron import next_time
from holdfast.engine import backup_schedule as scheduling
from holdfast.engine import backups as engine
from holdfast.engine import merging, restoring
from holdfast.engine.auditing import audited
from holdfast.engine.backup_schedule import BackupStatus, Plan, Pruned
from holdfast.engine.backups import Backup, BackupContents, Shelf
from holdfast.engine.merging import Merged
from holdfast.engine.parts import Parts
from holdfast.engine.restoring import Restored, Verified
from holdfast.errors import ConfigError, ConflictError, HoldfastError, ValidationError
from holdfast.limits import ID_CHARS_MAX
from holdfast.model import Entity, OnProgress, Struct, unheard
from holdfast.ports import IndexSource
from holdfast.registry import backup_settings, make_shelf, opened_beside

_SCHEMES = {"s3": "s3", "gs": "gcs", "gcs": "gcs", "az": "azure", "azure": "azure"}


class Source(NamedTuple):
    """What an open deployment has for its backups."""

    numbers: IndexSource
    parts: Parts


class BackupWork(Struct, frozen=True, kw_only=True):
    """A backup that is made in the background of one process. Times are epoch seconds."""

    state: Literal["RUNNING", "SUCCEEDED", "FAILED", "CANCELLED"]
    done: int = 0
    """Rows."""
    total: int = 0
    started_at: float
    ended_at: float | None = None
    backup_id: str | None = None
    error: str | None = None
    """Code of the error with which it failed."""


@audited(verbs.BACKUPS, "backups.")
class Backups:
    """The backups of a deployment, of all its projects; `AsyncAdmin.backups` gives it.

    Where a method takes `at`, it is a folder or an address (`s3://bucket/prefix`) in place of the
    configured one. The store need not be open, and others may use it. All raise
    UnsupportedError where no place is configured or named, BackupUnavailableError where it cannot
    be reached, ConfigError, MissingExtraError.
    """

    def __init__(
        self,
        config: Config,
        is_open: Callable[[], bool],
        source: Callable[[], Awaitable[Source]],
        parts: Callable[[], Awaitable[Parts]],
    ) -> None:
        """`is_open`: whether this process has the store open; `source`: gives what keeps its named
        numbers, and what counts, opened; `parts` gives what else there is then."""
        self._config = config
        self._is_open = is_open
        self._source = source
        self._parts = parts
        self._task: asyncio.Task[None] | None = None
        self.work: BackupWork | None = None
        """What this process makes, or made last, in the background."""

    async def create(
        self, *, full: bool = False, at: str | None = None, told: OnProgress | None = None
    ) -> Backup:
        """Archive the store as it is now, while it is written to.

        Incremental upon the newest full archive there is, unless that is too old, or `full`.
        `told`: how many rows are done, and of how many. Raises StoreError, KeyRingError.
        """
        async with self._shelf(at) as shelf:
            return await engine.create(shelf, full=full, told=told or unheard)

    async def begin(self, *, full: bool = False) -> BackupWork:
        """`create` in the background of this process; `work` tells how far it is.

        Raises ConflictError while one is made.
        """
        if self._task is not None and not self._task.done():
            raise ConflictError("A backup is being made already.", hint="Wait until it is done.")
        make_shelf(self._config, SystemClock())  # says now what cannot be
        self.work = BackupWork(state="RUNNING", started_at=SystemClock().now())
        self._task = asyncio.create_task(self._run(full=full))
        return self.work

    async def close(self) -> None:
        """Stop what is done in the background."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self, *, full: bool) -> None:
        try:
            made = await self.create(
                full=full, told=lambda done, total: self._change(done=done, total=total)
            )
        except asyncio.CancelledError:
            self._change(state="CANCELLED", ended_at=SystemClock().now())
            raise
        except HoldfastError as error:
            self._change(state="FAILED", ended_at=SystemClock().now(), error=error.code)
        else:
            self._change(state="SUCCEEDED", ended_at=SystemClock().now(), backup_id=made.id)

    def _change(self, **values: Any) -> None:
        assert self.work is not None
        self.work = replace(self.work, **values)

    async def listed(self, *, at: str | None = None) -> list[Backup]:
        """Every backup, the oldest first."""
        async with self._shelf(at) as shelf:
            return await engine.listed(shelf)

    async def show(self, backup_id: str, *, at: str | None = None) -> BackupContents:
        """What a backup holds; `latest` is the newest. Raises NotFoundError, CorruptError,
        KeyRingError."""
        async with self._shelf(at) as shelf:
            return await engine.show(shelf, _checked(backup_id))

    async def verify(
        self, backup_id: str = "latest", *, at: str | None = None, told: OnProgress | None = None
    ) -> Verified:
        """Restore a backup into a store that is thrown away, and compare both row by row.

        Raises CorruptError if it is not what was archived, NotFoundError, KeyRingError.
        """
        async with self._shelf(at) as shelf:
            return await restoring.verify(shelf, _checked(backup_id), told=told or unheard)

    async def restore(
        self,
        backup_id: str = "latest",
        *,
        at: str | None = None,
        restart: bool = False,
        told: OnProgress | None = None,
    ) -> Restored:
        """Restore a backup into the configured store, which must be empty and not open here.

        Ids, texts, vectors and history are as they were; nothing is embedded again. Interrupted, it
        goes on where it was when called again; until it is done nobody can open the store.
        `restart`: begin anew instead. What an external index holds is made anew by itself.

        Raises ConflictError for a store that is not empty, NotFoundError, CorruptError,
        KeyRingError, StoreError.
        """
        if self._is_open():
            raise ConflictError(
                "The store is open in this process, and a restore puts another in its place.",
                hint="Close it first.",
            )
        async with self._shelf(at) as shelf:
            told = told or unheard
            return await restoring.restore(shelf, _checked(backup_id), restart=restart, told=told)

    async def merge(
        self,
        backup_id: str = "latest",
        *,
        at: str | None = None,
        projects: Mapping[str, str] | None = None,
        only_empty: bool = False,
        told: OnProgress | None = None,
    ) -> Merged:
        """Add the memories of a backup to the store, which others may use meanwhile.

        They come with their ids, vectors, sources, turns and history. What has an id or content
        that is there already stays as it is, and is counted. Keys, accounts, webhooks, jobs, usage
        and the history of deleted memories are not taken.

        `projects`: those to take, each with the name of the project it is to be in; all as they
        are if left out. `only_empty`: refuse a store that has memories. Interrupted, it goes on
        when it is called again.

        Raises ConflictError, NotFoundError, ConfigError for a backup made with another embedder,
        CorruptError, KeyRingError, StoreError.
        """
        names = {
            intake.clean_text(name, "project", ID_CHARS_MAX): intake.clean_text(
                new, "project", ID_CHARS_MAX
            )
            for name, new in (projects or {}).items()
        }
        parts = (await self._source()).parts
        space = parts.embedder.space
        async with self._shelf(at) as shelf:
            return await merging.merge(
                shelf,
                _checked(backup_id),
                parts,
                lambda folder: opened_beside(self._config, folder, space),
                projects=names,
                only_empty=only_empty,
                told=told or unheard,
            )

    async def status(self) -> BackupStatus:
        """How the configured backups stand: whether the newest is too old, or one has failed."""
        async with self._plan() as plan:
            return await scheduling.status(plan)

    async def prune(self, *, dry: bool = False, at: str | None = None) -> Pruned:
        """Remove the backups of this store that the settings do not keep; `dry`: only tell which.

        The newest, and every full one that another needs, are kept whatever the settings say.
        """
        async with self._shelf(at) as shelf:
            settings, _ = backup_settings(self._configured(at))
            store = await scheduling.store_of(shelf)
            return await scheduling.prune(
                shelf, settings, self._zone(settings), store=store, dry=dry
            )

    async def serve(self) -> None:
        """Make backups by the configured schedule, and remove outdated ones, until cancelled.

        Any number of processes may do so: one of them makes it. Returns at once without a schedule.
        """
        if self._config.backup is None or not backup_settings(self._config)[0].schedule:
            return
        async with self._plan() as plan:
            await scheduling.serve(plan)

    @asynccontextmanager
    async def _plan(self) -> AsyncIterator[Plan]:
        await self._entered()
        settings, _ = backup_settings(self._config)
        zone = self._zone(settings)
        if settings.schedule:
            next_time(settings.schedule, 0.0, zone)  # says what is wrong with it now
        source = await self._source()
        async with self._shelf(None) as shelf:
            yield Plan(shelf, settings, zone, source.numbers, source.parts.metrics)

    async def _entered(self) -> None:
        """Let the audit tell of it; of a closed store it cannot."""
        if self._is_open():
            await self._parts()

    def _zone(self, settings: BackupSettings) -> ZoneInfo:
        try:
            return ZoneInfo(settings.timezone or self._config.timezone)
        except (LookupError, ValueError, OSError):
            raise ConfigError(
                "backup.config.timezone is no IANA time zone.", hint="E.g. Europe/Berlin."
            ) from None

    def _configured(self, at: str | None) -> Config:
        return self._config if at is None else replace(self._config, backup=self._at(at))

    async def drop_subject(self, project: str, entity: Entity) -> None:
        """A subject was erased: take its keys from beside the archives of the configured place, and
        note that nothing of it is to be restored. Does nothing where none is configured."""
        if self._config.backup is None:
            return
        async with self._shelf(None) as shelf:
            await engine.drop_subject(shelf, project, entity.kind, entity.id)

    @asynccontextmanager
    async def _shelf(self, at: str | None) -> AsyncIterator[Shelf]:
        await self._entered()
        shelf = make_shelf(self._configured(at), SystemClock())
        try:
            yield shelf
        finally:
            await shelf.close()

    def _at(self, at: str) -> Part:
        """The configured settings, with another place."""
        scheme, found, _ = at.partition("://")
        known = self._config.backup
        if not found:
            provider, place = "folder", {"path": at}
        elif scheme in _SCHEMES:
            provider, place = _SCHEMES[scheme], {"url": at}
        else:
            raise ValidationError(
                f"{scheme[:16]}:// is no place for backups.",
                hint="Name a folder, or an address that begins with s3://, gs:// or az://.",
            )
        settings = dict(known.config) if known is not None else {}
        if known is not None and known.provider != provider:
            common = BackupSettings.__struct_fields__
            settings = {name: value for name, value in settings.items() if name in common}
        return Part(provider, settings | place)


def _checked(backup_id: str) -> str:
    """An id that is about to be a part of a name."""
    if not backup_id or not backup_id.replace("-", "").isalnum() or len(backup_id) > 64:
        raise ValidationError(
            "That is no id of a backup.", hint="`holdfast backup list` tells them; or `latest`."
        )
    return backup_id
