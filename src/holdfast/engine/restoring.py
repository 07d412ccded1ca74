"""Restoring backups, for good and for trial."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from holdfast.core.archive import Chunk, Codec, Header, Row, Writer
from holdfast.core.forgotten import Erased, Forgotten
from holdfast.engine.archives import Archive, groups, keys_name, open_archive
from holdfast.engine.backups import (
    ERASED,
    SUBJECT_KEYS,
    Shelf,
    frames_of,
    open_backup,
    rows_of,
)
from holdfast.errors import CorruptError, HoldfastError, NotFoundError
from holdfast.model import OnProgress, Struct
from holdfast.ports.archiving import Archiving, Load

_LOAD_BYTES: Final = 4 << 20
"""What the rows of one transaction take in memory, about. Two such are held, whatever the archive
has: one that is loaded, and one that is read meanwhile."""
_LOADS: Final = "2"
"""Changes with how chunks are put into loads: an earlier version's are not gone on with."""
_NOT_COMPARED: Final = ("counters", "numbers")
"""What a restored store has anew."""
_NO_CODEC: Final = Codec("none", lambda _data: b"", lambda data, _size: data)
"""For frames that nobody keeps: digests are of rows before they are compressed."""


class Verified(Struct, frozen=True, kw_only=True):
    """What a trial restore showed."""

    id: str
    rows: int
    memories: int
    tables: int
    """Tables that are equal, row by row, to those that were archived."""


class Restored(Struct, frozen=True, kw_only=True):
    """What was restored."""

    id: str
    rows: int
    memories: int
    forgotten: int = 0
    """Rows that were left out: their subjects were erased after the archive was made."""
    resumed: bool = False
    """Whether it went on where an earlier try was cut off."""


async def restore(shelf: Shelf, backup_id: str, *, restart: bool, told: OnProgress) -> Restored:
    """Load an archive into the store, which is empty, or half restored from this archive.

    Nobody opens the store until all of it is there. Raises ConflictError, NotFoundError,
    CorruptError, KeyRingError, StoreError.
    """
    archive = await open_backup(shelf, backup_id)
    keys = await keys_of(shelf, archive)
    erased = [] if keys is None else [Erased(*row) for row in await rows_of(keys, ERASED)]
    forgotten = Forgotten(erased, archive.header.created_at)
    done = await shelf.archiving.begin(number_of(archive.header.id), restart=restart)
    await load(shelf.archiving, archive, keys, forgotten, done, told)
    await shelf.archiving.finish()
    counts = archive.manifest.counts()
    return Restored(
        id=archive.header.id,
        rows=sum(counts.values()),
        memories=counts.get("memories", 0),
        forgotten=forgotten.rows,
        resumed=done > 0,
    )


async def verify(shelf: Shelf, backup_id: str, *, told: OnProgress) -> Verified:
    """Restore an archive into a store that is thrown away, and compare them row by row.

    Raises CorruptError if anything differs, NotFoundError, KeyRingError.
    """
    archive = await open_backup(shelf, backup_id)
    keys = await keys_of(shelf, archive)
    with tempfile.TemporaryDirectory(prefix="holdfast-verify-") as folder:
        scratch = shelf.scratch(Path(folder))
        try:
            done = await scratch.begin(number_of(archive.header.id))
            await load(scratch, archive, keys, Forgotten((), 0.0), done, told)
            await scratch.finish()
            equal = await _compared(scratch, archive)
        finally:
            await scratch.close()
    counts = archive.manifest.counts()
    return Verified(
        id=archive.header.id,
        rows=sum(counts.values()),
        memories=counts.get("memories", 0),
        tables=equal,
    )


async def _compared(scratch: Archiving, archive: Archive) -> int:
    """How many tables of a restored store are what the archive has. Raises CorruptError."""
    nothing = Header(id="", kind="full", created_at=0, store="", revision="", compression="")
    columns = {table.name: table.columns for table in archive.manifest.tables}
    equal = 0
    async with scratch.snapshot() as snapshot:
        # digests are of rows before they are compressed: here they are thrown away
        writer = Writer(nothing, _NO_CODEC, None)
        for one in await snapshot.tables():
            if one.name in columns:
                async for _ in frames_of(snapshot, writer, one):
                    pass
    found = {table.name: table for table in writer.manifest().tables}
    for table in archive.manifest.tables:
        if table.name in _NOT_COMPARED:
            continue
        same = found[table.name].rows == table.rows
        if found[table.name].columns == table.columns:  # those of an older schema had fewer
            same = found[table.name].digest == table.digest
        if not same:
            raise CorruptError(
                f"The table {table.name} of the archive is not what came back of it.",
                hint="Make a new backup, and tell the authors of Holdfast.",
            )
        equal += 1
    return equal


async def load(
    target: Archiving,
    archive: Archive,
    keys: Archive | None,
    forgotten: Forgotten,
    done: int,
    told: OnProgress,
) -> None:
    """Load the groups that are not loaded yet; the next is read while one is loaded."""
    runs = groups(archive.manifest.chunks, _LOAD_BYTES)
    total = sum(chunk.rows for chunk in archive.manifest.chunks)
    # what was loaded earlier is read again only to know what of it was left out
    first = 0 if forgotten else min(done, len(runs))
    rows = sum(chunk.rows for run in runs[:first] for chunk in run)
    reading = _begun(archive, runs, first)
    try:
        for place in range(first, len(runs)):
            found = await reading
            reading = _begun(archive, runs, place + 1)
            loads = [
                _kept(archive, forgotten, *one) for one in zip(runs[place], found, strict=True)
            ]
            if place >= done:
                await target.load(loads, place + 1)
                rows += sum(chunk.rows for chunk in runs[place])
            told(rows, total)
    finally:
        reading.cancel()
        with suppress(asyncio.CancelledError, HoldfastError):
            await reading
    if done <= len(runs):
        await _load_keys(target, keys, len(runs))


def _begun(
    archive: Archive, runs: Sequence[Sequence[Chunk]], place: int
) -> asyncio.Task[list[list[Row]]]:
    async def read() -> list[list[Row]]:
        if place >= len(runs):
            return []
        return [await archive.rows(chunk) for chunk in runs[place]]

    return asyncio.create_task(read())


def _kept(archive: Archive, forgotten: Forgotten, chunk: Chunk, rows: list[Row]) -> Load:
    table = archive.manifest.tables[chunk.table]
    kept = forgotten.kept(table.name, table.columns, rows)
    return Load(table=table.name, columns=table.columns, rows=kept)


async def _load_keys(target: Archiving, keys: Archive | None, done: int) -> None:
    """Load the keys, from the first one on: they may be others than when it was cut off."""
    if keys is None:
        await target.load([], done + 1)
        return
    names = [table.name for table in keys.manifest.tables]
    mine = names.index(SUBJECT_KEYS)
    columns = keys.manifest.tables[mine].columns
    chunks = [chunk for chunk in keys.manifest.chunks if chunk.table == mine]
    runs = groups(chunks, _LOAD_BYTES) or [[]]
    for place, run in enumerate(runs, 1):
        loads = [
            Load(table=SUBJECT_KEYS, columns=columns, rows=await keys.rows(chunk)) for chunk in run
        ]
        if place == 1:
            loads.insert(0, Load(table=SUBJECT_KEYS, columns=columns, rows=[], anew=True))
        await target.load(loads, done + (place == len(runs)))


async def keys_of(shelf: Shelf, archive: Archive) -> Archive | None:
    """The keys beside an archive; None where texts are not sealed and nobody was erased."""
    try:
        return await open_archive(
            shelf.destination, keys_name(archive.header.store), shelf.ring, shelf.codecs
        )
    except NotFoundError:
        if archive.header.master is None:
            return None
        raise CorruptError(
            f"{keys_name(archive.header.store)} is missing: without the keys beside it, the texts "
            "of an archive stay sealed.",
            hint="Put it beside the archive; every backup and every erasure writes it anew.",
        ) from None


def number_of(archive_id: str) -> int:
    """Tells an archive to the store that it is loaded into."""
    digest = hashlib.sha256(f"{archive_id} {_LOADS}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
