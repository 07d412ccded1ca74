"""Tables divided by project (`deploy/postgres-partitions.sql`) keep what whole ones keep.

In every run the state machine compares them with the reference (`test_machine_postgres`), and what
is here; with HOLDFAST_TEST_THOROUGH the contracts run as well, sentence by sentence.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from holdfast.admin import AsyncAdmin
from holdfast.clock import ManualClock, seeded_ids
from holdfast.testing.contracts.jobs import JobsContract
from holdfast.testing.contracts.records import RecordsContract
from holdfast.testing.contracts.values import Make
from support import postgres
from support.thorough import THOROUGH
from tests.fault import test_postgres_fences as fences

USERS = [{"user_id": name} for name in ("ana", "ben")]
PROJECTS = ("default", "second", "third")
SHAPE = """
SELECT c.relname, c.relrowsecurity AND c.relforcerowsecurity, (
  SELECT string_agg(regexp_replace(pg_get_indexdef(i.indexrelid), ' ON (ONLY )?', ' ON '), E'\\n'
                    ORDER BY i.indexrelid::regclass::text)
  FROM pg_index i WHERE i.indrelid = c.oid)
FROM pg_class c WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
  AND c.relnamespace = 'public'::regnamespace ORDER BY 1
"""


async def _told(admin: AsyncAdmin) -> list[Any]:
    """What there is of everybody, and what is found."""
    told: list[Any] = []
    for project in PROJECTS:
        memory = admin.memory(project)
        for whose in USERS:
            listed = await memory.get_all(filters=whose)
            told.append(listed)
            told.append((await memory.search("where does she live", filters=whose))["results"])
            told += [await memory.history(each["id"]) for each in listed["results"]]
    return told


async def _live(admin: AsyncAdmin, place: str) -> None:
    for project in PROJECTS:
        memory = admin.memory(project)
        for whose in USERS:
            added = await memory.add(f"{project}: she lives in {place}", infer=False, **whose)
            await memory.update(added["results"][0]["id"], f"{project}: {place} is where she lives")
            gone = await memory.add(f"{project}: rain in {place}", infer=False, **whose)
            await memory.delete(gone["results"][0]["id"])


async def test_a_store_goes_on_when_its_tables_are_divided() -> None:
    with postgres.database(empty=True) as url:
        name = str(psycopg.conninfo.conninfo_to_dict(url)["dbname"])
        given = {"records": {"provider": "postgres", "config": {"url": url}}}
        async with AsyncAdmin(given) as admin:
            await _live(admin, "Porto")
            before = await _told(admin)
        server = postgres.shared()
        whole = server.ask(SHAPE, name)
        for _ in range(2):  # a second time there is nothing to do
            server.ask(postgres.DIVIDING.read_text("utf-8"), name, postgres.ROLE)
            assert server.ask(SHAPE, name) == whole
        [[divided]] = server.ask("SELECT count(*) FROM pg_partitioned_table", name)
        assert divided == 10
        async with AsyncAdmin(given) as admin:
            assert await _told(admin) == before
            await _live(admin, "Faro")
            stats = await admin.memory().stats()
            assert (stats["memories"], stats["turns"]) == (4, 4)


async def test_backups_are_made_of_divided_tables_and_restored_into_them(tmp_path: Path) -> None:
    with postgres.partitioned() as one, postgres.partitioned() as other:
        places = {"provider": "folder", "config": {"path": str(tmp_path / "backups")}}
        stores = [
            {"records": {"provider": "postgres", "config": {"url": url}}, "backup": places}
            for url in (one, other)
        ]
        async with AsyncAdmin(stores[0]) as admin:
            await _live(admin, "Porto")
            before = await _told(admin)
            made = await admin.backups.create()
            assert (await admin.backups.verify(made.id)).memories == 6
        await AsyncAdmin(stores[1]).backups.restore(made.id)
        async with AsyncAdmin(stores[1]) as admin:
            assert await _told(admin) == before
            await _live(admin, "Faro")


def test_no_row_of_another_project_is_seen_or_written_in_any_part() -> None:
    with postgres.partitioned() as url:
        above = url.replace(f"//{postgres.ROLE}@", "//postgres@")
        with closing(psycopg.connect(above, autocommit=True)) as admin:
            tables = fences.standing(admin)
            assert {name for name, fenced in tables.items() if not fenced} == set(fences.OPEN)
            filler = fences.Filler(admin)
            large = sorted(name for name in tables if f"{name}_part_0" in tables)
            for table in large:
                for project in ("red", "blue"):
                    filler.put(admin, table, project)
            parts = [name for name in tables if "_part_" in name]
            with closing(psycopg.connect(url)) as raw:
                raw.execute("SELECT set_config('holdfast.project', 'red', true)")
                assert [leak for table in large for leak in fences.leaks(raw, filler, table)] == []
                for part in parts:
                    seen = raw.execute(f"SELECT project FROM {part}".encode()).fetchall()
                    assert set(seen) <= {("red",)}, part


class PartitionedFixture:
    @pytest.fixture
    def make(self) -> Iterator[Make]:
        ids = seeded_ids(ManualClock(), seed=1)
        with postgres.partitioned() as url:
            yield lambda: postgres.records(url, ids=ids)


if THOROUGH:

    class TestPartitionedRecords(PartitionedFixture, RecordsContract):
        pass

    class TestPartitionedJobs(PartitionedFixture, JobsContract):
        pass
