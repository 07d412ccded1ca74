"""The format of a backup: an archive that is whole, as it was written, or refused.

    header | frame 0 | frame 1 | ... | manifest frame | trailer

The *header* says what it is and how to read it. A *frame* holds a chunk of rows of one table,
compressed, then sealed (AES-256-GCM with the archive's own key) or, in an archive without a key,
followed by its SHA-256. Both cover the frame's kind, length and number and the header's digest, so
that a frame that was changed, cut, moved, or taken from another archive is refused. The *manifest*
is the last frame: every chunk with its digest, and the counts of every table. The *trailer* says
where the manifest is and how long everything is; without it an archive was cut off.

An incremental archive has only the chunks that its base, a full one, has not; its manifest names
the others by their place in the base. Chunks end after rows that their keys choose, so that equal
rows make equal chunks, whatever was put in before or taken out between them.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

import msgspec

from holdfast.core.seal import KEY_BYTES, NONCE_BYTES, TAG_BYTES, cipher
from holdfast.errors import CorruptError, SchemaTooNewError
from holdfast.model import Struct

_NAME: Final = b"HFARCH"
MAGIC: Final = _NAME + b"\x00\x01"
END: Final = b"HFEND\x00\x00\x01"
SUFFIX: Final = ".hfarchive"

HEADER_BYTES_MAX: Final = 65_536
CHUNK_BYTES_MAX: Final = 1 << 29
"""Bytes one chunk may have before it is compressed: a row has its texts, and no row is cut."""
MANIFEST_BYTES_MAX: Final = 1 << 30
CHUNK_BYTES: Final = 1 << 20
"""Bytes after which a chunk ends, whatever its keys are."""
_CHOSEN: Final = 0x1FF
"""A row ends its chunk if these bits of its key's checksum are zero: one of 512."""

_FRAME: Final = struct.Struct(">cI")
_COVERED: Final = struct.Struct(">cIQ32s")
_TRAILER: Final = struct.Struct(">8sQQQ32s")
TRAILER_BYTES: Final = _TRAILER.size
_LENGTH: Final = struct.Struct(">I")
_START: Final = len(MAGIC) + _LENGTH.size
_DIGEST_BYTES: Final = 32

CHUNK: Final = b"C"
MANIFEST: Final = b"M"

Kind = Literal["full", "incremental", "keys"]
encoded: Final = msgspec.msgpack.Encoder().encode
"""A row, or a part of it, as it stands in a chunk."""
Row = Sequence[Any]


class Codec(NamedTuple):
    """A way to compress."""

    name: str
    compress: Callable[[bytes], bytes]
    expand: Callable[[bytes, int], bytes]
    """At most so many bytes. Raises ValueError for what is damaged, or longer."""


class Header(Struct, frozen=True, kw_only=True):
    """What an archive is; in the clear."""

    id: str
    kind: Kind
    created_at: float
    """When its snapshot was taken, epoch seconds."""
    store: str
    """Tells the store it was made of from others."""
    revision: str
    """Of the schema."""
    compression: str
    base: str | None = None
    """The id of the full archive that has the chunks that are not here."""
    base_digest: bytes = b""
    """Of the header of that archive."""
    master: str | None = None
    """Name of the master key that wraps the archive's; None: it is not sealed."""
    wrapped: bytes = b""
    version: str = ""
    """Of the Holdfast that wrote it."""

    def bound(self) -> bytes:
        """What the wrapped key is bound to."""
        return f"archive {self.id}".encode()


class Chunk(Struct, frozen=True, array_like=True):
    """Where some rows of a table are."""

    table: int
    """Its place among the manifest's tables."""
    rows: int
    digest: bytes
    """SHA-256 of the rows as they are before they are compressed."""
    size: int
    """Bytes before they are compressed."""
    in_base: bool
    number: int
    """Of the frame."""
    offset: int
    """Of the frame in its archive."""
    length: int
    """Of the whole frame."""


class TableCount(Struct, frozen=True, kw_only=True):
    """A table of an archive."""

    name: str
    columns: tuple[str, ...]
    rows: int
    digest: bytes
    """SHA-256 of the digests of its chunks, in order."""


class Manifest(Struct, frozen=True, kw_only=True):
    """What an archive holds."""

    tables: tuple[TableCount, ...]
    chunks: tuple[Chunk, ...]

    def counts(self) -> Mapping[str, int]:
        """Rows of each table."""
        return {table.name: table.rows for table in self.tables}


class Opened(NamedTuple):
    """A header that was read."""

    header: Header
    digest: bytes
    ends: int
    """Where the first frame begins."""


class Trailer(NamedTuple):
    """The end of an archive that was read."""

    manifest_at: int
    frames: int
    size: int


# ------------------------------------------------------------------ writing


class Writer:
    """Makes the bytes of an archive, in order; whoever uses it writes them down."""

    def __init__(
        self,
        header: Header,
        codec: Codec,
        key: bytes | None,
        base: Mapping[bytes, Chunk] | None = None,
    ) -> None:
        """`key`: the archive's own, used for nothing else; `base`: the chunks of the base."""
        self._encoded = msgspec.msgpack.encode(header)
        self._digest = hashlib.sha256(MAGIC + self._encoded).digest()
        self._codec = codec
        self._key = key
        self._base = base or {}
        self._at = 0
        self._frames = 0
        self._chunks: list[Chunk] = []
        self._tables: list[tuple[str, tuple[str, ...]]] = []
        self.fresh_rows = 0
        """Rows whose chunks are not in the base."""

    def start(self) -> bytes:
        """The header."""
        return self._told(MAGIC + _LENGTH.pack(len(self._encoded)) + self._encoded + self._digest)

    def table(self, name: str, columns: Sequence[str]) -> None:
        """The rows that follow are of this table."""
        self._tables.append((name, tuple(columns)))

    def rows(self, rows: Sequence[bytes]) -> bytes:
        """A chunk of rows, each as `encoded`; nothing if the base has it."""
        raw = b"".join((_array(len(rows)), *rows))
        digest = hashlib.sha256(raw).digest()
        table, known = len(self._tables) - 1, self._base.get(digest)
        if known is not None:
            place = (known.number, known.offset, known.length)
            self._chunks.append(Chunk(table, len(rows), digest, len(raw), True, *place))
            return b""
        number, offset = self._frames, self._at
        frame = self._frame(CHUNK, self._codec.compress(raw))
        place = (number, offset, len(frame))
        self._chunks.append(Chunk(table, len(rows), digest, len(raw), False, *place))
        self.fresh_rows += len(rows)
        return frame

    def finish(self) -> bytes:
        """The manifest and the trailer."""
        at = self._at
        raw = msgspec.msgpack.encode(self.manifest())
        frame = self._frame(MANIFEST, _LENGTH.pack(len(raw)) + self._codec.compress(raw))
        return frame + self._told(trailer(at, self._frames, self._at, self._digest))

    def manifest(self) -> Manifest:
        """What was written so far."""
        tables = []
        for place, (name, columns) in enumerate(self._tables):
            mine = [chunk for chunk in self._chunks if chunk.table == place]
            tables.append(
                TableCount(
                    name=name,
                    columns=columns,
                    rows=sum(chunk.rows for chunk in mine),
                    digest=_digest_of(mine),
                )
            )
        return Manifest(tables=tuple(tables), chunks=tuple(self._chunks))

    def _frame(self, kind: bytes, payload: bytes) -> bytes:
        extra = NONCE_BYTES + TAG_BYTES if self._key else _DIGEST_BYTES
        length = len(payload) + extra
        covered = _COVERED.pack(kind, length, self._frames, self._digest)
        if self._key:
            # a key of one archive seals each number once: it is a nonce that never comes again
            nonce = self._frames.to_bytes(NONCE_BYTES, "big")
            body = nonce + cipher(self._key).encrypt(nonce, payload, covered)
        else:
            body = payload + hashlib.sha256(covered + payload).digest()
        self._frames += 1
        return self._told(_FRAME.pack(kind, length) + body)

    def _told(self, data: bytes) -> bytes:
        self._at += len(data)
        return data


def trailer(manifest_at: int, frames: int, before: int, digest: bytes) -> bytes:
    """The last bytes of an archive, with its whole length; `before`: the bytes in front of them."""
    size = before + TRAILER_BYTES
    told = struct.pack(">QQQ", manifest_at, frames, size)
    return _TRAILER.pack(END, manifest_at, frames, size, hashlib.sha256(digest + told).digest())


def _array(length: int) -> bytes:
    """The beginning of an array of so many values in MessagePack."""
    if length < 16:
        return bytes([0x90 | length])
    return b"\xdc" + length.to_bytes(2) if length < 1 << 16 else b"\xdd" + length.to_bytes(4)


class Cutter:
    """Cuts the rows of a table into chunks of encoded rows as they come."""

    def __init__(self, key: Sequence[int]) -> None:
        """`key`: the places of the columns that tell rows of the table apart."""
        self._key = tuple(key)
        self._kept: list[bytes] = []
        self._bytes = 0

    def cut(self, rows: Sequence[Row]) -> Iterator[list[bytes]]:
        """The chunks that are complete with these rows."""
        for row in rows:
            one = encoded(row)
            self._kept.append(one)
            self._bytes += len(one)
            if self._bytes >= CHUNK_BYTES or self._ends(row):
                yield from self.rest()

    def rest(self) -> Iterator[list[bytes]]:
        """What is left."""
        if self._kept:
            kept, self._kept, self._bytes = self._kept, [], 0
            yield kept

    def _ends(self, row: Row) -> bool:
        key = encoded([row[place] for place in self._key])
        return not zlib.crc32(key) & _CHOSEN


# ------------------------------------------------------------------ reading


def read_header(data: bytes) -> Opened:
    """The header, from the first `HEADER_BYTES_MAX` bytes or all there are. Raises CorruptError,
    SchemaTooNewError for a format of later versions."""
    if data[: len(_NAME)] != _NAME or len(data) < _START:
        raise _corrupt("it does not begin as one does")
    [length] = _LENGTH.unpack_from(data, len(MAGIC))
    encoded = data[_START : _START + length]
    digest = data[_START + length : _START + length + _DIGEST_BYTES]
    if hashlib.sha256(data[: len(MAGIC)] + encoded).digest() != digest:
        raise _corrupt("its header was changed or cut off")
    if data[: len(MAGIC)] != MAGIC:
        raise SchemaTooNewError(
            "This archive has a format that a newer Holdfast wrote.", hint="Upgrade Holdfast."
        )
    try:
        header = msgspec.msgpack.decode(encoded, type=Header)
    except msgspec.DecodeError:
        raise _corrupt("its header cannot be read") from None
    return Opened(header, digest, _START + length + _DIGEST_BYTES)


def read_trailer(data: bytes, opened: Opened, size: int) -> Trailer:
    """The end of an archive of so many bytes, from its last `TRAILER_BYTES`. Raises
    CorruptError."""
    if len(data) != TRAILER_BYTES or not data.startswith(END):
        raise _corrupt("its end is missing: it was cut off, or is still being written")
    _, manifest_at, frames, told, digest = _TRAILER.unpack(data)
    if trailer(manifest_at, frames, told - TRAILER_BYTES, opened.digest)[-32:] != digest:
        raise _corrupt("its end was changed")
    if told != size or not opened.ends <= manifest_at < size - TRAILER_BYTES or not frames:
        raise _corrupt(f"it has {size:,} bytes instead of {told:,}")
    return Trailer(manifest_at, frames, size)


def open_frame(frame: bytes, kind: bytes, number: int, digest: bytes, key: bytes | None) -> bytes:
    """The payload of a frame. Raises CorruptError unless it is just as it was written there."""
    from cryptography.exceptions import InvalidTag

    if len(frame) < _FRAME.size or _FRAME.unpack_from(frame) != (kind, len(frame) - _FRAME.size):
        raise _corrupt(f"frame {number} is not what it should be")
    body = frame[_FRAME.size :]
    covered = _COVERED.pack(kind, len(body), number, digest)
    if key is None:
        payload = body[:-_DIGEST_BYTES]
        if hashlib.sha256(covered + payload).digest() != body[-_DIGEST_BYTES:]:
            raise _corrupt(f"frame {number} was changed")
        return payload
    try:
        return cipher(key).decrypt(body[:NONCE_BYTES], body[NONCE_BYTES:], covered)
    except (InvalidTag, ValueError):
        raise _corrupt(f"frame {number} was changed, or sealed with another key") from None


def read_manifest(
    frame: bytes, opened: Opened, end: Trailer, codec: Codec, key: bytes | None
) -> Manifest:
    """What an archive holds, from its last frame. Raises CorruptError."""
    payload = open_frame(frame, MANIFEST, end.frames - 1, opened.digest, key)
    if len(payload) < _LENGTH.size:
        raise _corrupt("its manifest is empty")
    [size] = _LENGTH.unpack_from(payload)
    raw = _expanded(codec, payload[_LENGTH.size :], min(size, MANIFEST_BYTES_MAX))
    try:
        manifest = msgspec.msgpack.decode(raw, type=Manifest)
    except msgspec.DecodeError:
        raise _corrupt("its manifest cannot be read") from None
    _check(manifest, opened, end)
    return manifest


def read_rows(
    frame: bytes, chunk: Chunk, manifest: Manifest, digest: bytes, codec: Codec, key: bytes | None
) -> list[Row]:
    """The rows of a chunk, from its frame; `digest`: of the header of the archive it is in.

    Raises CorruptError.
    """
    if len(frame) != chunk.length:
        raise _corrupt("it is shorter than its manifest says")
    raw = _expanded(codec, open_frame(frame, CHUNK, chunk.number, digest, key), chunk.size)
    if hashlib.sha256(raw).digest() != chunk.digest:
        raise _corrupt("rows are not those that its manifest tells of")
    try:
        rows: list[Row] = msgspec.msgpack.decode(raw, type=list[list[Any]])
    except msgspec.DecodeError:
        raise _corrupt("rows cannot be read") from None
    width = len(manifest.tables[chunk.table].columns)
    if len(rows) != chunk.rows or any(len(row) != width for row in rows):
        raise _corrupt("rows are not as many, or as wide, as its manifest says")
    return rows


def _expanded(codec: Codec, data: bytes, size: int) -> bytes:
    try:
        raw = codec.expand(data, size)
    except ValueError:
        raise _corrupt("compressed data cannot be read") from None
    if len(raw) != size:
        raise _corrupt("compressed data has another length than it should")
    return raw


def _check(manifest: Manifest, opened: Opened, end: Trailer) -> None:
    """Refuse a manifest that does not account for every byte in front of it."""
    at, number = opened.ends, 0
    for chunk in manifest.chunks:
        if not 0 <= chunk.table < len(manifest.tables) or not 0 < chunk.size <= CHUNK_BYTES_MAX:
            raise _corrupt("its manifest makes no sense")
        if chunk.in_base and opened.header.base is None:
            raise _corrupt("its manifest names a base that it has not")
        if not chunk.in_base:
            if (chunk.offset, chunk.number) != (at, number):
                raise _corrupt("its manifest does not fit its frames")
            at, number = at + chunk.length, number + 1
    if (at, number) != (end.manifest_at, end.frames - 1):
        raise _corrupt("its manifest does not fit its frames")
    for place, table in enumerate(manifest.tables):
        mine = [chunk for chunk in manifest.chunks if chunk.table == place]
        if table.rows != sum(chunk.rows for chunk in mine) or table.digest != _digest_of(mine):
            raise _corrupt("its manifest contradicts itself")


def _digest_of(chunks: Sequence[Chunk]) -> bytes:
    return hashlib.sha256(b"".join(chunk.digest for chunk in chunks)).digest()


def _corrupt(what: str) -> CorruptError:
    return CorruptError(
        f"The archive is damaged: {what}.", hint="Take another one: `holdfast backup list`."
    )


__all__ = [
    "CHUNK_BYTES", "CHUNK_BYTES_MAX", "HEADER_BYTES_MAX", "KEY_BYTES", "SUFFIX", "TRAILER_BYTES",
    "Chunk", "Codec", "Cutter", "Header", "Manifest", "Opened", "TableCount", "Trailer", "Writer",
    "encoded", "read_header", "read_manifest", "read_rows", "read_trailer",
]  # fmt: skip
