"""Backups: made while everybody works, listed, verified, restored."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import holdfast
from holdfast.clock import Clock
from holdfast.core.archive import (
    KEY_BYTES,
    SUFFIX,
    Cutter,
    Header,
    Kind,
    Row,
    Writer,
    encoded,
)
from holdfast.core.forgotten import Erased
from holdfast.engine.archives import (
    Archive,
    Codecs,
    ends,
    keys_name,
    name_of,
    open_archive,
)
from holdfast.errors import (
    ConflictError,
    CorruptError,
    NotFoundError,
    StoreError,
    ValidationError,
)
from holdfast.model import OnProgress, Struct
from holdfast.ports.archiving import Archiving, Snapshot, Table
from holdfast.ports.destination import Destination
from holdfast.ports.keyring import KeyRing

SUBJECT_KEYS: Final = "subject_keys"
ERASED: Final = "erased"
_KEYS_COLUMNS: Final = tuple(Erased._fields)


@dataclass(frozen=True)
class Shelf:
    """A store, where its backups are kept, and how they are written."""

    archiving: Archiving
    destination: Destination
    codecs: Codecs
    ring: KeyRing | None
    clock: Clock
    scratch: Callable[[Path], Archiving]
    """A store in a folder of its own, to try a restore."""
    compression: str | None = None
    """`zstd` or `gzip`; None: the better one that is installed."""
    full_every_s: float = 7 * 86_400.0
    """Age of a full archive at which the next one is made instead of an incremental one."""

    async def close(self) -> None:
        """Release what is held. Idempotent."""
        for held in (self.archiving, self.destination, self.ring):
            if held is not None:
                await held.close()


class Backup(Struct, frozen=True, kw_only=True):
    """An archive in a destination."""

    id: str
    kind: Kind
    created_at: float
    """When its snapshot was taken, epoch seconds."""
    size: int
    """Bytes."""
    base: str | None = None
    """The full archive that an incremental one needs."""
    store: str = ""
    """Tells the store it was made of from others."""
    sealed: bool = False
    whole: bool = True
    """False: it was cut off, or its ends were changed. Chunks are looked at by `verify`."""
    version: str = ""
    """Of the Holdfast that wrote it."""


class BackupContents(Struct, frozen=True, kw_only=True):
    """What an archive holds."""

    backup: Backup
    tables: dict[str, int]
    """Rows of each table."""
    fresh: int
    """Rows that are in this archive itself; the others are in its base."""


# ------------------------------------------------------------------ create


async def create(shelf: Shelf, *, full: bool, told: OnProgress) -> Backup:
    """Archive the store as it is now. Raises StoreError, BackupUnavailableError, KeyRingError."""
    async with shelf.archiving.snapshot() as snapshot:
        base = None if full else await _base(shelf, snapshot)
        header, key = await _header(shelf, snapshot, base)
        await keep_keys(shelf, at=snapshot.at)
        known = {} if base is None else {chunk.digest: chunk for chunk in base.manifest.chunks}
        writer = Writer(header, shelf.codecs(header.compression), key, known)
        size = await shelf.destination.put(name_of(header.id), _written(snapshot, writer, told))
    return backup_of(header, size)


async def _header(
    shelf: Shelf, snapshot: Snapshot, base: Archive | None, kind: Kind = "full"
) -> tuple[Header, bytes | None]:
    """A header for a new archive, and the key that is its own."""
    at = datetime.fromtimestamp(snapshot.at, UTC)
    header = Header(
        id=f"{at:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}",
        kind=kind if base is None else "incremental",
        created_at=snapshot.at,
        store=snapshot.store,
        revision=snapshot.revision,
        compression=shelf.codecs(shelf.compression).name,
        base=None if base is None else base.header.id,
        base_digest=b"" if base is None else base.opened.digest,
        version=holdfast.__version__,
    )
    if shelf.ring is None:
        return header, None
    key = secrets.token_bytes(KEY_BYTES)
    wrapped = await shelf.ring.wrap(key, header.bound())
    return _sealed(header, shelf.ring.primary, wrapped), key


def _sealed(header: Header, master: str, wrapped: bytes) -> Header:
    from msgspec.structs import replace as changed

    return changed(header, master=master, wrapped=wrapped)


async def _base(shelf: Shelf, snapshot: Snapshot) -> Archive | None:
    """The newest full archive of this store that is good and not too old to build upon."""
    fulls = [
        one
        for one in await listed(shelf)
        if one.kind == "full" and one.whole and one.store == snapshot.store
        and one.sealed == (shelf.ring is not None)
    ]  # fmt: skip
    if not fulls or snapshot.at - fulls[-1].created_at >= shelf.full_every_s:
        return None
    base = await open_archive(shelf.destination, name_of(fulls[-1].id), shelf.ring, shelf.codecs)
    return base if base.header.revision == snapshot.revision else None


async def _written(snapshot: Snapshot, writer: Writer, told: OnProgress) -> AsyncIterator[bytes]:
    """The bytes of an archive of a snapshot, as they are made."""
    yield writer.start()
    total, done = sum((await snapshot.counts()).values()), 0
    for table in await snapshot.tables():
        if table.name == SUBJECT_KEYS:
            continue
        async for data, rows in frames_of(snapshot, writer, table):
            if data:
                yield data
            done += rows
            told(min(done, total), total)
    told(total, total)
    yield await asyncio.to_thread(writer.finish)


async def frames_of(
    snapshot: Snapshot, writer: Writer, table: Table
) -> AsyncIterator[tuple[bytes, int]]:
    """The frames of a table, each with how many rows were read for it."""
    writer.table(table.name, table.columns)
    cutter = Cutter(table.key)
    async for rows in snapshot.rows(table.name):
        yield await asyncio.to_thread(_frames, writer, cutter.cut(rows)), len(rows)
    yield await asyncio.to_thread(_frames, writer, cutter.rest()), 0


def _frames(writer: Writer, chunks: Iterable[Sequence[bytes]]) -> bytes:
    return b"".join(writer.rows(chunk) for chunk in chunks)


# ------------------------------------------------------------------ keys, and who was erased


async def keep_keys(shelf: Shelf, *, at: float, erased: Sequence[Erased] = ()) -> None:
    """Write the keys of the store's subjects beside its archives, and who was erased.

    Keys that are destroyed are not in it, so that what they sealed is gone from every archive. Done
    again if another one was destroyed meanwhile: whoever destroys one writes it after that.
    """
    while True:
        before = set(await shelf.archiving.destroyed())
        async with shelf.archiving.snapshot() as snapshot:
            known = await _erased(shelf, snapshot.store)
            told = {(one.project, one.kind, one.id): one for one in known}
            for subject in before:
                told.setdefault(subject, Erased(*subject, at))
            told |= {(one.project, one.kind, one.id): one for one in erased}
            if shelf.ring is None and not told:
                return
            header, key = await _header(shelf, snapshot, None, "keys")
            writer = Writer(header, shelf.codecs(header.compression), key)
            parts = _keys(snapshot, writer, sorted(told.values()))
            await shelf.destination.put(keys_name(snapshot.store), parts)
        if set(await shelf.archiving.destroyed()) == before:
            return


async def drop_subject(shelf: Shelf, project: str, kind: str, subject_id: str) -> None:
    """A subject was erased, its key destroyed: take the key from beside the archives, and note that
    nothing of the subject is to be restored.

    To be called when that is committed; called again, it changes nothing. Raises StoreError,
    BackupUnavailableError, KeyRingError.
    """
    now = shelf.clock.now()
    await keep_keys(shelf, at=now, erased=[Erased(project, kind, subject_id, now)])


async def _erased(shelf: Shelf, store: str) -> list[Erased]:
    try:
        archive = await open_archive(shelf.destination, keys_name(store), shelf.ring, shelf.codecs)
    except NotFoundError:
        return []
    return [Erased(*row) for row in await rows_of(archive, ERASED)]


async def _keys(
    snapshot: Snapshot, writer: Writer, erased: Sequence[Erased]
) -> AsyncIterator[bytes]:
    yield writer.start()
    writer.table(ERASED, _KEYS_COLUMNS)
    if erased:
        yield writer.rows([encoded(one) for one in erased])
    [table] = [one for one in await snapshot.tables() if one.name == SUBJECT_KEYS]
    async for data, _ in frames_of(snapshot, writer, table):
        if data:
            yield data
    yield writer.finish()


async def rows_of(archive: Archive, table: str) -> list[Row]:
    names = [one.name for one in archive.manifest.tables]
    found: list[Row] = []
    for chunk in archive.manifest.chunks:
        if names[chunk.table] == table:
            found += await archive.rows(chunk)
    return found


# ------------------------------------------------------------------ list, show


async def listed(shelf: Shelf) -> list[Backup]:
    """Every archive of the destination, the oldest first; those of other stores too."""
    found = []
    for stored in await shelf.destination.listed():
        if not stored.name.endswith(SUFFIX):
            continue
        try:
            opened, end = await ends(shelf.destination, stored.name)
            found.append(backup_of(opened.header, end.size))
        except CorruptError:
            id_ = stored.name.removesuffix(SUFFIX)
            found.append(Backup(id=id_, kind="full", created_at=0.0, size=stored.size, whole=False))
        except NotFoundError:  # pruned meanwhile
            continue
    return sorted(found, key=lambda one: (one.created_at, one.id))


async def show(shelf: Shelf, backup_id: str) -> BackupContents:
    """What an archive holds. Raises NotFoundError, CorruptError, KeyRingError."""
    archive = await open_backup(shelf, backup_id)
    chunks = archive.manifest.chunks
    return BackupContents(
        backup=backup_of(archive.header, archive.size),
        tables=dict(archive.manifest.counts()),
        fresh=sum(chunk.rows for chunk in chunks if not chunk.in_base),
    )


async def open_backup(shelf: Shelf, backup_id: str) -> Archive:
    """An archive by its id, or the newest for `latest`."""
    if backup_id == "latest":
        whole = await _of_this_store(shelf)
        if not whole:
            raise NotFoundError(f"There is no backup in {shelf.destination.place}.")
        if len({one.store for one in whole}) > 1:
            raise ValidationError(
                "There are backups of several stores here; which is the latest is not clear.",
                hint="Name one: `holdfast backup list`.",
            )
        backup_id = whole[-1].id
    return await open_archive(shelf.destination, name_of(backup_id), shelf.ring, shelf.codecs)


async def _of_this_store(shelf: Shelf) -> list[Backup]:
    """The whole archives of this store; of any store, if this one is yet to be restored."""
    whole = [one for one in await listed(shelf) if one.whole]
    try:
        async with shelf.archiving.snapshot() as snapshot:
            store = snapshot.store
    except (NotFoundError, StoreError, ConflictError):
        return whole  # it is to be restored
    return [one for one in whole if one.store == store] or whole


def backup_of(header: Header, size: int) -> Backup:
    """An archive's header as callers see it."""
    return Backup(
        id=header.id,
        kind=header.kind,
        created_at=header.created_at,
        size=size,
        base=header.base,
        store=header.store,
        sealed=header.master is not None,
        version=header.version,
    )
