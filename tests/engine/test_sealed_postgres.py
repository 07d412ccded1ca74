"""Sealed texts in Postgres: no canary in any row, sealed online by one of several instances."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from holdfast.admin import AsyncAdmin
from holdfast.backends.sql import resealing
from holdfast.errors import ConfigError, CorruptError
from support import postgres
from support.llm_server import LLMServer
from support.sealed import MASTER, RENEWED
from tests.engine.test_resealing import contents, fill
from tests.engine.test_sealed import CANARY, facts, hold, live

__all__ = ["facts"]

_TABLES = """
SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace
"""

_EVERYWHERE = "SET holdfast.reach = 'all'"
"""Row-level security hides every row otherwise."""


@pytest.fixture
def url() -> Iterator[str]:
    with postgres.database() as made:
        yield made


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    file = tmp_path / "master.keys"
    file.touch(mode=0o600)
    hold(file, MASTER)
    return file


def config(url: str, tmp_path: Path, keys: Path | None, **more: Any) -> dict[str, Any]:
    sealing = {} if keys is None else {"seal": {"provider": "file", "config": {"path": str(keys)}}}
    records = {"provider": "postgres", "config": {"url": url}}
    return {"path": str(tmp_path), "records": records, "workers": 0, **sealing, **more}


def traces(url: str) -> list[str]:
    """The tables in which the canary stands."""
    with psycopg.connect(url) as connection:
        connection.execute(_EVERYWHERE)
        tables = [name for (name,) in connection.execute(_TABLES)]
        assert len(tables) > 15
        return [
            name
            for name in tables
            if any(
                CANARY in str(row).lower()
                for row in connection.execute(f'SELECT t::text FROM "{name}" t'.encode())
            )
        ]


async def test_no_canary_is_in_any_row(
    url: str, tmp_path: Path, keys: Path, server: LLMServer
) -> None:
    model = {"model": "scripted", "openai_base_url": server.url, "api_key": "sk-test"}
    llm = {"provider": "openai", "config": model}
    settings = config(url, tmp_path, keys, llm=llm, model_attempts_max=1)
    async with AsyncAdmin(settings) as admin:
        await live(admin.memory(), server)
    assert traces(url) == []
    with pytest.raises(ConfigError, match="no keyring"):
        async with AsyncAdmin(config(url, tmp_path, None)):
            pass


async def test_a_plain_database_becomes_a_sealed_one(
    url: str, tmp_path: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resealing, "_ROWS", 3)
    monkeypatch.setattr(resealing, "_KEYS", 2)
    async with AsyncAdmin(config(url, tmp_path, None)) as earlier:
        await fill(earlier.memory())
        before = await contents(earlier.memory())
        assert traces(url)
        async with AsyncAdmin(config(url, tmp_path, keys)) as admin:
            with pytest.raises(ConfigError, match="began to seal"):
                await earlier.memory().add("too late", user_id="alice", infer=False)
            assert (await admin.sealing.run()).texts > 20
            assert traces(url) == []
        hold(keys, RENEWED)
        settings = config(url, tmp_path, keys)
        async with AsyncAdmin(settings) as admin, AsyncAdmin(settings) as other:
            assert (await other.sealing.rotate_master()).keys > 3
            assert (await other.sealing.rotate_keys()).keys == 4
            status = await other.sealing.status()
            assert (status.whole, status.plain, status.old_master) == (True, 0, 0)
            assert await contents(other.memory()) == before
            assert await contents(admin.memory()) == before
        with psycopg.connect(url) as connection:
            connection.execute(_EVERYWHERE)
            connection.execute("UPDATE messages SET text = 'x'; UPDATE memories SET text = 'x'")
        async with AsyncAdmin(config(url, tmp_path, keys)) as admin:
            with pytest.raises(CorruptError, match="is not sealed"):
                await contents(admin.memory())
