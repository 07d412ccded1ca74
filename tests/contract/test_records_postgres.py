"""Postgres keeps every sentence of `ports.Records`, `ports.Jobs` and `ports.Directory`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator
from unittest.mock import patch

import pytest

from holdfast.backends.postgres.session import Session
from holdfast.clock import ManualClock, seeded_ids
from holdfast.testing.contracts.directory import DirectoryContract
from holdfast.testing.contracts.jobs import JobsContract
from holdfast.testing.contracts.records import RecordsContract
from holdfast.testing.contracts.values import (
    ALICE,
    NOW,
    RED,
    SPACE,
    Make,
    put,
    put_job,
    raw,
    turns,
    vector,
)
from support import postgres

_SEND = Session._send


class PostgresFixture:
    @pytest.fixture
    def make(self) -> Iterator[Make]:
        ids = seeded_ids(ManualClock(), seed=1)
        with postgres.database() as url:
            yield lambda: postgres.records(url, ids=ids)


async def test_how_often_the_database_is_asked() -> None:
    """Round trips are what a network costs: they are counted, and may only become fewer."""
    with postgres.database() as url, patch.object(Session, "_send", autospec=True) as send:
        send.side_effect = _SEND
        store = postgres.records(url)
        await store.open(SPACE)

        async def trips(work: Awaitable[object]) -> int:
            send.reset_mock()
            await work
            return int(send.call_count)

        an_add = [
            turns("t", "u"),
            raw("r", "t", vec=vector(1)),
            raw("s", "u", vec=vector(0, 1)),
            put_job("j"),
        ]
        assert await trips(store.commit(RED, an_add)) <= 8
        many = (store.commit(RED, [put(f"m{i}", f"fact {i}", vec=vector(1))]) for i in range(20))
        assert await trips(asyncio.gather(*many)) <= 9
        assert await trips(store.state(RED, ALICE)) == 1
        assert await trips(store.fetch(RED, ["r", "m1"])) == 1
        assert await trips(store.directory.stamp()) == 1
        assert await trips(store.lease("me", NOW, 1.0)) <= 3
        assert await trips(store.delta(RED, ALICE, None)) == 1, "with what turns have told"
        before = await store.state(RED, ALICE)
        await store.commit(RED, [put("fact", turns=["t"])])
        assert await trips(store.delta(RED, ALICE, before.generation, before.epoch)) == 2
        assert await trips(store.delta(RED, ALICE, before.generation, 99)) == 2, "all of it"
        source = store.indexing
        assert await trips(source.standing(RED, ALICE, "index")) == 1
        assert await trips(source.excerpt(RED, ALICE, ["r", "m1", "m9"], 64)) == 2
        await store.close()


class TestPostgresRecords(PostgresFixture, RecordsContract):
    pass


class TestPostgresJobs(PostgresFixture, JobsContract):
    pass


class TestPostgresDirectory(PostgresFixture, DirectoryContract):
    pass
