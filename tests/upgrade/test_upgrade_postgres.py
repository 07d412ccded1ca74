"""The migrations lead to the tables that new databases in Postgres are made with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import psycopg
import pytest

from holdfast.backends.postgres import migrate
from holdfast.backends.postgres.migrate import REVISIONS, creation, upgrade
from holdfast.backends.sqlite.migrate import REVISIONS as SQLITE_REVISIONS
from holdfast.errors import HoldfastError
from holdfast.testing.contracts.values import ALICE, RED, SPACE, commit, put, replica
from support import postgres

COLUMNS = """
SELECT table_name, column_name, data_type, is_nullable, collation_name, column_default
FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> 'holdfast_version'
"""
INDEXES = "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'"
POLICIES = "SELECT tablename, policyname, cmd, qual FROM pg_policies"
FORCED = "SELECT relname FROM pg_class WHERE relforcerowsecurity AND relrowsecurity"
SEQUENCES = "SELECT sequencename, data_type FROM pg_sequences"


@pytest.fixture
def url() -> Iterator[str]:
    with postgres.database(empty=True) as given:
        yield given


def shape(url: str) -> dict[str, list[Any]]:
    """Everything that tells two databases apart, but for the order of columns."""
    with psycopg.connect(url) as raw:
        found = {
            sql: sorted(raw.execute(sql.encode()).fetchall(), key=repr)
            for sql in (COLUMNS, INDEXES, POLICIES, FORCED, SEQUENCES)
        }
    found[INDEXES] = [row for row in found[INDEXES] if "holdfast_version" not in row[0]]
    assert all(found.values())
    return found


def test_migrations_and_new_databases_agree(url: str) -> None:
    upgrade(url, REVISIONS[-1])
    with postgres.database(empty=True) as other:
        with psycopg.connect(other) as raw:
            raw.execute(creation())
        assert shape(url) == shape(other)
        with psycopg.connect(other) as raw:
            raw.execute("ALTER TABLE jobs DROP COLUMN fingerprint")
            raw.execute("ALTER TABLE usage DISABLE ROW LEVEL SECURITY")
        assert shape(url) != shape(other)


def test_revisions_are_sqlites() -> None:
    assert REVISIONS == SQLITE_REVISIONS


async def test_an_older_database_is_upgraded_as_it_is_opened(url: str) -> None:
    upgrade(url, "0002")
    with psycopg.connect(url) as raw:
        raw.execute("SELECT set_config('holdfast.reach', 'all', true)")
        raw.execute(
            "INSERT INTO history (id, project, memory_id, event, created_at) "
            "VALUES ('h', 'red', 'gone', 'ADD', 1.0)"
        )
    store = postgres.records(url)
    await store.open(SPACE)
    [event] = await store.history(RED, "gone")
    assert (event.listed, event.user_id) == (True, None)
    await commit(store, put("a"))
    assert (await replica(store)).order == ["a"]
    await store.close()
    with psycopg.connect(url) as raw:
        rows = raw.execute("SELECT version_num FROM holdfast_version").fetchall()
    assert rows == [(REVISIONS[-1],)]


def test_rows_get_the_project_of_what_they_belong_to(url: str) -> None:
    upgrade(url, "0010")
    with psycopg.connect(url) as raw:
        raw.execute("SELECT set_config('holdfast.reach', 'all', true)")
        for no, project in ((1, "red"), (2, "blue")):
            raw.execute(
                "INSERT INTO entities (no, project, kind, id, generation, memories, created_at, "
                "updated_at) VALUES (%s, %s, 'user', 'u', 1, 1, 0, 0)",
                (no, project),
            )
            raw.execute(
                "INSERT INTO memories (no, id, project, identity, kind, text, hash, listed, "
                "event_at, created_at, updated_at, version, terms, flags, words, speaker) VALUES "
                "(%s, 'm', %s, '', 'turn', '', '', 1, 0, 0, 0, 1, '', 0, 0, 0)",
                (no, project),
            )
        for no in (1, 2, 3):  # the third is of nobody who is there
            raw.execute("INSERT INTO embeddings VALUES (%s, 1, 'v')", (no,))
            raw.execute("INSERT INTO sources VALUES (%s, 1, 'q')", (no,))
            raw.execute("INSERT INTO outbox VALUES (%s, 1, 1, 'm')", (no,))
    upgrade(url, REVISIONS[-1])
    with psycopg.connect(url) as raw:
        for table, number in (("embeddings", "memory_no"), ("sources", "memory_no"),
                              ("outbox", "entity_no")):  # fmt: skip
            sql = f"SELECT {number}, project FROM {table} ORDER BY 1"
            raw.execute("SELECT set_config('holdfast.reach', 'all', true)")
            assert raw.execute(sql.encode()).fetchall() == [(1, "red"), (2, "blue")]
            raw.execute("SELECT set_config('holdfast.reach', '', true)")
            raw.execute("SELECT set_config('holdfast.project', 'red', true)")
            assert raw.execute(sql.encode()).fetchall() == [(1, "red")]


async def test_an_upgrade_that_fails_leaves_the_old_tables(url: str) -> None:
    upgrade(url, "0002")
    before = shape(url)
    store = postgres.records(url)
    with (
        patch("holdfast.backends.postgres.ddl._fence_new", side_effect=psycopg.DataError("no")),
        pytest.raises(HoldfastError),
    ):
        await store.open(SPACE)
    assert shape(url) == before
    await store.open(SPACE)
    assert (await store.state(RED, ALICE)).memories == 0
    await store.close()
    assert migrate.REVISIONS[-1] in str(
        postgres.shared().ask(
            "SELECT version_num FROM holdfast_version", url.partition("@/")[2].partition("?")[0]
        )
    )
