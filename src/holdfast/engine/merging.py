"""Adding what an archive holds to a store that is used: what is there already stays as it is."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Final, Protocol

from holdfast.core.forgotten import Erased, Forgotten
from holdfast.directory import ProjectInfo, Where
from holdfast.engine.backups import ERASED, Shelf, Told, open_backup, rows_of
from holdfast.engine.parts import Parts
from holdfast.engine.restoring import keys_of, load, number_of
from holdfast.errors import ConfigError, ConflictError, NotFoundError
from holdfast.model import Project, Struct
from holdfast.ports import Directory, Op
from holdfast.ports.moving import Moved, Moving

_AT_ONCE: Final = 200
"""Memories of one commit."""


class Source(Protocol):
    """A store that memories are read from."""

    content_key: bytes
    """The content key it made for itself, if none was configured."""

    @property
    def moving(self) -> Moving:
        """Reads its memories whole."""

    @property
    def directory(self) -> Directory:
        """Its directory."""


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


async def merge(
    shelf: Shelf,
    backup_id: str,
    parts: Parts,
    opened: Opened,
    *,
    projects: Mapping[str, str],
    only_empty: bool,
    told: Told,
) -> Merged:
    """Add the memories of an archive to an open store, with vectors, sources, turns and history.

    `projects`: the ones to take, each with the project it is to be in; all, as they are, if empty.
    `only_empty`: refuse a store that has memories. Interrupted, it goes on when it is done again.

    Raises ConflictError, NotFoundError for a project that the archive has not, ConfigError for an
    archive of another content key or embedder, CorruptError, KeyRingError, StoreError.
    """
    if only_empty and (await parts.records.census(parts.clock.now())).memories:
        raise ConflictError(
            "The store is not empty. Nothing was changed.",
            hint="Add to it with --merge, or restore into an empty one.",
        )
    with tempfile.TemporaryDirectory(prefix="holdfast-merge-") as folder:
        archived = await _laid_out(shelf, backup_id, Path(folder), told)
        async with opened(Path(folder)) as source:
            _check_key(parts, source)
            wanted = await _wanted(source.moving, projects)
            added = known = 0
            for name, target in wanted.items():
                await _keep_settings(parts.directory, source.directory, name, target)
                async for some in _pages(source.moving, Project(name)):
                    new = await _put(parts, Project(target), some)
                    added, known = added + new, known + len(some) - new
    return Merged(id=archived, added=added, known=known, projects=wanted)


async def _laid_out(shelf: Shelf, backup_id: str, folder: Path, told: Told) -> str:
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


def _check_key(parts: Parts, source: Source) -> None:
    if source.content_key and source.content_key != parts.content_key:
        raise ConfigError(
            "The archive is of a store with another content key: words and contents of both could "
            "not be compared.",
            hint="Restore it into an empty store, then `holdfast export` and `holdfast import`.",
        )


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
        from msgspec.structs import replace

        await target.insert(replace(found[0], id=new))


async def _pages(moving: Moving, project: Project) -> AsyncIterator[list[Moved]]:
    after: int | None = 0
    while after is not None:
        found, after = await moving.page(project, after, _AT_ONCE)
        if found:
            yield list(found)


async def _put(parts: Parts, project: Project, some: list[Moved]) -> int:
    """Put memories that are not there yet; how many were new."""
    ids = [one.put.memory.id for one in some]
    there = {memory.id for memory in await parts.records.fetch(project, ids)}
    new = [one for one in some if one.put.memory.id not in there]
    ops: list[Op] = []
    for one in new:
        ops += [*one.turns, one.put]
    results = await parts.records.commit(project, ops)
    stored = {result for result in results if isinstance(result, str)}
    return sum(one.put.memory.id in stored for one in new)
