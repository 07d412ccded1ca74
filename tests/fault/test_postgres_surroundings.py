"""Bad surroundings of records in Postgres: clear errors, nothing half done, no secrets told."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import errors as pg

from holdfast.backends.postgres.errors import translated
from holdfast.backends.postgres.migrate import REVISIONS
from holdfast.backends.postgres.records import PostgresRecords
from holdfast.backends.postgres.settings import PostgresSettings
from holdfast.config import load_config
from holdfast.errors import (
    ClosedError,
    ConfigError,
    CorruptError,
    HoldfastError,
    SchemaTooNewError,
    StoreError,
    StoreReadOnlyError,
    StoreUnavailableError,
)
from holdfast.registry import make_records
from holdfast.testing.contracts.values import ALICE, RED, SPACE, commit, put
from support import postgres

PASSWORD = "tr0ub4dor"


@pytest.fixture
def url() -> Iterator[str]:
    with postgres.database() as given:
        yield given


@pytest.fixture
async def store(url: str) -> AsyncIterator[PostgresRecords]:
    made = postgres.records(url, pool_max=2, pool_timeout_s=0.2, statement_timeout_s=0.3)
    await made.open(SPACE)
    yield made
    await made.close()


async def refused(url: str, kind: type[HoldfastError], **settings: Any) -> str:
    """What opening a database says; the password is not in it, nor in what it came from."""
    made = postgres.records(url, **settings)
    with pytest.raises(kind) as caught:
        await made.open(SPACE)
    await made.close()
    assert PASSWORD not in str(caught.value) + repr(caught.value) + repr(made._settings)
    assert caught.value.hint
    return str(caught.value)


def named(url: str) -> str:
    """The database a URL names."""
    return url.partition("@/")[2].partition("?")[0]


async def test_a_database_that_is_not_there() -> None:
    assert "no such database" in await refused(postgres.shared().url("nowhere"), ConfigError)


async def test_an_unknown_user_and_a_wrong_password(url: str) -> None:
    server = postgres.shared()
    server.ask(f"CREATE ROLE careful LOGIN PASSWORD '{PASSWORD}'")
    server.demand_password("careful")
    unknown = server.url(named(url), f"nobody_such:{PASSWORD}")
    assert "refuses" in await refused(unknown, ConfigError)
    wrong = server.url(named(url), f"careful:{PASSWORD}x")
    assert "password" in await refused(wrong, ConfigError)
    assert "password" in await refused(server.url(named(url), "careful"), ConfigError)


async def test_a_server_that_is_away() -> None:
    where = f"postgresql://u:{PASSWORD}@127.0.0.1:1/db"
    assert "away" in await refused(where, StoreUnavailableError)


@pytest.mark.parametrize("url", ["postgresql://u:" + PASSWORD + "@[::1/db", "no words at all"])
async def test_an_address_that_cannot_be_read(url: str) -> None:
    with pytest.raises(ConfigError, match="cannot be read") as caught:
        postgres.records(url)
    assert PASSWORD not in str(caught.value)
    assert caught.value.__suppress_context__


async def test_another_encoding() -> None:
    server = postgres.shared()
    server.ask(
        "CREATE DATABASE narrow OWNER holdfast ENCODING 'LATIN1' TEMPLATE template0 "
        "LC_COLLATE 'C' LC_CTYPE 'C'"
    )
    assert "LATIN1" in await refused(server.url("narrow"), ConfigError)
    assert server.ask("SELECT relname FROM pg_class WHERE relname = 'memories'", "narrow") == []
    server.drop("narrow")


async def test_tables_of_another_program() -> None:
    with postgres.database(empty=True) as url:
        server, name = postgres.shared(), named(url)
        server.ask("CREATE TABLE accounts (id int)", name, postgres.ROLE)
        assert "another program: accounts" in await refused(url, ConfigError)
        schema = f"{url}&options=-csearch_path%3Dmine"
        assert "no schema" in await refused(schema, ConfigError)
        server.ask("CREATE SCHEMA mine", name, postgres.ROLE)
        made = postgres.records(schema)
        await made.open(SPACE)
        await commit(made, put("a"))
        assert (await made.state(RED, ALICE)).memories == 1
        await made.close()


async def test_a_user_without_the_right_to_create() -> None:
    with postgres.database(empty=True) as url:
        server = postgres.shared()
        server.ask("CREATE ROLE guest LOGIN")
        assert "lacks a right" in await refused(server.url(named(url), "guest"), ConfigError)


async def test_a_newer_schema(url: str) -> None:
    postgres.shared().ask("UPDATE holdfast_version SET version_num = '9999'", named(url))
    assert "9999" in await refused(url, SchemaTooNewError)
    back = f"UPDATE holdfast_version SET version_num = '{REVISIONS[-1]}'"
    postgres.shared().ask(back, named(url))


async def test_a_database_that_takes_no_writes(url: str) -> None:
    await refused(f"{url}&options=-cdefault_transaction_read_only%3Don", StoreReadOnlyError)


async def test_a_pool_that_is_exhausted(store: PostgresRecords) -> None:
    async with store._pool.connection(), store._pool.connection():
        for call in (store.stats(RED), commit(store, put("a"))):
            with pytest.raises(StoreUnavailableError, match="2 connections"):
                await call
    await commit(store, put("a"))


async def test_a_statement_that_takes_too_long(store: PostgresRecords) -> None:
    with pytest.raises(StoreUnavailableError, match="too long"):
        await store.read(RED, lambda c: c.execute("SELECT pg_sleep(5)"))
    assert (await store.state(RED, ALICE)).memories == 0


async def test_who_gives_up_leaves_nothing_behind(store: PostgresRecords) -> None:
    for _ in range(5):
        asking = asyncio.create_task(store.read(RED, lambda c: c.execute("SELECT pg_sleep(5)")))
        await asyncio.sleep(0.02)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
    assert (await store.state(RED, ALICE)).memories == 0


async def test_an_adder_who_gives_up_has_added(store: PostgresRecords) -> None:
    adding = asyncio.create_task(commit(store, put("a")))
    await asyncio.sleep(0)
    adding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await adding
    await commit(store, put("b", "milk"))
    assert (await store.state(RED, ALICE)).memories == 2


async def test_after_the_end(store: PostgresRecords) -> None:
    store.close_now()
    for call in (commit(store, put("a")), store.stats(RED), store.open(SPACE)):
        with pytest.raises(ClosedError):
            await call
    await store.close()


async def test_before_the_beginning(url: str) -> None:
    made = postgres.records(url)
    for call in (commit(made, put("a")), made.stats(RED)):
        with pytest.raises(ClosedError):
            await call
    made.close_now()


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (pg.DiskFull, StoreUnavailableError, "disk"),
        (pg.TooManyConnections, StoreUnavailableError, "no more connections"),
        (pg.LockNotAvailable, StoreUnavailableError, "lock"),
        (pg.AdminShutdown, StoreUnavailableError, "ended"),
        (pg.CannotConnectNow, StoreUnavailableError, "starting or stopping"),
        (pg.SerializationFailure, StoreUnavailableError, "same time"),
        (pg.OutOfMemory, StoreUnavailableError, "memory"),
        (pg.ReadOnlySqlTransaction, StoreReadOnlyError, "standby"),
        (pg.InsufficientPrivilege, ConfigError, "right"),
        (pg.DataCorrupted, CorruptError, "damage"),
        (pg.SyntaxError, StoreError, "42601"),
        (psycopg.OperationalError, StoreUnavailableError, "away"),
        (psycopg.InterfaceError, StoreError, "InterfaceError"),
    ],
)
def test_what_postgres_says(error: type[psycopg.Error], kind: type, words: str) -> None:
    told = translated(error(f"secret text {PASSWORD}"))
    assert type(told) is kind
    assert words in str(told)
    assert "secret" not in str(told)
    assert isinstance(told, StoreUnavailableError) == told.retryable


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ('FATAL:  database "x" does not exist', ConfigError),
        ('FATAL:  role "x" does not exist', ConfigError),
        ('FATAL:  password authentication failed for user "x"', ConfigError),
        ('FATAL:  no pg_hba.conf entry for host "::1"', ConfigError),
        ("FATAL:  the database system is shutting down", StoreUnavailableError),
        ("FATAL:  the database system is starting up", StoreUnavailableError),
        ("FATAL:  the database system is in recovery mode", StoreUnavailableError),
        ("FATAL:  sorry, too many clients already", StoreUnavailableError),
        ("connection timeout expired", StoreUnavailableError),
    ],
)
def test_how_a_refused_connection_is_worded(words: str, kind: type) -> None:
    assert type(translated(psycopg.OperationalError(f"connection failed: {words}"))) is kind


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"pool_max": 1}, "pool_max"),
        ({"pool_min": 9, "pool_max": 5}, "pool_min is greater"),
        ({"statement_timeout_s": "soon"}, "statement_timeout_s"),
        ({"pool_size": 5}, "pool_size"),
    ],
)
def test_settings_that_are_wrong(config: dict[str, Any], words: str) -> None:
    records = {"provider": "postgres", "config": {"url": f"postgresql://u:{PASSWORD}@h", **config}}
    with pytest.raises(ConfigError, match=words) as caught:
        make_records(load_config({"records": records}).config, None, None)  # type: ignore[arg-type]
    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://u:{PASSWORD}@host/db",
        f"postgresql://u@host/db?password={PASSWORD}&sslmode=require",
        f"host=db user=u password={PASSWORD} dbname=x",
        f"host=db password='{PASSWORD} with \\' spaces {PASSWORD}' dbname=x",
    ],
)
def test_a_password_is_shown_nowhere(url: str) -> None:
    resolved = load_config({"records": {"provider": "postgres", "config": {"url": url}}})
    assert PASSWORD not in repr(resolved.config) + str(resolved.settings())
    assert "host" in str(resolved.settings()["records.config.url"])


def test_every_setting_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs/backends.md").read_text("utf-8")
    table = page.partition("## Postgres")[2].partition("Postgres 13")[0]
    names = set(re.findall(r"`(\w+)`", table)) - {"records", "holdfast"}
    assert set(PostgresSettings.__struct_fields__) <= names


@pytest.mark.parametrize("attribute", ["SUPERUSER", "BYPASSRLS"])
async def test_a_user_above_row_level_security_is_told_of(
    attribute: str, url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = postgres.shared()
    server.ask(f"CREATE ROLE above LOGIN {attribute} IN ROLE {postgres.ROLE}")
    try:
        above = server.url(named(url), "above")
        store = postgres.records(above)
        await store.open(SPACE)
        assert (await store.stats(RED))["row_level_security"] is False
        await store.close()
        assert "above row-level security" in caplog.text
        if attribute == "BYPASSRLS":
            finding = await asyncio.to_thread(doctor, above, tmp_path)
            assert finding["state"] == "warning"
            assert "above row-level security" in finding["finding"]
    finally:
        server.ask("DROP ROLE above")
    store = postgres.records(url)
    await store.open(SPACE)
    assert "row_level_security" not in await store.stats(RED)
    await store.close()


def doctor(url: str, home: Path) -> dict[str, Any]:
    """What the doctor finds of the store."""
    environment = {
        **os.environ,
        "HOLDFAST_HOME": str(home),
        "HOLDFAST_RECORDS_PROVIDER": "postgres",
        "HOLDFAST_RECORDS_URL": url,
    }
    line = [sys.executable, "-m", "holdfast", "doctor", "--json"]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)
    checks: list[dict[str, Any]] = json.loads(done.stdout)["checks"]
    [found] = [check for check in checks if check["name"] == "store"]
    return found
