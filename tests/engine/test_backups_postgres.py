"""Backups of Postgres, and the way from SQLite to Postgres and back, with everything equal."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from holdfast.admin import AsyncAdmin
from holdfast.backends.postgres.archiving import PostgresArchiving
from holdfast.backends.postgres.settings import PostgresSettings
from holdfast.clock import ManualClock
from holdfast.core.archive import Cutter
from holdfast.engine import restoring
from holdfast.errors import ConflictError, StoreError
from holdfast.ports.archiving import Load
from support import postgres
from support.drawer import told
from tests.engine.test_backups import config, contents, fill, hold, small

__all__ = ["hold", "small"]


@pytest.fixture
def url() -> Iterator[str]:
    with postgres.database() as made:
        yield made


def there(url: str, tmp_path: Path, **more: Any) -> Any:
    return config(tmp_path, records={"provider": "postgres", "config": {"url": url}}, **more)


@pytest.mark.parametrize("sealed", [False, True])
async def test_from_sqlite_to_postgres_and_back(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, sealed: bool
) -> None:
    monkeypatch.setattr(restoring, "_LOAD_BYTES", 100_000)
    monkeypatch.setattr(Cutter, "_ends", lambda self, _row: len(self._kept) == 30)
    async with AsyncAdmin(config(tmp_path, sealed=sealed)) as admin:
        await fill(admin)
        await admin.memory().add(
            [{"role": "user", "content": f"I saw {no} birds."} for no in range(200)],
            user_id="bob",
            infer=False,
        )
        first = await admin.backups.create()
        before = await contents(admin)
    # rows of what was read are written a moment later, between two backups perhaps
    moved = AsyncAdmin(there(url, tmp_path, sealed=sealed, audit="off"))
    await moved.backups.restore(first.id)
    async with moved as admin:
        assert await contents(admin) == before
        await admin.memory().add("I like milk.", user_id="alice", infer=False)
        later = await told(admin.memory(), "alice", "bob")
        assert later != before[: len(later)]
        second = await admin.backups.create()
        assert second.kind == "full"
        third = await admin.backups.create()
        assert third.kind == "incremental"
        assert (await admin.backups.show(third.id)).fresh == 0
        assert (await admin.backups.verify(third.id)).memories == 210
    back = AsyncAdmin(config(tmp_path, "back", sealed=sealed))
    await back.backups.restore(third.id)
    async with back as admin:
        assert await told(admin.memory(), "alice", "bob") == later


async def test_a_snapshot_does_not_move(url: str, tmp_path: Path) -> None:
    async with AsyncAdmin(there(url, tmp_path)) as admin:
        acknowledged: list[str] = []

        async def write(writer: int) -> None:
            for no in range(20):
                answer = await admin.memory().add(
                    [{"role": "user", "content": f"{writer} saw {no} {what}"} for what in "ab"],
                    user_id=f"w{writer}",
                    infer=False,
                )
                acknowledged.extend(one["id"] for one in answer["results"])

        writers = [asyncio.create_task(write(no)) for no in range(3)]
        await asyncio.sleep(0.3)
        before = set(acknowledged)
        made = await admin.backups.create()
        after = set(acknowledged)
        await asyncio.gather(*writers)
    other = AsyncAdmin(config(tmp_path, "other"))
    await other.backups.restore(made.id)
    async with other as admin:
        found = set()
        for writer in range(3):
            page = await admin.memory().get_all(filters={"user_id": f"w{writer}"}, top_k=1_000)
            found |= {one["id"] for one in page["results"]}
    assert before <= found
    assert len(found - after) <= 6
    assert len(found) % 2 == 0


async def test_half_a_restore_is_refused_and_goes_on(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with AsyncAdmin(config(tmp_path)) as admin:
        await fill(admin)
        await admin.backups.create()
        before = await contents(admin)
    load = PostgresArchiving.load

    async def failing(self: PostgresArchiving, loads: Any, done: int) -> None:
        if done == 4:
            raise StoreError("planted")
        await load(self, loads, done)

    settings = there(url, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(PostgresArchiving, "load", failing)
        with pytest.raises(StoreError, match="planted"):
            await AsyncAdmin(settings).backups.restore()
    with pytest.raises(StoreError, match="cut off"):
        async with AsyncAdmin(settings):
            pass
    assert (await AsyncAdmin(settings).backups.restore()).resumed
    async with AsyncAdmin(settings) as admin:
        assert await contents(admin) == before
        with pytest.raises(ConflictError, match="is open"):
            await admin.backups.restore()
    with pytest.raises(ConflictError, match="not empty"):
        await AsyncAdmin(settings).backups.restore()


async def test_numbers_go_on_behind_those_that_were_given(url: str, tmp_path: Path) -> None:
    """Of what was deleted too: a feed of changes tells no number twice."""
    async with AsyncAdmin(config(tmp_path)) as admin:
        for no in range(5):
            last = await admin.memory().add(f"I saw {no}.", user_id="al", infer=False)
        await admin.memory().delete(last["results"][0]["id"])
        await admin.backups.create()
    await AsyncAdmin(there(url, tmp_path)).backups.restore()
    async with AsyncAdmin(there(url, tmp_path)) as admin:
        await admin.memory().add("I saw more.", user_id="al", infer=False)
    with psycopg.connect(url) as connection:
        connection.execute("SET holdfast.reach = 'all'")
        [(memory, change)] = connection.execute(
            "SELECT (SELECT max(no) FROM memories), (SELECT max(no) FROM history)"
        ).fetchall()
    assert memory > 5
    assert change > 6


def test_loads_are_small() -> None:
    assert restoring._LOAD_BYTES == 4_000, "or nothing here is cut off in the middle"


async def test_rows_of_a_table_go_in_together(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One COPY a table, however many chunks, and nothing is compiled for it."""
    from holdfast.backends.postgres import archiving

    into = PostgresArchiving(PostgresSettings(url=url), ManualClock())
    calls, load = [], archiving._load

    async def counted(raw: Any, session: Any, loads: Any, types: Any) -> None:
        cursor = await raw.execute("SELECT current_setting('jit')")
        calls.append((loads[0].table, len(loads), (await cursor.fetchone())[0]))
        await load(raw, session, loads, types)

    monkeypatch.setattr(archiving, "_load", counted)
    columns = ("id", "project", "at")
    uses = [Load(table="key_uses", columns=columns, rows=[[f"{no}", "p", 1.0]]) for no in range(20)]
    budgets = Load(table="budgets", columns=("project",), rows=[])
    try:
        await into.begin(1)
        await into.load([*uses, budgets], 1)
        anew = Load(table="key_uses", columns=columns, rows=[], anew=True)
        again = Load(table="key_uses", columns=columns, rows=[["x", "p", 2.0]])
        await into.load([anew, again], 2)
        await into.finish()
    finally:
        await into.close()
    assert calls == [("key_uses", 20, "off"), ("budgets", 1, "off"), ("key_uses", 2, "off")]
    with psycopg.connect(url) as connection:
        connection.execute("SET holdfast.reach = 'all'")
        assert connection.execute("SELECT id, at FROM key_uses").fetchall() == [("x", 2.0)]
        known = "SELECT reltuples FROM pg_class WHERE oid = 'key_uses'::regclass"
        assert connection.execute(known).fetchall() == [(1.0,)], "plans go by what was loaded"
