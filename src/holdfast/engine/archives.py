"""Archives in a destination: opened, checked, and read chunk by chunk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from holdfast.core.archive import (
    HEADER_BYTES_MAX,
    SUFFIX,
    TRAILER_BYTES,
    Chunk,
    Codec,
    Header,
    Manifest,
    Opened,
    Row,
    Trailer,
    read_header,
    read_manifest,
    read_rows,
    read_trailer,
)
from holdfast.errors import CorruptError, KeyRingError, NotFoundError
from holdfast.ports.destination import Destination
from holdfast.ports.keyring import KeyRing

KEYS_SUFFIX: Final = ".hfkeys"

_ROW_BYTES: Final = 512
"""What a row takes beside the bytes of its values: the objects they are in."""

Codecs = Callable[[str | None], Codec]


@dataclass(frozen=True)
class Archive:
    """An archive that is there to its last byte, as far as its ends tell; rows are checked as they
    are read."""

    name: str
    size: int
    opened: Opened
    manifest: Manifest
    destination: Destination
    codec: Codec
    key: bytes | None
    base: Archive | None = None

    @property
    def header(self) -> Header:
        """What it is."""
        return self.opened.header

    async def rows(self, chunk: Chunk) -> list[Row]:
        """The rows of a chunk. Raises CorruptError."""
        place = self.base if chunk.in_base else self
        assert place is not None, "an archive with chunks in a base was opened with it"
        frame = await self.destination.read(place.name, chunk.offset, chunk.length)
        told = (chunk, self.manifest, place.opened.digest, place.codec, place.key)
        return await asyncio.to_thread(read_rows, frame, *told)


def name_of(archive_id: str) -> str:
    """The name under which an archive is stored."""
    return f"{archive_id}{SUFFIX}"


def keys_name(store: str) -> str:
    """The name under which the keys of a store's archives are kept."""
    return f"{store}{KEYS_SUFFIX}"


async def ends(destination: Destination, name: str) -> tuple[Opened, Trailer]:
    """The header and the end of an archive. Raises NotFoundError, CorruptError."""
    size = await destination.size(name)
    opened = read_header(await destination.read(name, 0, min(size, HEADER_BYTES_MAX)))
    last = await destination.read(name, max(0, size - TRAILER_BYTES), TRAILER_BYTES)
    return opened, read_trailer(last, opened, size)


async def open_archive(
    destination: Destination, name: str, ring: KeyRing | None, codecs: Codecs
) -> Archive:
    """Open an archive, and its base if it has one.

    Raises NotFoundError, CorruptError, KeyRingError for one that is sealed with another keyring,
    MissingExtraError.
    """
    opened, end = await ends(destination, name)
    header = opened.header
    key = await _key(header, ring)
    codec = codecs(header.compression)
    length = end.size - TRAILER_BYTES - end.manifest_at
    frame = await destination.read(name, end.manifest_at, length)
    manifest = await asyncio.to_thread(read_manifest, frame, opened, end, codec, key)
    base = None
    if header.base is not None:
        base = await _base(destination, header, ring, codecs)
    return Archive(name, end.size, opened, manifest, destination, codec, key, base)


async def _base(
    destination: Destination, header: Header, ring: KeyRing | None, codecs: Codecs
) -> Archive:
    assert header.base is not None
    try:
        base = await open_archive(destination, name_of(header.base), ring, codecs)
    except NotFoundError:
        raise CorruptError(
            f"The full archive {header.base} is missing, and this one has only what changed since.",
            hint="Put it beside this one, or take another archive.",
        ) from None
    if base.opened.digest != header.base_digest or base.header.kind != "full":
        raise CorruptError(
            f"The archive {header.base} is not the one this one was made on.",
            hint="Take another archive: `holdfast backup list`.",
        )
    return base


async def _key(header: Header, ring: KeyRing | None) -> bytes | None:
    if header.master is None:
        return None
    if ring is None:
        raise KeyRingError(
            f"The archive is sealed with the master key {header.master!r}, and no keyring is "
            "configured.",
            hint="Configure `seal` as it was when the archive was made.",
        )
    return await ring.unwrap(header.master, header.wrapped, header.bound())


def groups(chunks: Iterable[Chunk], bytes_max: int) -> Sequence[Sequence[Chunk]]:
    """Chunks in runs whose rows take about so much memory; the same whenever it is asked."""
    runs: list[list[Chunk]] = []
    size = 0
    for chunk in chunks:
        weight = chunk.size + chunk.rows * _ROW_BYTES
        if not runs or size + weight > bytes_max:
            runs.append([])
            size = 0
        runs[-1].append(chunk)
        size += weight
    return runs
