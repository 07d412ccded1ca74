"""Row-level security over every table there is, from the database's own catalog."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any, Final
from unittest.mock import patch

import psycopg
import pytest

from holdfast.backends.postgres.ownership import OWNED
from holdfast.backends.sql import changes
from holdfast.errors import HoldfastError
from holdfast.testing.contracts.values import BLUE, RED, SPACE, commit, put, turns, vector
from support import postgres

OPEN: Final[Mapping[str, str]] = {
    "accounts": "people of the deployment, who may be members of several projects",
    "counters": "numbers, of the store and of each project; no texts",
    "holdfast_version": "the revision of the schema",
    "sessions": "of accounts",
    "shard_maps": "where users' points are in an index of all projects",
    "spaces": "the embedding spaces that all projects share",
}
"""Tables without a policy, and why."""

BY_ID: Final = {
    *(
        "api_keys",
        "deliveries",
        "erasures",
        "exports",
        "held",
        "key_uses",
        "signing_keys",
        "webhooks",
    ),
    "feedback",
}
"""Tables of administration whose rows an id tells over all projects: whoever distributes the
others keeps these whole, on every node."""

TABLES: Final = """
SELECT c.relname, c.relrowsecurity AND c.relforcerowsecurity
       AND EXISTS (SELECT 1 FROM pg_policy p WHERE p.polrelid = c.oid)
FROM pg_class c WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace
"""
COLUMNS: Final = """
SELECT attname, format_type(atttypid, NULL) FROM pg_attribute
WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped
"""
KEYS: Final = """
SELECT i.indrelid::regclass::text, bool_or(a.attname = 'project')
FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey)
WHERE i.indisunique AND i.indrelid IN (
  SELECT attrelid FROM pg_attribute WHERE attname = 'project' AND NOT attisdropped)
GROUP BY i.indrelid, i.indexrelid
"""
_MADE: Final[Mapping[str, Any]] = {
    "bigint": int,
    "text": str,
    "double precision": float,
    "bytea": lambda number: str(number).encode(),
}


@pytest.fixture
def url() -> Iterator[str]:
    with postgres.database() as given:
        yield given


def standing(raw: psycopg.Connection[Any]) -> dict[str, bool]:
    """Every table, and whether its rows are fenced."""
    return dict(raw.execute(TABLES.encode()).fetchall())


class Filler:
    """Puts a row into any table; no two are alike."""

    def __init__(self, raw: psycopg.Connection[Any]) -> None:
        self._raw = raw
        self._numbers = itertools.count(1)

    def put(self, raw: psycopg.Connection[Any], table: str, project: str) -> None:
        known = self._raw.execute(COLUMNS.encode(), (table,)).fetchall()
        row = {name: _MADE[kind](next(self._numbers)) for name, kind in known}
        row[owning(table)] = project
        names, marks = ", ".join(row), ", ".join(["%s"] * len(row))
        sql = f"INSERT INTO {table} ({names}) VALUES ({marks})"
        raw.execute(sql.encode(), tuple(row.values()))


def owning(table: str) -> str:
    """The column that says whose a row is."""
    return "id" if table == "projects" else "project"


def leaks(raw: psycopg.Connection[Any], filler: Filler, table: str) -> list[str]:
    """What a transaction for red can do with the row of blue."""
    found = []
    whose = owning(table)
    seen = {name for (name,) in raw.execute(f"SELECT {whose} FROM {table}".encode())}
    if seen != {"red"}:
        found.append(f"{table} shows {sorted(seen)}")
    if raw.execute(f"UPDATE {table} SET {whose} = {whose}".encode()).rowcount != 1:
        found.append(f"{table} is changed")
    if raw.execute(f"DELETE FROM {table}".encode()).rowcount != 1:
        found.append(f"{table} is deleted from")
    for what in ("put into", "given away"):
        try:
            with raw.transaction():
                if what == "put into":
                    filler.put(raw, table, "blue")
                else:
                    filler.put(raw, table, "red")
                    raw.execute(f"UPDATE {table} SET {whose} = 'blue'".encode())
        except psycopg.errors.InsufficientPrivilege:
            continue
        found.append(f"{table}: {what}")
    return found


def test_every_table_is_fenced_or_said_to_be_open(url: str) -> None:
    with closing(psycopg.connect(url)) as raw:
        tables = standing(raw)
        assert {name for name, fenced in tables.items() if not fenced} == set(OPEN)
        raw.execute("ALTER TABLE jobs NO FORCE ROW LEVEL SECURITY")
        raw.execute("DROP POLICY usage_of_project ON usage")
        raw.execute("CREATE TABLE later (no bigint)")
        open_now = {name for name, fenced in standing(raw).items() if not fenced}
        assert open_now == {*OPEN, "jobs", "later", "usage"}


def test_no_row_of_another_project_is_seen_or_written_in_any_table(url: str) -> None:
    above = url.replace(f"//{postgres.ROLE}@", "//postgres@")
    with closing(psycopg.connect(above, autocommit=True)) as admin:
        filler = Filler(admin)
        fenced = sorted(name for name, is_fenced in standing(admin).items() if is_fenced)
        assert len(fenced) > 20
        assert {*OWNED, "memories", "projects"} <= set(fenced)
        for table in fenced:
            for project in ("red", "blue"):
                filler.put(admin, table, project)
        admin.execute("ALTER TABLE usage DISABLE ROW LEVEL SECURITY")  # a fault that must be seen
        with closing(psycopg.connect(url)) as raw:
            raw.execute("SELECT set_config('holdfast.project', 'red', true)")
            found = [leak for table in fenced for leak in leaks(raw, filler, table)]
        assert {leak.partition(" ")[0].strip(":") for leak in found} == {"usage"}
        assert len(found) == 5
        admin.execute("ALTER TABLE usage ENABLE ROW LEVEL SECURITY")


def test_the_project_is_in_every_key_of_what_is_distributed(url: str) -> None:
    with closing(psycopg.connect(url)) as raw:
        without = {table for table, has_project in raw.execute(KEYS.encode()) if not has_project}
    assert without <= BY_ID
    assert not BY_ID & {*OWNED, "memories", "messages", "history", "jobs", "audit"}


async def test_rows_have_the_project_they_were_written_for(url: str) -> None:
    store = postgres.records(url)
    await store.open(SPACE)
    for project in (RED, BLUE):
        whole = put("a", vec=vector(1.0), turns=["t"])
        await commit(store, turns("t"), whole, project=project)
    for table in OWNED:
        count = lambda c, t=table: c.execute(  # noqa: E731
            f"SELECT project, count(*) FROM {t} GROUP BY project ORDER BY project"
        ).fetchall()
        assert [name for name, _ in await store.read(None, count)] == ["blue", "red"]
        assert [name for name, _ in await store.read(RED, count)] == ["red"]
    stray = "INSERT INTO outbox (entity_no, generation, memory_no, memory_id) VALUES (1, 9, 1, 'a')"
    with pytest.raises(HoldfastError):  # whose would it be?
        await store.write(None, lambda c: c.execute(stray).rowcount)
    await store.close()


async def test_what_is_pruned_is_counted_over_all_projects(url: str) -> None:
    store = postgres.records(url)
    await store.open(SPACE)
    for n in range(4):
        await commit(store, put(f"a{n}", f"text {n}"))
    with patch.multiple(changes, OUTBOX_ROWS_KEPT=2, _PRUNE_EVERY=1):
        await commit(store, put("b"), project=BLUE)
    kept = "SELECT project FROM outbox ORDER BY generation"
    rows = await store.read(None, lambda c: c.execute(kept).fetchall())
    assert rows == [("red",), ("blue",)]
    assert await store.read(BLUE, lambda c: c.execute(kept).fetchall()) == [("blue",)]
    await store.close()
