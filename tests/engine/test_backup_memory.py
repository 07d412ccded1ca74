"""What is held in memory while a backup is made or restored does not grow with the store."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import pytest

from holdfast.backends.backups.codecs import codec
from holdfast.core.archive import CHUNK_BYTES, Chunk, Row, Writer, encoded
from holdfast.core.forgotten import Erased, Forgotten
from holdfast.engine import backups, restoring
from holdfast.engine.archives import Archive, open_archive
from holdfast.errors import StoreError
from holdfast.ports.archiving import Load, Table
from support.drawer import Drawer, header

COLUMNS = ("no", "project", "kind", "id")
LOAD_BYTES = 200_000
CHUNK_ROWS = 50
SIZES = (2_000, 20_000)


class Rows(list[Row]):
    """Rows whose end can be seen."""


class Live:
    """Counts the rows that are alive."""

    def __init__(self) -> None:
        self.now = self.most = self.all = 0

    def told(self, rows: Sequence[Row]) -> Rows:
        made = Rows(rows)
        self.now += len(made)
        self.all += len(made)
        self.most = max(self.most, self.now)
        weakref.finalize(made, self._gone, len(made))
        return made

    def _gone(self, rows: int) -> None:
        self.now -= rows


class Target:
    """In place of `ports.Archiving`: takes loads, and keeps only how many rows there were."""

    def __init__(self, fail_at: int = -1) -> None:
        self.rows: dict[str, int] = {}
        self.done: list[int] = []
        self.fail_at = fail_at

    async def load(self, loads: Sequence[Load], done: int) -> None:
        await asyncio.sleep(0)
        if len(self.done) == self.fail_at:
            self.fail_at = -1
            raise StoreError("planted")
        for one in loads:
            before = 0 if one.anew else self.rows.get(one.table, 0)
            self.rows[one.table] = before + len(one.rows)
        self.done.append(done)


async def archive(table: str, count: int) -> Archive:
    """An archive of one table."""
    writer = Writer(header(), codec("gzip"), None)
    parts = [writer.start()]
    writer.table(table, COLUMNS)
    for start in range(0, count, CHUNK_ROWS):
        rows = [[no, "default", "user", f"u{no}"] for no in range(start, start + CHUNK_ROWS)]
        parts.append(writer.rows([encoded(row) for row in rows]))
    drawer = Drawer(**{"one.hfarchive": b"".join([*parts, writer.finish()])})
    return await open_archive(drawer, "one.hfarchive", None, codec)


@pytest.fixture
def live(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Live]:
    """Begins to count the rows that archives are read into."""
    monkeypatch.setattr(restoring, "_LOAD_BYTES", LOAD_BYTES)
    read = Archive.rows

    def begin() -> Live:
        counted = Live()

        async def rows(self: Archive, chunk: Chunk) -> list[Row]:
            return counted.told(await read(self, chunk))

        monkeypatch.setattr(Archive, "rows", rows)
        return counted

    return begin


def nobody(*_: int) -> None:
    """Is told how far it is."""


@pytest.mark.parametrize("erased", [False, True])
async def test_a_restore_holds_two_loads(live: Callable[[], Live], *, erased: bool) -> None:
    who = [Erased("default", "user", "u7", 2.0)] if erased else []
    most = []
    for count in SIZES:
        counted, target = live(), Target()
        made = await archive("entities", count)
        forgotten = Forgotten(who, 1.0)
        await restoring.load(target, made, None, forgotten, 0, nobody)  # type: ignore[arg-type]
        assert counted.all == count
        assert target.rows == {"entities": count - erased}
        most.append(counted.most)
    assert most[0] == most[1], "what is held grows with the archive"
    assert CHUNK_ROWS < most[0] <= 2 * LOAD_BYTES // 512, most


async def test_keys_are_loaded_some_at_a_time(live: Callable[[], Live]) -> None:
    most = []
    for count in SIZES:
        nothing, keys = await archive("entities", 0), await archive("subject_keys", count)
        counted, target = live(), Target()
        nobody_gone = Forgotten((), 0.0)
        await restoring.load(target, nothing, keys, nobody_gone, 0, nobody)  # type: ignore[arg-type]
        assert target.rows == {"subject_keys": count}
        assert set(target.done[:-1]) <= {0}, "a restore that was cut off would go on in the middle"
        assert target.done[-1] == 1
        most.append(counted.most)
    assert most[0] == most[1]
    assert CHUNK_ROWS < most[0] <= 2 * LOAD_BYTES // 512


async def test_keys_that_were_cut_off_begin_anew(live: Callable[[], Live]) -> None:
    """Those that are beside the archive by now may be others, and fewer."""
    nothing, keys = await archive("entities", 0), await archive("subject_keys", SIZES[1])
    fewer = await archive("subject_keys", SIZES[0])
    live()
    target, forgotten = Target(fail_at=9), Forgotten((), 0.0)
    with pytest.raises(StoreError, match="planted"):
        await restoring.load(target, nothing, keys, forgotten, 0, nobody)  # type: ignore[arg-type]
    assert target.rows["subject_keys"] > SIZES[0]
    again = target.done[-1]
    await restoring.load(target, nothing, fewer, forgotten, again, nobody)  # type: ignore[arg-type]
    assert target.rows == {"subject_keys": SIZES[0]}


class Snapshot:
    """`ports.archiving.Snapshot` of one long table, whose rows are counted."""

    def __init__(self, count: int, live: Live) -> None:
        self.count, self.live = count, live

    async def tables(self) -> Sequence[Table]:
        return [Table(name="entities", columns=COLUMNS, key=(0,))]

    async def counts(self) -> Mapping[str, int]:
        return {"entities": self.count}

    async def rows(self, table: str) -> AsyncIterator[Sequence[Row]]:
        for start in range(0, self.count, 256):
            yield self.live.told(
                [[no, table, "user", "u" * 90] for no in range(start, start + 256)]
            )


async def test_a_backup_holds_a_chunk() -> None:
    """Of rows no more than two batches live; encoded, no more than a chunk of them waits."""
    held: dict[int, list[int]] = {}
    for count in SIZES:
        counted, written = Live(), 0
        writer = Writer(header(), codec("gzip"), None)
        snapshot: Any = Snapshot(count, counted)
        waits = []
        async for part in backups._written(snapshot, writer, nobody):
            written += len(part)
            waits.append(counted.all - sum(chunk.rows for chunk in writer._chunks))
        held[count] = [counted.most, max(waits)]
        assert written > count
    assert held[SIZES[0]][0] == held[SIZES[1]][0] <= 2 * 256
    assert max(most for _, most in held.values()) <= CHUNK_BYTES // 100 + 256
