"""Vectors at rest: none is in the clear, and none that was changed or moved is searched."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from holdfast import AsyncMemory
from holdfast.admin import AsyncAdmin
from holdfast.backends.sql.unlocking import TEXTS, WHOLE
from holdfast.config import Part
from holdfast.core.seal import NONCE_BYTES, NUMBER_BYTES, TAG_BYTES
from holdfast.errors import ConfigError, CorruptError
from support.embedded import HashEmbedder
from tests.engine.test_sealed import ALICE, config, database, keys

__all__ = ["keys"]

SAID = ("I like tea.", "I like rum.", "We went to Rome by train.")
OLD, NEW = {"provider": "old"}, {"provider": "new"}
MORE = 1 + NONCE_BYTES + TAG_BYTES
"""Bytes by which a sealed vector is longer."""


async def said(settings: dict[str, Any]) -> list[Any]:
    """Say it all; what is found of it."""
    async with AsyncMemory(settings) as memory:
        for text in SAID:
            await memory.add(text, infer=False, timestamp=1_700_000_000, **ALICE)
        return await found(memory)


async def found(memory: AsyncMemory) -> list[Any]:
    answers = [await memory.search(query, filters=ALICE) for query in ("drinks", "a journey")]
    return [(hit["memory"], hit["score"]) for answer in answers for hit in answer["results"]]


def vectors(tmp_path: Path) -> list[bytes]:
    with database(tmp_path) as connection:
        rows = connection.execute("SELECT vector FROM embeddings ORDER BY memory_no, space_no")
        return [vector for (vector,) in rows]


def on_disk(tmp_path: Path, vector: bytes) -> bool:
    """Whether a part of it stands in any file: SQLite may divide what is long."""
    part = vector[16:48]
    return any(part in file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())


async def test_no_vector_is_on_the_disk_and_results_are_equal(tmp_path: Path, keys: Path) -> None:
    plain = await said(config(tmp_path / "plain", None))
    clear = vectors(tmp_path / "plain")
    assert all(on_disk(tmp_path / "plain", vector) for vector in clear)
    (tmp_path / "sealed").mkdir()
    assert await said(config(tmp_path / "sealed", keys)) == plain
    stored = vectors(tmp_path / "sealed")
    assert [len(one) - MORE for one in stored] == [len(one) for one in clear]
    assert len({len(one) % NUMBER_BYTES for one in stored}) == 1
    assert not any(on_disk(tmp_path / "sealed", vector) for vector in clear)
    async with AsyncMemory(config(tmp_path / "sealed", keys)) as memory:  # another process
        assert await found(memory) == plain


FIRST = "(SELECT min(memory_no) FROM embeddings)"
ANOTHER = (
    "(SELECT vector FROM embeddings WHERE memory_no = (SELECT max(memory_no) FROM embeddings))"
)


def cut(connection: sqlite3.Connection, change: Callable[[bytes], bytes]) -> None:
    [vector] = connection.execute(
        f"SELECT vector FROM embeddings WHERE memory_no = {FIRST}"
    ).fetchone()
    sql = f"UPDATE embeddings SET vector = ? WHERE memory_no = {FIRST}"
    assert connection.execute(sql, (change(vector),)).rowcount == 1


CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "one byte": lambda raw: raw[:40] + bytes([raw[40] ^ 1]) + raw[41:],
    "its nonce": lambda raw: raw[:1] + bytes([raw[1] ^ 1]) + raw[2:],
    "its key": lambda raw: b"\x02" + raw[1:],
    "no key": lambda raw: b"\x00" + raw[1:],
    "cut to the length of another": lambda raw: raw[:-4],
    "cut to numbers": lambda raw: raw[:-1],
    "cut to a plain one": lambda raw: raw[:-MORE],
    "longer": lambda raw: raw + bytes(4),
    "hardly there": lambda _: b"\x01",
}


@pytest.mark.parametrize("how", [*CHANGES, "swapped"])
async def test_what_was_tampered_with_is_refused(how: str, tmp_path: Path, keys: Path) -> None:
    await said(config(tmp_path, keys))
    with database(tmp_path) as connection:
        if how == "swapped":  # of the same subject, sealed with the same key
            connection.execute(
                f"UPDATE embeddings SET vector = {ANOTHER} WHERE memory_no = {FIRST}"
            )
        else:
            cut(connection, CHANGES[how])
    async with AsyncMemory(config(tmp_path, keys)) as memory:
        with pytest.raises(CorruptError):
            await found(memory)


@pytest.mark.parametrize("how", ["cut to numbers", "one byte"])
async def test_in_a_store_that_is_not_whole_it_is_no_other_vector(
    how: str, tmp_path: Path, keys: Path
) -> None:
    async with AsyncMemory(config(tmp_path, None)) as memory:
        await memory.add("Of before.", user_id="bob", infer=False)
    await said(config(tmp_path, keys))
    with database(tmp_path) as connection:
        connection.execute("DELETE FROM embeddings WHERE length(vector) % 4 = 0")
        cut(connection, CHANGES[how])
    async with AsyncMemory(config(tmp_path, keys)) as memory:
        with pytest.raises(CorruptError):
            await found(memory)


async def test_plain_vectors_are_counted_and_sealed(tmp_path: Path, keys: Path) -> None:
    before = await said(config(tmp_path, None))
    clear = vectors(tmp_path)
    async with AsyncAdmin(config(tmp_path, keys)) as admin:
        status = await admin.sealing.status()
        assert (status.whole, status.plain_vectors) == (False, len(SAID))
        assert await found(admin.memory()) == before
        assert (await admin.sealing.run()).vectors == len(SAID)
        status = await admin.sealing.status()
        assert (status.whole, status.plain_vectors) == (True, 0)
        once = vectors(tmp_path)
        assert (await admin.sealing.rotate_keys()).vectors == len(SAID)
        assert {old[0] + 1 for old in once} == {new[0] for new in vectors(tmp_path)} == {2}
    assert not any(on_disk(tmp_path, vector) for vector in clear)
    async with AsyncMemory(config(tmp_path, keys)) as memory:
        assert await found(memory) == before


async def test_a_store_that_sealed_its_texts_only_is_completed(tmp_path: Path, keys: Path) -> None:
    """As stores were before vectors were sealed."""
    plain = await said(config(tmp_path / "plain", None))
    (tmp_path / "sealed").mkdir()
    tmp_path /= "sealed"
    assert await said(config(tmp_path, keys)) == plain
    with database(tmp_path) as connection:
        for number, vector in enumerate(vectors(tmp_path.parent / "plain"), 1):
            connection.execute(
                "UPDATE embeddings SET vector = ? WHERE memory_no = ?", (vector, number)
            )
        sql = "UPDATE counters SET value = ? WHERE name = 'sealed' AND value = ?"
        assert connection.execute(sql, (TEXTS, WHOLE)).rowcount == 1
    async with AsyncAdmin(config(tmp_path, keys)) as admin:
        assert await found(admin.memory()) == plain
        status = await admin.sealing.status()
        assert (status.whole, status.plain, status.plain_vectors) == (False, 0, len(SAID))
        await admin.sealing.run()
        assert (await admin.sealing.status()).whole
    with database(tmp_path) as connection:
        connection.execute("UPDATE embeddings SET vector = substr(vector, 30)")
    async with AsyncMemory(config(tmp_path, keys)) as memory:
        with pytest.raises(CorruptError, match="is not sealed"):
            await found(memory)


async def test_one_that_comes_in_the_clear_meanwhile_is_sealed(tmp_path: Path, keys: Path) -> None:
    """Written by another process behind the place where `run` is."""
    await said(config(tmp_path, None))
    clear = vectors(tmp_path)

    def told(done: int, total: int) -> None:
        if done == total and not late:
            late.append(True)
            with database(tmp_path) as connection:
                cut(connection, lambda _: clear[0])

    late: list[bool] = []
    async with AsyncAdmin(config(tmp_path, keys)) as admin:
        assert (await admin.sealing.run(told)).vectors == len(SAID) + 1
        assert (await admin.sealing.status()).plain_vectors == 0
    assert late


def made(part: Part) -> HashEmbedder:
    return HashEmbedder(part.provider, 16 if part.provider == "old" else 24)


async def changed(settings: dict[str, Any], rotate: bool) -> list[Any]:
    """What is found while an embedder is changed, there, back, and there for good."""
    old, both = {"embedder": OLD}, {"embedder": NEW, "embedder_before": OLD}
    answers = [await said(settings | old)]
    async with AsyncAdmin(settings | both) as admin:
        memory = admin.memory()
        await admin.embedder.change()
        added = await memory.add("We flew to Oslo.", infer=False, timestamp=1_700_000_000, **ALICE)
        answers.append(await found(memory))
        await admin.embedder.cutover()
        answers.append(await found(memory))
        await memory.update(added["results"][0]["id"], "We flew to Bergen.")
        if rotate:
            await admin.sealing.rotate_keys()
        await admin.embedder.rollback()
        answers.append(await found(memory))
        await admin.embedder.change()
        await admin.embedder.cutover()
        await admin.embedder.finish()
        answers.append(await found(memory))
        if rotate:
            status = await admin.sealing.status()
            assert (status.whole, status.plain_vectors) == (True, 0)
    return answers


async def test_the_embedder_of_a_sealed_store_is_changed(tmp_path: Path, keys: Path) -> None:
    with patch("holdfast.assemble.make_embedder", made):
        plain = await changed(config(tmp_path / "plain", None), rotate=False)
        clear = vectors(tmp_path / "plain")
        sealed = await changed(config(tmp_path / "sealed", keys), rotate=True)
    assert sealed == plain
    assert plain[0] != plain[2], "the embedders are told apart"
    assert len(vectors(tmp_path / "sealed")) == len(clear) == len(SAID) + 1
    assert not any(on_disk(tmp_path / "sealed", vector) for vector in clear)


async def test_a_process_without_the_keyring_feeds_no_sealed_vector(
    tmp_path: Path, keys: Path
) -> None:
    """Points have no text that would tell it that somebody began to seal."""
    await said(config(tmp_path, None))
    async with AsyncMemory(config(tmp_path, None)) as earlier:
        await found(earlier)
        async with AsyncAdmin(config(tmp_path, keys)) as admin:
            await admin.sealing.run()
        assert earlier._assembly is not None
        records: Any = earlier._assembly.records
        with pytest.raises(ConfigError, match="began to seal"):
            await records.indexing.point_page("default", None, 10)
