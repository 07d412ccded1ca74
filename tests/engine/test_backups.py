"""Backups through the public face: drills against a model, and what is refused."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from holdfast.admin import AsyncAdmin
from holdfast.backends.schema import metadata
from holdfast.backends.sql import archiving
from holdfast.backends.sqlite.archiving import SqliteArchiving
from holdfast.clock import SystemClock
from holdfast.core.archive import Cutter
from holdfast.engine import restoring
from holdfast.errors import (
    ConflictError,
    CorruptError,
    HoldfastError,
    KeyRingError,
    NotFoundError,
    StoreError,
    ValidationError,
)
from holdfast.registry import make_shelf
from support.drawer import told
from support.sealed import MASTER, OTHER, written

USERS = ("alice", "bob")


def config(tmp_path: Path, name: str = "store", *, sealed: bool = False, **more: Any) -> Any:
    seal = {"seal": {"provider": "file", "config": {"path": str(tmp_path / "keys")}}}
    return {
        "path": str(tmp_path / name),
        "workers": 0,
        "backup": {"provider": "folder", "config": {"path": str(tmp_path / "backups")}},
        **(seal if sealed else {}),
        **more,
    }


@pytest.fixture(autouse=True)
def hold(tmp_path: Path) -> Callable[[dict[str, bytes]], object]:
    """Puts other master keys into the keyring."""
    file = tmp_path / "keys"
    file.touch(mode=0o600)
    file.write_text(written(MASTER))
    return lambda keys: file.write_text(written(keys))


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many small chunks and transactions."""
    monkeypatch.setattr(Cutter, "_ends", lambda self, _row: len(self._kept) == 5)
    monkeypatch.setattr(restoring, "_LOAD_BYTES", 4_000)


async def fill(admin: AsyncAdmin) -> None:
    """Facts, changed and deleted ones, another project, and rows of the directory."""
    memory = admin.memory()
    for user in USERS:
        for text in ("I like tea.", "I like rum.", "I live in Kent.", "I have a dog."):
            last = await memory.add(text, user_id=user, metadata={"k": text}, infer=False)
        await memory.update(last["results"][0]["id"], f"I have two dogs, says {user}.")
        gone = await memory.add("Forget this.", user_id=user, infer=False)
        await memory.delete(gone["results"][0]["id"])
    await admin.memory("other").add("I like tea too.", user_id="alice", infer=False)
    await admin.create_key(label="for the test")
    await admin.webhooks.create("hook", "https://example.com/x", ["memory_add"])


async def contents(admin: AsyncAdmin) -> list[Any]:
    keys = [key.digest for key in await admin.keys()]
    hooks = [hook.secret for hook in await admin.webhooks.listed()]
    here = await told(admin.memory(), *USERS)
    return [*here, await told(admin.memory("other"), "alice"), keys, hooks]


async def backed_up(settings: Any) -> list[Any]:
    """Fill a store and make a backup; what it tells."""
    async with AsyncAdmin(settings) as admin:
        await fill(admin)
        await admin.backups.create()
        return await contents(admin)


# ------------------------------------------------------------------ drills


@pytest.mark.parametrize("sealed", [False, True])
async def test_everything_comes_back(tmp_path: Path, *, sealed: bool) -> None:
    before = await backed_up(config(tmp_path, sealed=sealed))
    other = AsyncAdmin(config(tmp_path, "other", sealed=sealed))
    steps: list[tuple[int, int]] = []
    restored = await other.backups.restore(told=lambda *step: steps.append(step))
    assert (restored.memories, restored.forgotten, restored.resumed) == (9, 0, False)
    assert steps[-1][0] == steps[-1][1] == restored.rows
    async with other as admin:
        assert await contents(admin) == before
        added = await admin.memory().add("I like milk.", user_id="alice", infer=False)
        assert await admin.memory().get(added["results"][0]["id"])
        again = await admin.memory().add("I like tea.", user_id="alice", infer=False)
        assert len((await told(admin.memory(), "alice"))[0]["results"]) in (5, 6), again
        assert (await admin.backups.create()).kind == "full", "it is a store of its own now"


async def test_an_incremental_backup_has_what_changed(tmp_path: Path) -> None:
    async with AsyncAdmin(config(tmp_path)) as admin:
        await fill(admin)
        for no in range(60):
            await admin.memory().add(f"I saw {no} birds.", user_id="bob", infer=False)
        full = await admin.backups.create()
        await admin.memory().add("I like milk.", user_id="alice", infer=False)
        second = await admin.backups.create()
        third = await admin.backups.create()
        assert (second.kind, second.base, third.base) == ("incremental", full.id, full.id)
        shown = await admin.backups.show(second.id)
        assert shown.fresh < sum(shown.tables.values()) / 3
        assert shown.tables["memories"] == 70
        assert (await admin.backups.verify(second.id)).memories == 70
        assert (await admin.backups.create(full=True)).kind == "full"
        before = await contents(admin)
        found = await admin.backups.listed()
        assert [one.kind for one in found] == ["full", "incremental", "incremental", "full"]
    other = AsyncAdmin(config(tmp_path, "other"))
    await other.backups.restore(third.id)
    async with other as admin:
        assert await contents(admin) == before


async def test_a_backup_is_the_store_at_one_moment(tmp_path: Path) -> None:
    """While writers go on: what was acknowledged before it began is there, in whole commits."""
    async with AsyncAdmin(config(tmp_path)) as admin:
        memory = admin.memory()
        acknowledged: list[str] = []

        async def write(writer: int) -> None:
            for no in range(25):
                answer = await memory.add(
                    [{"role": "user", "content": f"{writer} saw {no} {what}"} for what in "ab"],
                    user_id=f"w{writer}",
                    infer=False,
                )
                acknowledged.extend(one["id"] for one in answer["results"])

        writers = [asyncio.create_task(write(no)) for no in range(4)]
        marks = []
        for _ in range(3):
            await asyncio.sleep(0.05)
            before = set(acknowledged)
            made = await admin.backups.create()
            marks.append((made.id, before, set(acknowledged)))
        await asyncio.gather(*writers)
    for backup_id, before, after in marks:
        path = tmp_path / backup_id
        other = AsyncAdmin(config(tmp_path, backup_id))
        await other.backups.restore(backup_id)
        with closing(sqlite3.connect(path / "holdfast.db")) as connection:
            ids = {one for (one,) in connection.execute("SELECT id FROM memories")}
            counted = connection.execute("SELECT sum(memories) FROM entities").fetchone()[0]
            history = connection.execute("SELECT count(*) FROM history").fetchone()[0]
        assert before <= ids
        assert len(ids - after) <= 8, "acknowledged while it was read, or under way"
        assert len(ids) % 2 == 0, "two of a commit"
        assert len(ids) == counted == history


# ------------------------------------------------------------------ refused


async def test_a_store_that_is_not_empty_is_left_alone(tmp_path: Path) -> None:
    before = await backed_up(config(tmp_path))
    with pytest.raises(ConflictError, match="not empty"):
        await AsyncAdmin(config(tmp_path)).backups.restore()
    async with AsyncAdmin(config(tmp_path)) as admin:
        with pytest.raises(ConflictError, match="is open"):
            await admin.backups.restore()
        assert await contents(admin) == before


@pytest.mark.parametrize("sealed", [False, True])
async def test_a_damaged_file_is_refused(tmp_path: Path, *, sealed: bool) -> None:
    await backed_up(config(tmp_path, sealed=sealed))
    [file] = (tmp_path / "backups").glob("*.hfarchive")
    data = file.read_bytes()
    for at in range(0, len(data), len(data) // 12):
        file.write_bytes(data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :])
        with pytest.raises((CorruptError, KeyRingError)):
            await AsyncAdmin(config(tmp_path, sealed=sealed)).backups.verify(file.stem)
    file.write_bytes(data[:-1])
    [found] = await AsyncAdmin(config(tmp_path)).backups.listed()
    assert (found.whole, found.id) == (False, file.stem)
    with pytest.raises(NotFoundError):
        await AsyncAdmin(config(tmp_path)).backups.verify()


async def test_another_keyring_opens_nothing(
    tmp_path: Path, hold: Callable[[dict[str, bytes]], object]
) -> None:
    before = await backed_up(config(tmp_path, sealed=True))
    raw = b"".join(file.read_bytes() for file in (tmp_path / "backups").iterdir())
    assert b"Kent" not in raw
    with pytest.raises(KeyRingError, match="no keyring"):
        await AsyncAdmin(config(tmp_path, "other")).backups.restore()
    hold(OTHER)
    with pytest.raises(CorruptError):
        await AsyncAdmin(config(tmp_path, "other", sealed=True)).backups.restore()
    hold({"second": bytes(32)})
    with pytest.raises(KeyRingError):
        await AsyncAdmin(config(tmp_path, "other", sealed=True)).backups.restore()
    hold(MASTER)
    [beside] = (tmp_path / "backups").glob("*.hfkeys")
    held = beside.read_bytes()
    beside.unlink()
    with pytest.raises(CorruptError, match="is missing"):
        await AsyncAdmin(config(tmp_path, "other", sealed=True)).backups.restore()
    beside.write_bytes(held)
    await AsyncAdmin(config(tmp_path, "other", sealed=True)).backups.restore()
    async with AsyncAdmin(config(tmp_path, "other", sealed=True)) as admin:
        assert await contents(admin) == before


@pytest.mark.parametrize("ids", ["../x", "a/b", "", "x" * 65, "latest.hfarchive"])
async def test_an_id_is_no_path(tmp_path: Path, ids: str) -> None:
    with pytest.raises(ValidationError):
        await AsyncAdmin(config(tmp_path)).backups.show(ids)


async def test_where_there_is_nothing(tmp_path: Path) -> None:
    admin = AsyncAdmin(config(tmp_path))
    assert await admin.backups.listed() == []
    for call in (admin.backups.verify, admin.backups.restore, admin.backups.create):
        with pytest.raises(NotFoundError):
            await call()
    with pytest.raises(NotFoundError):
        await admin.backups.show("nobody")
    assert not (tmp_path / "backups").exists()
    with pytest.raises(ValidationError, match="no place"):
        await admin.backups.listed(at="ftp://example.com/x")


# ------------------------------------------------------------------ cut off


async def test_a_restore_that_was_cut_off_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await backed_up(config(tmp_path))
    settings = config(tmp_path, "other")
    load, left = SqliteArchiving.load, 3

    async def failing(self: SqliteArchiving, loads: Any, done: int) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise StoreError("planted")
        await load(self, loads, done)

    monkeypatch.setattr(SqliteArchiving, "load", failing)
    with pytest.raises(StoreError, match="planted"):
        await AsyncAdmin(settings).backups.restore()
    monkeypatch.undo()
    monkeypatch.setattr(restoring, "_LOAD_BYTES", 4_000)
    monkeypatch.setattr(Cutter, "_ends", lambda self, _row: len(self._kept) == 5)
    with pytest.raises(StoreError, match="cut off"):
        async with AsyncAdmin(settings):
            pass
    with pytest.raises(StoreError, match="cut off"):
        await AsyncAdmin(settings).backups.create()
    async with AsyncAdmin(config(tmp_path)) as admin:
        second = await admin.backups.create()
    [first] = [one for one in await AsyncAdmin(settings).backups.listed() if one.kind == "full"]
    with pytest.raises(ConflictError, match="Another archive"):
        await AsyncAdmin(settings).backups.restore(second.id)
    assert (await AsyncAdmin(settings).backups.restore(first.id)).resumed
    async with AsyncAdmin(settings) as admin:
        assert await contents(admin) == before


async def test_a_restore_may_begin_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = await backed_up(config(tmp_path))
    settings = config(tmp_path, "other")

    async def failing(_self: SqliteArchiving) -> None:
        raise StoreError("planted")

    with monkeypatch.context() as patch:
        patch.setattr(SqliteArchiving, "finish", failing)
        with pytest.raises(StoreError, match="planted"):
            await AsyncAdmin(settings).backups.restore()
    assert not (await AsyncAdmin(settings).backups.restore(restart=True)).resumed
    async with AsyncAdmin(settings) as admin:
        assert await contents(admin) == before


async def test_a_backup_that_fails_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config(tmp_path)
    await backed_up(settings)
    [there] = await AsyncAdmin(settings).backups.listed()

    def failing(*_: object) -> bytes:
        raise HoldfastError("planted")

    with monkeypatch.context() as patch:
        patch.setattr("holdfast.core.archive.Writer.finish", failing)
        with pytest.raises(HoldfastError, match="planted"):
            await AsyncAdmin(settings).backups.create()
    assert [one.name for one in (tmp_path / "backups").iterdir()] == [f"{there.id}.hfarchive"]


# ------------------------------------------------------------------ erased


@pytest.mark.parametrize("sealed", [False, True])
async def test_who_was_erased_is_not_restored(tmp_path: Path, *, sealed: bool) -> None:
    settings = config(tmp_path, sealed=sealed)
    await backed_up(settings)
    async with AsyncAdmin(settings) as admin:
        await admin.memory().delete_all(user_id="alice")
    await forget(settings, "alice")
    async with AsyncAdmin(settings) as admin:  # which has no key of hers in memory
        await admin.memory().add("I am back.", user_id="alice", infer=False)
        bob = await told(admin.memory(), "bob")
        later = await admin.backups.create()
    first = (await AsyncAdmin(settings).backups.listed())[0]
    other = AsyncAdmin(config(tmp_path, "other", sealed=sealed))
    assert (await other.backups.restore(first.id)).forgotten > 10
    async with other as admin:
        assert (await told(admin.memory(), "bob"))[:-1] == bob[:-1]
        assert (await told(admin.memory(), "alice"))[0]["results"] == []
    with closing(sqlite3.connect(tmp_path / "other" / "holdfast.db")) as connection:
        dump = "\n".join(connection.iterdump())
        assert "says alice" not in dump
        assert ("says bob" in dump) != sealed
        lonely = "SELECT count(*) FROM {} WHERE memory_no NOT IN (SELECT no FROM memories)"
        for table in ("embeddings", "sources"):
            assert connection.execute(lonely.format(table)).fetchone() == (0,)
    third = AsyncAdmin(config(tmp_path, "third", sealed=sealed))
    assert (await third.backups.restore(later.id)).forgotten == 0
    async with third as admin:
        [page, *_] = await told(admin.memory(), "alice")
        assert [one["memory"] for one in page["results"]] == ["I am back."]


async def forget(settings: Any, user: str) -> None:
    """What an erasure does to keys: destroy the subject's, then tell the backups."""
    from holdfast.config import load_config
    from holdfast.engine.backups import drop_subject

    with closing(sqlite3.connect(Path(settings["path"]) / "holdfast.db")) as connection, connection:
        connection.execute("UPDATE subject_keys SET wrapped = NULL WHERE id = ?", (user,))
    shelf = make_shelf(load_config(settings).config, SystemClock())
    try:
        await drop_subject(shelf, "default", "user", user)
    finally:
        await shelf.close()


async def test_destroyed_keys_are_not_beside_archives(tmp_path: Path) -> None:
    """Who has the archives and the master key, but not the store, reads nothing of the erased."""
    settings = config(tmp_path, sealed=True)
    await backed_up(settings)
    await forget(settings, "alice")
    from holdfast.config import load_config
    from holdfast.engine.archives import open_archive
    from holdfast.engine.backups import SUBJECT_KEYS, rows_of

    shelf = make_shelf(load_config(settings).config, SystemClock())
    [name] = [one.name for one in (tmp_path / "backups").glob("*.hfkeys")]
    keys = await open_archive(shelf.destination, name, shelf.ring, shelf.codecs)
    rows = {row[2]: row[5] for row in await rows_of(keys, SUBJECT_KEYS) if row[0] == "default"}
    assert rows["alice"] is None
    assert rows["bob"] is not None
    await shelf.close()


# ------------------------------------------------------------------ the schema


def test_every_table_is_archived_or_left_on_purpose() -> None:
    names = set(metadata.tables)
    assert set(archiving.ARCHIVED) | set(archiving.LEFT) == names, (
        "name new tables in backends/sql/archiving.py: ARCHIVED with its key, or LEFT with why"
    )
    assert not set(archiving.ARCHIVED) & set(archiving.LEFT)
    for name, key in archiving.ARCHIVED.items():
        assert tuple(metadata.tables[name].primary_key.columns.keys()) == key, name
