"""The format of archives: what was written comes back, and anything else is refused."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.backends.backups.codecs import codec
from holdfast.core import archive as format_of
from holdfast.core.archive import Codec, Cutter, Row, Writer, encoded
from holdfast.engine.archives import Archive, groups, open_archive
from holdfast.errors import (
    ConfigError,
    CorruptError,
    KeyRingError,
    NotFoundError,
    SchemaTooNewError,
)
from support.drawer import COLUMNS, KEY, TABLES, Drawer, OpenRing, header, written
from support.thorough import often

NAME = "one.hfarchive"


async def opened(data: bytes, key: bytes | None = None, **more: bytes) -> Archive:
    drawer = Drawer(**{NAME: data}, **more)
    return await open_archive(drawer, NAME, OpenRing() if key else None, codec)


async def read(data: bytes, key: bytes | None = None, **more: bytes) -> dict[str, list[Row]]:
    """Everything an archive holds."""
    archive = await opened(data, key, **more)
    found: dict[str, list[Row]] = {table.name: [] for table in archive.manifest.tables}
    names = list(found)
    for chunk in archive.manifest.chunks:
        found[names[chunk.table]] += await archive.rows(chunk)
    return found


@pytest.mark.parametrize("name", ["gzip", "zstd"])
@pytest.mark.parametrize("key", [None, KEY])
async def test_what_was_written_comes_back(key: bytes | None, name: str) -> None:
    assert await read(written(key, name), key) == dict(TABLES)


async def test_counts_are_told_without_reading_rows() -> None:
    archive = await opened(written(KEY), KEY)
    assert archive.manifest.counts() == {name: len(rows) for name, rows in TABLES}
    assert archive.manifest.tables[0].columns == COLUMNS


@pytest.mark.parametrize("key", [None, KEY])
async def test_any_flipped_bit_is_refused(key: bytes | None) -> None:
    data, chance = written(key), random.Random(5)
    for at in range(len(data)):
        changed = bytearray(data)
        changed[at] ^= 1 << chance.randrange(8)
        with pytest.raises((CorruptError, KeyRingError)):
            await read(bytes(changed), key)


@pytest.mark.parametrize("key", [None, KEY])
async def test_what_is_cut_or_longer_is_refused(key: bytes | None) -> None:
    data = written(key)
    for length in range(0, len(data), often(3, 1)):
        with pytest.raises(CorruptError):
            await read(data[:length], key)
    for more in (b"\0", data):
        with pytest.raises(CorruptError):
            await read(data + more, key)


async def test_another_key_opens_nothing() -> None:
    data = written(KEY)
    at = data.index(KEY)
    with pytest.raises(CorruptError):
        await read(data[:at] + bytes(32) + data[at + 32 :], KEY)
    forged = Writer(header(master="first", wrapped=bytes(32)), codec("gzip"), bytes(32))
    start, end = forged.start(), written(KEY)
    with pytest.raises(CorruptError):
        await read(start + end[len(start) :], KEY)
    with pytest.raises(KeyRingError, match="no keyring"):
        await read(data)


async def test_frames_of_another_archive_are_refused() -> None:
    """The same rows, the same key: only who they belong to is not the same."""
    mine, other = await opened(written(KEY), KEY), written(KEY, id="two")
    chunk = mine.manifest.chunks[0]
    data = bytearray(written(KEY))
    data[chunk.offset : chunk.offset + chunk.length] = other[
        chunk.offset : chunk.offset + chunk.length
    ]
    with pytest.raises(CorruptError):
        await read(bytes(data), KEY)


async def test_a_newer_format_is_told_apart() -> None:
    data = written(None)
    magic = format_of.MAGIC
    try:
        format_of.MAGIC = magic[:-1] + b"\x02"
        newer = written(None)
    finally:
        format_of.MAGIC = magic
    assert await read(data)
    with pytest.raises(SchemaTooNewError, match="Upgrade"):
        await read(newer)


@given(st.binary(max_size=400))
@settings(max_examples=often(150, 5_000))
async def test_nothing_but_an_archive_is_read(data: bytes) -> None:
    for tried in (data, format_of.MAGIC + data, written(None)[:90] + data):
        with pytest.raises(CorruptError):
            await read(tried)


@given(st.lists(st.tuples(st.integers(0, 3_000), st.binary(max_size=6)), min_size=1, max_size=4))
@settings(max_examples=often(150, 5_000))
async def test_patched_archives_are_refused_or_the_same(patches: list[tuple[int, bytes]]) -> None:
    data = bytearray(written(None))
    for at, piece in patches:
        data[at : at + len(piece)] = piece
    try:
        found = await read(bytes(data))
    except (CorruptError, SchemaTooNewError):
        return
    assert found == dict(TABLES)


VALUES = (
    st.none()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    | st.binary(max_size=20)
)


@given(
    st.lists(st.lists(VALUES, min_size=3, max_size=3), max_size=30), st.sampled_from([None, KEY])
)
@settings(max_examples=often(60, 2_000))
async def test_rows_of_any_values_come_back(rows: list[list[Any]], key: bytes | None) -> None:
    more = {} if key is None else {"master": "first", "wrapped": key}
    writer = Writer(header(**more), codec("gzip"), key)
    parts = [writer.start()]
    writer.table("t", ("a", "b", "c"))
    parts += [writer.rows([encoded(row)]) for row in rows]
    assert await read(b"".join([*parts, writer.finish()]), key) == {"t": rows}


# ------------------------------------------------------------------ chunks, and what changed


def cut(rows: list[Row]) -> list[list[bytes]]:
    cutter = Cutter((0,))
    return [*cutter.cut(rows), *cutter.rest()]


def test_chunks_have_all_rows_in_order() -> None:
    rows: list[Row] = [[no, "x" * (no % 7)] for no in range(5_000)]
    chunks = cut(rows)
    assert [row for chunk in chunks for row in chunk] == [encoded(row) for row in rows]
    assert 4 < len(chunks) < 40
    assert len(cut([[1, "x" * (1 << 21)], [2, "y"]])) == 2, "a long row ends its chunk"


def test_a_change_changes_one_chunk() -> None:
    rows: list[Row] = [[no, "x"] for no in range(5_000)]
    before = set(map(tuple, cut(rows)))
    changed = [*rows[:2_000], [2_000, "y"], *rows[2_001:]]
    gone = rows[:2_000] + rows[2_001:]
    for after in (changed, gone):
        assert len(set(map(tuple, cut(after))) - before) <= 2


def incremental(rows: list[Row], base: Archive) -> tuple[bytes, Writer]:
    known = {chunk.digest: chunk for chunk in base.manifest.chunks}
    told = header(id="two", kind="incremental", base="one", base_digest=base.opened.digest)
    writer = Writer(told, codec("gzip"), None, known)
    parts = [writer.start()]
    writer.table("t", ("no", "name"))
    parts += [writer.rows(chunk) for chunk in cut(rows)]
    return b"".join([*parts, writer.finish()]), writer


def full(rows: list[Row], **more: Any) -> bytes:
    writer = Writer(header(**more), codec("gzip"), None)
    parts = [writer.start()]
    writer.table("t", ("no", "name"))
    parts += [writer.rows(chunk) for chunk in cut(rows)]
    return b"".join([*parts, writer.finish()])


async def test_an_incremental_archive_has_what_its_base_has_not() -> None:
    rows: list[Row] = [[no, str(no)] for no in range(3_000)]
    data = full(rows)
    later = [*rows[:40], [40, "changed"], *rows[42:], [9_000, "new"]]
    second, writer = incremental(later, await opened(data))
    assert 0 < writer.fresh_rows < 2_500
    drawer = Drawer(**{NAME: data, "two.hfarchive": second})
    archive = await open_archive(drawer, "two.hfarchive", None, codec)
    found = [row for chunk in archive.manifest.chunks for row in await archive.rows(chunk)]
    assert found == later
    del drawer.held[NAME]
    with pytest.raises(CorruptError, match="is missing"):
        await open_archive(drawer, "two.hfarchive", None, codec)
    drawer.held[NAME] = full(rows, created_at=2.0)
    with pytest.raises(CorruptError, match="not the one"):
        await open_archive(drawer, "two.hfarchive", None, codec)


async def test_groups_are_the_same_whenever_they_are_made() -> None:
    rows: list[Row] = [[no, str(no) * 9] for no in range(3_000)]
    manifest = (await opened(full(rows))).manifest
    runs = groups(manifest.chunks, 200_000)
    assert [chunk for run in runs for chunk in run] == list(manifest.chunks)
    assert len(runs) > 2
    assert groups(manifest.chunks, 200_000) == runs


# ------------------------------------------------------------------ compression


@pytest.mark.parametrize("name", ["gzip", "zstd"])
def test_compressed_data_is_never_longer_than_told(name: str) -> None:
    one: Codec = codec(name)
    packed = one.compress(bytes(100_000))
    assert len(packed) < 1_000
    assert one.expand(packed, 100_000) == bytes(100_000)
    for size in (99_999, 10, 0):
        with pytest.raises(ValueError, match="not"):
            one.expand(packed, size)
    with pytest.raises(ValueError, match="not"):
        one.expand(b"other", 5)


def test_the_best_codec_is_taken_unless_told() -> None:
    assert codec(None).name == "zstd"
    with pytest.raises(ConfigError, match="Known are"):
        codec("lzma")


async def test_what_is_not_there_is_not_found() -> None:
    with pytest.raises(NotFoundError):
        await open_archive(Drawer(), NAME, None, codec)
