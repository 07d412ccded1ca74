"""Databases of every revision open, migrate whole or not at all, and keep what they hold."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.op import create_index
from sqlalchemy import StaticPool, create_engine

from holdfast.backends.migrations.versions import r0002_usage
from holdfast.backends.schema import metadata
from holdfast.backends.sqlite import migrate
from holdfast.backends.sqlite.connect import connect
from holdfast.backends.sqlite.migrate import REVISIONS, prepare
from holdfast.errors import CorruptError, SchemaTooNewError
from support.embedded import add, find, opened
from support.revisions import create, revision_of
from tests.crash.inspection import Shape, shape
from tests.crash.old_stores import old_store
from tests.crash.orders import Order
from tests.crash.zygote import Zygote
from tests.upgrade.make_fixture import FIXTURES, read

HEAD = REVISIONS[-1]


def copy_of(revision: str, folder: Path) -> Path:
    return Path(shutil.copy(FIXTURES / f"{revision}.db", folder / "holdfast.db"))


def print_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def shape_of(path: Path) -> Shape:
    with closing(sqlite3.connect(path)) as connection:
        return shape(connection)


def options_of(path: Path) -> list[tuple[Any, ...]]:
    """What columns do not tell: tables without row numbers, conditions of indexes, counting on."""
    with closing(sqlite3.connect(path)) as connection:
        tables = connection.execute(
            "SELECT name, wr, strict FROM pragma_table_list WHERE schema = 'main' ORDER BY name"
        )
        indexes = connection.execute(
            "SELECT name, replace(sql, char(10), ' ') FROM sqlite_master WHERE type = 'index' "
            "ORDER BY name"
        )
        counting = connection.execute(
            "SELECT name, 'AUTOINCREMENT' FROM sqlite_master WHERE sql LIKE '%AUTOINCREMENT%' "
            "ORDER BY name"
        )
        return [*tables, *indexes, *counting]


# -------------------------------------------------------------------------- the scripts


def test_every_revision_has_its_script_and_its_fixture() -> None:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", "holdfast.backends:migrations")
    scripts = ScriptDirectory.from_config(config).walk_revisions()
    assert tuple(reversed([script.revision for script in scripts])) == REVISIONS
    assert sorted(path.stem for path in FIXTURES.glob("*.db")) == list(REVISIONS)
    assert sorted(path.stem for path in FIXTURES.glob("*.json")) == list(REVISIONS)


@pytest.mark.parametrize("revision", REVISIONS)
def test_a_fixture_is_of_its_revision(revision: str, tmp_path: Path) -> None:
    path = copy_of(revision, tmp_path)
    create(tmp_path / "new.db", revision)
    with closing(sqlite3.connect(path)) as connection:
        assert revision_of(connection) == revision
    assert shape_of(path) == shape_of(tmp_path / "new.db")


def differences(path: Path) -> list[Any]:
    """What Alembic would change to make the database equal to `backends.schema`."""
    with closing(sqlite3.connect(path)) as connection:
        engine = create_engine("sqlite://", creator=lambda: connection, poolclass=StaticPool)
        with engine.connect() as bound:
            found = compare_metadata(MigrationContext.configure(bound), metadata)
    return [one for one in found if "alembic_version" not in repr(one)]


def test_the_migrations_lead_to_the_schema(tmp_path: Path) -> None:
    create(tmp_path / "migrated.db", HEAD)
    assert differences(tmp_path / "migrated.db") == []


def test_the_comparison_sees_a_difference(tmp_path: Path) -> None:
    create(tmp_path / "older.db", REVISIONS[0])
    assert differences(tmp_path / "older.db") != []


def test_the_migrations_lead_to_what_a_new_store_is_made_from(tmp_path: Path) -> None:
    create(tmp_path / "migrated.db", HEAD)
    with closing(connect(tmp_path / "new.db")) as connection:
        prepare(connection, tmp_path / "new.db")
    assert shape_of(tmp_path / "new.db") == shape_of(tmp_path / "migrated.db")
    assert options_of(tmp_path / "new.db") == options_of(tmp_path / "migrated.db")
    assert len(options_of(tmp_path / "new.db")) > 20


# ------------------------------------------------------------------------- old databases


@pytest.mark.parametrize("revision", REVISIONS)
async def test_an_old_database_keeps_what_it_holds(revision: str, tmp_path: Path) -> None:
    path = copy_of(revision, tmp_path)
    told = msgspec.json.decode((FIXTURES / f"{revision}.json").read_bytes())
    async with opened(path) as parts:
        found = await read(parts)
        assert same(told, found)
        [new] = await add(parts, "written by today's version", "ann")
        hits = await find(parts, "written by today's version", "ann", show_expired=True)
        assert hits[0][0] == new
        assert len(hits) == sum(one["user_id"] == "ann" for one in told["memories"]) + 1
    with closing(sqlite3.connect(path)) as connection:
        assert revision_of(connection) == HEAD
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert shape_of(path) == shape_of(FIXTURES / f"{HEAD}.db")


def same(old: Any, new: Any) -> bool:
    """Equal, but for fields that the old one did not know."""
    if isinstance(old, dict):
        return isinstance(new, dict) and all(k in new and same(v, new[k]) for k, v in old.items())
    if isinstance(old, list):
        pairs = len(old) == len(new)
        return pairs and all(same(one, other) for one, other in zip(old, new, strict=True))
    return bool(old == new)


def test_same_tells_differences() -> None:
    assert same({"a": [1, {"b": None}]}, {"a": [1, {"b": None, "new": 1}], "c": 2})
    for other in ({}, {"a": [1]}, {"a": [1, {"b": 0}]}, {"a": [2, {"b": None}]}):
        assert not same({"a": [1, {"b": None}]}, other)


async def test_a_migration_that_fails_leaves_the_old_database(tmp_path: Path) -> None:
    path = copy_of(REVISIONS[0], tmp_path)
    before = shape_of(path)

    def fail(*given: Any, **more: Any) -> None:
        create_index(*given, **more)
        raise RuntimeError("the machine went down")

    failing = patch.object(r0002_usage.op, "create_index", fail)
    with failing, pytest.raises(RuntimeError, match="went down"):
        async with opened(path):
            pass
    with closing(sqlite3.connect(path)) as connection:
        assert revision_of(connection) == REVISIONS[0]
    assert shape_of(path) == before
    async with opened(path) as parts:
        assert same(msgspec.json.decode((FIXTURES / "0001.json").read_bytes()), await read(parts))


def test_several_processes_open_an_old_database_at_once(tmp_path: Path) -> None:
    template = old_store(tmp_path / "old.db")
    with Zygote() as zygote:
        for attempt in range(5):
            path = shutil.copy(template, tmp_path / f"copy{attempt}.db")
            started = [
                zygote.start(Order(path=str(path), seed=seed, users=(f"u{seed}",), calls_max=2))
                for seed in range(4)
            ]
            for pid, reading in started:
                with os.fdopen(reading) as said:
                    lines = said.read()
                assert zygote.bury(pid) == 0, lines
                assert '"kind":"closing"' in lines
            with closing(sqlite3.connect(path)) as connection:
                assert revision_of(connection) == HEAD


# ----------------------------------------------------------------------- newer databases


@pytest.mark.parametrize("revision", ["9999", "0003_of_somebody", ""])
async def test_a_newer_database_is_refused_and_left_alone(revision: str, tmp_path: Path) -> None:
    path = copy_of(HEAD, tmp_path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))
        connection.execute("CREATE TABLE of_the_future (x)")
        connection.commit()
    before = print_of(path)
    with pytest.raises(SchemaTooNewError, match="Upgrade Holdfast") as caught:
        async with opened(path):
            pass
    assert HEAD in caught.value.message
    assert print_of(path) == before
    assert os.listdir(tmp_path) == ["holdfast.db"]


async def test_a_database_without_its_revision_is_refused(tmp_path: Path) -> None:
    path = copy_of(HEAD, tmp_path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE alembic_version")
        connection.commit()
    before = print_of(path)
    with pytest.raises(CorruptError):
        async with opened(path):
            pass
    assert print_of(path) == before


def test_a_guard_against_forgetting(tmp_path: Path) -> None:
    """A revision that is not in REVISIONS would be taken for a newer one."""
    with patch.object(migrate, "REVISIONS", REVISIONS[:-1]):
        path = copy_of(HEAD, tmp_path)
        with closing(connect(path)) as connection, pytest.raises(SchemaTooNewError):
            prepare(connection, path)


async def test_an_upgrade_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "holdfast")
    path = copy_of("0015", tmp_path)
    async with opened(path):
        pass
    assert f"upgrading the store from schema 0015 to {HEAD}" in caplog.messages
    caplog.clear()
    async with opened(path):
        pass
    assert not [told for told in caplog.messages if "upgrading" in told]
