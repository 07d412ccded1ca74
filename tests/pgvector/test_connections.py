"""The index in pgvector when its database refuses, stalls, or restarts."""

from __future__ import annotations

import asyncio
import socket

import psycopg
import pytest

from holdfast.errors import (
    ConfigError,
    IndexUnavailableError,
)
from holdfast.testing.contracts.values import RED, SPACE
from holdfast.testing.contracts.vectors import marks, near, point
from support.pgvector import PASSWORD, Guarded, calls, database, execute, made, opened, refused

# Connections


async def test_killed_connections_are_replaced_without_an_error(
    server: Guarded, owner: str
) -> None:
    async with opened(owner) as vectors:
        for name, call in calls(vectors).items():
            await asyncio.gather(*(near(vectors) for _ in range(4)))
            killed = execute(
                server.address("postgres"),
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                f" WHERE application_name = 'holdfast' AND datname = '{database(owner)}'",
            )
            assert killed, name
            await call()


async def test_after_a_restart_the_next_call_works(server: Guarded, owner: str) -> None:
    async with opened(owner, pool_timeout_s=0.5) as vectors:
        await vectors.put(RED, [point("a")])
        server.stop()
        try:
            for name, call in calls(vectors).items():
                with pytest.raises(IndexUnavailableError) as caught:
                    await call()
                assert caught.value.retryable, name
                assert PASSWORD not in str(caught.value)
            other = made(owner)
            with pytest.raises(IndexUnavailableError, match="cannot be reached"):
                await other.open(SPACE)
            await other.close()
        finally:
            server.start()
        for _ in range(20):  # while Postgres recovers
            try:
                assert await marks(vectors) == {"a": 1}
                break
            except IndexUnavailableError:
                await asyncio.sleep(0.25)
        for call in calls(vectors).values():
            await call()


async def test_a_statement_that_waits_too_long_is_given_up(owner: str) -> None:
    async with opened(owner, statement_timeout_s=0.3, pool_max=1, pool_timeout_s=0.1) as vectors:
        with psycopg.connect(owner) as holder:
            holder.execute("LOCK TABLE holdfast_index.memories")
            with pytest.raises(IndexUnavailableError, match="too long"):
                await near(vectors)
            waiting = asyncio.create_task(near(vectors))
            await asyncio.sleep(0.05)
            with pytest.raises(IndexUnavailableError, match="every connection") as caught:
                await near(vectors)
            assert caught.value.retry_after_s
            with pytest.raises(IndexUnavailableError, match="too long"):
                await waiting
        assert await near(vectors) == []


async def test_a_server_that_says_nothing_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        url = f"postgresql://someone:{PASSWORD}@127.0.0.1:{port}/nothing"
        said = await refused(IndexUnavailableError, url, connect_timeout_s=0.2)
    assert "did not answer" in said


async def test_who_is_not_let_in_is_told_why(server: Guarded, owner: str) -> None:
    name = database(owner)
    wrong = {
        "password": server.address(name, name, "another-secret"),
        "no such database": server.address("nowhere", name),
        "password, or the user": server.address(name, "nobody_at_all"),
    }
    for words, url in wrong.items():
        said = await refused(ConfigError, url)
        assert words in said
        assert "another-secret" not in said


async def test_a_password_that_was_changed_is_told(server: Guarded, owner: str) -> None:
    name = database(owner)
    async with opened(owner, pool_timeout_s=0.3) as vectors:
        execute(server.address("postgres"), f"ALTER ROLE {name} PASSWORD 'changed'")
        execute(
            server.address("postgres"),
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'",
        )
        with pytest.raises(ConfigError, match="password"):
            await near(vectors)
