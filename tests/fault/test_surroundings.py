"""Bad surroundings: each gives a typed error that says what to do, changes nothing, and passes."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import os
import random
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from holdfast import (
    ClosedError,
    ConfigError,
    CorruptError,
    HoldfastError,
    Memory,
    SchemaTooNewError,
    SpaceMismatchError,
    StoreError,
    StoreReadOnlyError,
    StoreUnavailableError,
)
from holdfast.backends.sql.dialect import Connection
from holdfast.backends.sqlite.records import SqliteRecords
from holdfast.clock import ManualClock, seeded_ids
from holdfast.engine.delete import delete_all
from holdfast.testing.contracts.values import RED, SPACE
from support.embedded import HashEmbedder, add, find, of_user, opened
from support.leaks import open_databases
from support.stranger import NOBODY, ask

ANN = {"user_id": "ann"}
TEXTS = [f"note {number} about tea and {number * 7 % 13}" for number in range(60)]


def config(folder: Path, **more: object) -> dict[str, object]:
    return {"path": str(folder), **more}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """The folder of a store that holds TEXTS for ann."""
    folder = tmp_path / "store"
    with Memory(config(folder)) as memory:
        memory.add([{"role": "user", "content": text} for text in TEXTS], user_id="ann")
    return folder


def texts_in(folder: Path) -> list[str]:
    with Memory(config(folder)) as memory:
        listed = memory.get_all(filters=ANN, top_k=1_000)["results"]
    return sorted(one["memory"] for one in listed)


def prints(folder: Path) -> dict[str, str]:
    """A fingerprint of every file in a folder."""
    return {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.iterdir())
    }


def refused(folder: Path, kind: type[HoldfastError], **more: object) -> HoldfastError:
    """The error with which opening a folder is refused, after which it is as before."""
    before = prints(folder)
    with pytest.raises(kind) as caught:
        Memory(config(folder, **more))
    assert caught.value.hint, "an error says what to do"
    assert prints(folder) == before
    return caught.value


# ------------------------------------------------------------------------ not a store


@pytest.mark.parametrize(
    "content",
    [b"hello\n" * 1_000, b"\x00" * 8_192, random.Random(7).randbytes(100)],
    ids=["text", "zeros", "chance"],
)
def test_a_file_that_is_no_database(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "holdfast.db").write_bytes(content)
    error = refused(tmp_path, CorruptError)
    assert "holdfast.db" in error.message
    (tmp_path / "holdfast.db").unlink()
    assert texts_in(tmp_path) == []


@pytest.mark.parametrize("journal", ["DELETE", "WAL"])
def test_somebody_elses_database(tmp_path: Path, journal: str) -> None:
    with closing(sqlite3.connect(tmp_path / "holdfast.db")) as connection:
        connection.execute(f"PRAGMA journal_mode={journal}")
        connection.execute("CREATE TABLE memories (id TEXT)")
        connection.execute("INSERT INTO memories VALUES ('theirs')")
        connection.commit()
    error = refused(tmp_path, CorruptError)
    assert "not one of Holdfast's" in error.message


def test_the_path_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    for path in ("file", "file/below"):
        with pytest.raises(StoreUnavailableError, match="Choose another path"):
            Memory(config(tmp_path / path))
    assert (tmp_path / "file").read_text() == "not a folder"


def test_the_database_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "holdfast.db").mkdir()
    with pytest.raises(StoreUnavailableError):
        Memory(config(tmp_path))


# ---------------------------------------------------------------------------- damaged


@pytest.mark.parametrize("share", [0.01, 0.3, 0.7, 0.99])
def test_a_database_cut_short(store: Path, share: float) -> None:
    file = store / "holdfast.db"
    whole = file.read_bytes()
    file.write_bytes(whole[: int(len(whole) * share)])
    refused(store, CorruptError)
    file.write_bytes(whole)
    assert texts_in(store) == sorted(TEXTS)


def answer(folder: Path, whole: bytes, damaged: bytes) -> str:
    """What a store says when its file is `damaged`: "" or its error's code. `whole` is put back."""
    file = folder / "holdfast.db"
    file.write_bytes(damaged)
    try:
        with Memory(config(folder)) as memory:
            memory.search("tea", filters=ANN, top_k=100)
            memory.get_all(filters=ANN, top_k=1_000)
    except HoldfastError as error:
        return error.code
    finally:
        for late in folder.glob("holdfast.db-*"):
            late.unlink()
        file.write_bytes(whole)
    return ""


# what is damaged may be a vector that becomes huge
@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
def test_overwritten_pages_give_a_typed_error_or_an_answer(store: Path) -> None:
    chance = random.Random(7)
    whole = (store / "holdfast.db").read_bytes()
    told = set()
    for page in range(len(whole) // 4_096):
        damaged = bytearray(whole)
        damaged[page * 4_096 : page * 4_096 + 4_096] = chance.randbytes(4_096)
        told.add(answer(store, whole, damaged))
    assert told == {"", CorruptError.code}
    assert texts_in(store) == sorted(TEXTS)


@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
def test_flipped_bits_in_the_order_of_pages_give_a_typed_error_or_an_answer(store: Path) -> None:
    """Bits inside of values are beyond notice; those that hold a page together are not."""
    chance = random.Random(7)
    whole = (store / "holdfast.db").read_bytes()
    told = set()
    for _ in range(30):
        damaged = bytearray(whole)
        for page in range(1, len(whole) // 4_096):
            damaged[page * 4_096 + chance.randrange(12)] ^= 1 << chance.randrange(8)
        told.add(answer(store, whole, damaged))
    assert CorruptError.code in told
    assert told <= {CorruptError.code, StoreError.code, SchemaTooNewError.code}
    assert texts_in(store) == sorted(TEXTS)


# -------------------------------------------------------------------------- read only


@pytest.fixture
def shared(store: Path) -> Iterator[Path]:
    """The store where nobody may reach it: below a folder that everybody may enter."""
    folder = Path(shutil.copytree(store, Path(tempfile.gettempdir()) / f"holdfast-{os.getpid()}"))
    for path in (folder, *folder.iterdir()):
        os.chown(path, NOBODY if os.getuid() == 0 else -1, -1)
    try:
        yield folder
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)


def test_a_folder_that_is_made_is_its_owners_alone(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o755)
    for folder, mode in ((tmp_path / "new" / "home", 0o700), (shared, 0o755)):
        Memory({"path": str(folder)}).close()
        assert folder.stat().st_mode & 0o777 == mode


def test_a_file_that_cannot_be_written(shared: Path) -> None:
    (shared / "holdfast.db").chmod(0o444)
    before = prints(shared)
    met = ask(shared, "--nobody")
    assert met["open"].code == StoreReadOnlyError.code, met
    assert "write access" in met["open"].message
    assert prints(shared)["holdfast.db"] == before["holdfast.db"]
    (shared / "holdfast.db").chmod(0o644)
    assert ask(shared, "--nobody")["add"].code is None
    assert len(texts_in(shared)) == len(TEXTS) + 1


def test_a_folder_that_cannot_be_written(shared: Path) -> None:
    shared.chmod(0o555)
    before = prints(shared)
    met = ask(shared, "--nobody")
    assert met["open"].code == StoreReadOnlyError.code, met
    assert prints(shared) == before
    shared.chmod(0o755)
    assert ask(shared, "--nobody")["add"].code is None


def test_an_empty_folder_that_cannot_be_written(shared: Path) -> None:
    (shared / "holdfast.db").unlink()
    shared.chmod(0o555)
    for folder in (shared, shared / "below"):
        met = ask(folder, "--nobody")
        assert met["open"].code == StoreReadOnlyError.code, met
        assert "another path" in met["open"].message or "write access" in met["open"].message


def test_a_file_that_cannot_be_read(shared: Path) -> None:
    (shared / "holdfast.db").chmod(0)
    met = ask(shared, "--nobody")
    assert met["open"].code in (StoreReadOnlyError.code, StoreUnavailableError.code), met


# -------------------------------------------------------------------------- full disk


def test_files_that_cannot_grow(store: Path) -> None:
    size = (store / "holdfast.db").stat().st_size
    met = ask(store, "--file-bytes-max", str(size + 500_000))
    assert met["fill"].code == StoreUnavailableError.code, met
    assert "space" in met["fill"].message
    assert met["search when full"].code is None
    assert met["add"].code is None
    assert set(TEXTS) < set(texts_in(store))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of two megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip("this user may not mount a small disk; see test_files_that_cannot_grow")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def _write_for_ever(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 65_536)


def _add_for_ever(memory: Memory) -> None:
    for number in range(1_000):
        memory.add(f"{number} " + "y" * 10_000, user_id="bob")


def test_a_full_disk(small_disk: Path) -> None:
    with Memory(config(small_disk / "store")) as memory:
        memory.add("ann drinks tea", user_id="ann")
        filler = small_disk / "filler"
        with pytest.raises(OSError, match="No space"):
            _write_for_ever(filler)
        with pytest.raises(StoreUnavailableError, match="full") as caught:
            _add_for_ever(memory)
        assert caught.value.retryable
        assert memory.search("tea", filters=ANN)["results"]
        filler.unlink()
        memory.add("ann drinks coffee", user_id="ann")
    assert texts_in(small_disk / "store") == ["ann drinks coffee", "ann drinks tea"]


# ------------------------------------------------------------------------------ locked


def test_a_database_locked_by_somebody_else(store: Path) -> None:
    with closing(sqlite3.connect(store / "holdfast.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailableError, match="another process") as caught:
            Memory(config(store, busy_timeout_s=0.2))
        assert caught.value.retryable
        other.execute("ROLLBACK")
    with Memory(config(store, busy_timeout_s=0.2)) as memory:
        with closing(sqlite3.connect(store / "holdfast.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreUnavailableError, match="another process"):
                memory.add("while locked", user_id="ann")
            assert memory.search("tea", filters=ANN)["results"], "reading does not wait"
            other.execute("ROLLBACK")
        memory.add("after the lock", user_id="ann")
    assert sorted({*texts_in(store)} - {*TEXTS}) == ["after the lock"]


# ------------------------------------------------------------------------ two embedders


OTHER_EMBEDDER = {
    "provider": "openai",
    "config": {"model": "text-embedding-3-small", "api_key": "sk-none"},
}


def test_another_embedder_on_the_same_store(store: Path) -> None:
    error = refused(store, SpaceMismatchError, embedder=OTHER_EMBEDDER)
    assert "l2_supercat" in error.message
    assert "text-embedding-3-small" in error.message
    assert texts_in(store) == sorted(TEXTS)


async def test_a_store_without_vectors_takes_the_embedder_that_comes_last(tmp_path: Path) -> None:
    """And who opened it with another one before is refused from then on."""
    path = tmp_path / "holdfast.db"
    one, two = HashEmbedder("one"), HashEmbedder("two", 32)
    async with opened(path, embedder=one) as early, opened(path, embedder=two) as late:
        with pytest.raises(SpaceMismatchError, match="Another process"):
            await add(early, "tea", "ann")
        assert len(await add(late, "tea with milk", "ann")) == 1
        assert len(await add(late, "coffee", "ann")) == 1
        assert len(await find(late, "tea", "ann")) == 2
    with pytest.raises(SpaceMismatchError):
        async with opened(path, embedder=one):
            pass
    async with opened(path, embedder=two) as late:
        await delete_all(late, of_user("ann"))
    async with opened(path, embedder=one) as early:
        assert len(await add(early, "coffee", "ann")) == 1


def test_another_content_key_on_the_same_store(tmp_path: Path) -> None:
    key_one, key_two = ({"content_key": key * 16} for key in ("1", "2"))
    with Memory(config(tmp_path, **key_one)) as early, Memory(config(tmp_path, **key_two)) as late:
        with pytest.raises(ConfigError, match="Another process"):
            early.add("tea", user_id="ann")
        late.add("tea", user_id="ann")
    refused(tmp_path, ConfigError, **key_one)


# ------------------------------------------------------------------------------ closed


def test_closing_twice_and_using_what_is_closed(store: Path) -> None:
    memory = Memory(config(store))
    memory.close()
    memory.close()
    for call in (
        lambda: memory.add("late", user_id="ann"),
        lambda: memory.search("tea", filters=ANN),
        lambda: memory.get("00000000-0000-7000-8000-000000000000"),
        lambda: memory.delete_all(user_id="ann"),
    ):
        with pytest.raises(ClosedError):
            call()
    assert texts_in(store) == sorted(TEXTS)


def test_a_value_that_cannot_be_read(store: Path) -> None:
    with closing(sqlite3.connect(store / "holdfast.db")) as connection:
        connection.execute("UPDATE memories SET metadata = '{\"cut' WHERE no = 3")
        connection.commit()
    with Memory(config(store)) as memory, pytest.raises(CorruptError, match="cannot be read"):
        memory.get_all(filters=ANN, top_k=1_000)


async def test_nothing_keeps_the_files_of_a_closed_store_open(tmp_path: Path) -> None:
    """Whenever the garbage collector comes by: the error of one write, which lies in a circle with
    the calls it came through, holds what others of its group were told."""
    clock = ManualClock()
    records = SqliteRecords(tmp_path / "holdfast.db", clock, seeded_ids(clock, seed=1))
    await records.open(SPACE)

    def refused(_connection: Connection) -> None:
        raise RuntimeError("planted")

    def a_cursor(connection: Connection) -> object:
        return connection.execute("SELECT 1 UNION ALL SELECT 2")

    gc.collect()
    gc.disable()
    try:
        ended = await asyncio.gather(
            *(records.write(RED, work) for work in (a_cursor, refused, a_cursor)),
            return_exceptions=True,
        )
        assert [type(each) for each in ended] == [type(None), RuntimeError, type(None)]
        await records.close()
        del ended
        assert {name for name in open_databases() if str(tmp_path) in name} == set()
    finally:
        gc.enable()
