"""Adding what an archive holds to a store that is used: what is there already stays as it is."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace as within
from functools import partial
from pathlib import Path
from typing import Final, Protocol

from msgspec.structs import replace

from holdfast.core.forgotten import Erased, Forgotten
from holdfast.core.identity import id_elsewhere, key_mark
from holdfast.core.rekeying import Rekeying
from holdfast.directory import Held, ProjectInfo, Where
from holdfast.engine.backups import ERASED, Shelf, open_backup, rows_of
from holdfast.engine.parts import Parts
from holdfast.engine.quarantine import is_decided
from holdfast.engine.restoring import keys_of, load, number_of
from holdfast.errors import ConflictError, NotFoundError
from holdfast.model import Memory, OnProgress, Project, Struct
from holdfast.ports import Directory, Op, PutMemory, PutRows
from holdfast.ports.moving import Moved, Moving

_AT_ONCE: Final = 200
"""Memories of one commit."""


class Source(Protocol):
    """A store that memories are read from."""

    @property
    def key_mark(self) -> int:
        """Tells its content key from others."""

    @property
    def moving(self) -> Moving:
        """Reads its memories whole."""

    @property
    def directory(self) -> Directory:
        """Its directory."""

    async def fetch(self, project: Project, ids: Sequence[str]) -> Sequence[Memory]:
        """The memories of these ids."""


Known = Callable[[Sequence[str]], Awaitable[Sequence[Memory]]]
"""Gives the memories of these ids that the archive has."""

Opened = Callable[[Path], AbstractAsyncContextManager[Source]]
"""Opens the store in a folder with the settings of the configured one."""


class Merged(Struct, frozen=True, kw_only=True):
    """What became of the memories of an archive."""

    id: str
    added: int
    known: int
    """Memories whose id or content is there already: those stay as they are."""
    projects: Mapping[str, str]
    """Each project of the archive that was taken, and the one it is in now."""
    held: int = 0
    """Adds that waited for approval and do so here."""


async def merge(
    shelf: Shelf,
    backup_id: str,
    parts: Parts,
    opened: Opened,
    *,
    projects: Mapping[str, str],
    only_empty: bool,
    told: OnProgress,
) -> Merged:
    """Add the memories of an archive to an open store, with vectors, sources, turns and history,
    and what was held; what was approved or rejected here since is not held again.

    `projects`: the ones to take, each with the project it is to be in; all, as they are, if empty.
    `only_empty`: refuse a store that has memories. Interrupted, it goes on when it is done again.

    Raises ConflictError, NotFoundError for a project that the archive has not, ConfigError for an
    archive of another embedder, CorruptError, KeyRingError, StoreError.
    """
    if only_empty and (await parts.records.census(parts.clock.now())).memories:
        raise ConflictError(
            "The store is not empty. Nothing was changed.",
            hint="Add to it with --merge, or restore into an empty one.",
        )
    with tempfile.TemporaryDirectory(prefix="holdfast-merge-") as folder:
        archived = await _laid_out(shelf, backup_id, Path(folder), told)
        async with opened(Path(folder)) as source:
            is_alike = source.key_mark == key_mark(parts.content_key)
            wanted = await _wanted(source.moving, projects)
            added = known = held = 0
            for name, target in wanted.items():
                await _keep_settings(parts.directory, source.directory, name, target)
                rekeying = None if is_alike else Rekeying(parts.content_key)
                here = partial(source.fetch, Project(name))
                async for some in _pages(source.moving, Project(name)):
                    new = await _put(parts, Project(target), some, rekeying, here)
                    added, known = added + new, known + len(some) - new
                held += await _put_held(parts, source.directory, name, Project(target))
    return Merged(id=archived, added=added, known=known, projects=wanted, held=held)


async def _laid_out(shelf: Shelf, backup_id: str, folder: Path, told: OnProgress) -> str:
    """Restore an archive into a folder; its id."""
    archive = await open_backup(shelf, backup_id)
    keys = await keys_of(shelf, archive)
    erased = [] if keys is None else [Erased(*row) for row in await rows_of(keys, ERASED)]
    scratch = shelf.scratch(folder)
    try:
        done = await scratch.begin(number_of(archive.header.id))
        forgotten = Forgotten(erased, archive.header.created_at)
        await load(scratch, archive, keys, forgotten, done, told)
        await scratch.finish()
    finally:
        await scratch.close()
    return archive.header.id


async def _wanted(moving: Moving, projects: Mapping[str, str]) -> Mapping[str, str]:
    there = await moving.projects()
    for name in projects:
        if Project(name) not in there:
            raise NotFoundError(f"The archive has no memories of the project {name[:64]!r}.")
    return projects or {str(name): str(name) for name in there}


async def _keep_settings(target: Directory, source: Directory, name: str, new: str) -> None:
    """Take over what was set for a project, unless there is such a project."""
    found = await source.select(ProjectInfo, Where("id", name))
    if found and not await target.select(ProjectInfo, Where("id", new)):
        await target.insert(replace(found[0], id=new))


async def _pages(moving: Moving, project: Project) -> AsyncIterator[list[Moved]]:
    after: int | None = 0
    while after is not None:
        found, after = await moving.page(project, after, _AT_ONCE)
        if found:
            yield list(found)


async def _put_held(parts: Parts, source: Directory, name: str, target: Project) -> int:
    """Put what was held in a project and is neither held nor decided in the other; how much."""
    there, count, after = within(parts, project=target), 0, ""
    while True:
        some = await source.select(
            Held, Where("project", name), Where("id", after, "gt"), order="id", size=_AT_ONCE
        )
        rows = [_held_in(held, target) for held in some]
        new = [held for held in rows if not await is_decided(there, held.id)]
        if new:
            await parts.records.commit(target, [PutRows(rows=tuple(new))])
        count += len(new)
        if len(some) < _AT_ONCE:
            return count
        after = some[-1].id


def _held_in(held: Held, project: Project) -> Held:
    """What is held as it is in a project: ids are those of one row of the whole store."""
    if held.project == project:
        return held
    return replace(held, id=id_elsewhere(held.id, project), project=project)


async def _put(
    parts: Parts, project: Project, some: list[Moved], rekeying: Rekeying | None, known: Known
) -> int:
    """Put memories that are not there yet; how many were new."""
    puts = [one.put for one in some]
    if rekeying is not None:
        puts = await asyncio.to_thread(rekeying.made, puts)
    there = {memory.id for memory in await parts.records.fetch(project, _ids(puts))}
    turns = {put.memory.id: one.turns for one, put in zip(some, puts, strict=True)}
    new = [put for put in puts if put.memory.id not in there]
    added = 0
    while new:
        ops: list[Op] = []
        for put in new:
            ops += [*turns[put.memory.id], put]
        results = await parts.records.commit(project, ops)
        ids = [id_ for op, id_ in zip(ops, results, strict=True) if isinstance(op, PutMemory)]
        equal = [(put, id_) for put, id_ in zip(new, ids, strict=True) if put.memory.id != id_]
        added += len(new) - len(equal)
        if rekeying is None or not equal:
            break
        # turns that the archive tells apart stay apart
        apart = {memory.id for memory in await known([id_ for _, id_ in equal])}
        again = [put for put, id_ in equal if id_ in apart and put.memory.kind == "turn"]
        new = [rekeying.said_again(put) for put in again]
    return added


def _ids(puts: Sequence[PutMemory]) -> list[str]:
    return [put.memory.id for put in puts]
