"""Connections to Postgres are cut, and Postgres itself is killed, in the middle of commits: what
was acknowledged is there, once."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from unittest.mock import patch

import psycopg
import pytest

from holdfast.backends.postgres import transactions
from holdfast.backends.postgres.bridge import wait
from holdfast.backends.postgres.records import PostgresRecords
from holdfast.backends.postgres.session import Session
from holdfast.backends.sql import operations
from holdfast.backends.sql.changes import Changes
from holdfast.backends.sql.dialect import Connection
from holdfast.errors import StoreUnavailableError
from holdfast.ports import EditMemory
from holdfast.testing.contracts.values import ALICE, NOW, RED, SPACE, commit, put, replica, turns
from support import postgres

KILL = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'holdfast'"


@pytest.fixture
def url() -> Iterator[str]:
    with postgres.database() as given:
        yield given


@pytest.fixture
async def store(url: str) -> AsyncIterator[PostgresRecords]:
    made = postgres.records(url)
    await made.open(SPACE)
    yield made
    await made.close()


def name_of(url: str) -> str:
    return url.partition("@/")[2].partition("?")[0]


async def kill(url: str) -> None:
    """End every connection of Holdfast to the database, as an administrator might."""
    await asyncio.to_thread(postgres.shared().ask, f"{KILL} AND datname = '{name_of(url)}'")


async def held(store: PostgresRecords) -> list[str]:
    return (await replica(store)).order


async def reached(store: PostgresRecords) -> None:
    """Wait until it asks again: what was away for long is left alone for a moment."""
    async with asyncio.timeout(60):
        while True:
            with suppress(StoreUnavailableError):
                await store.state(RED, ALICE)
                return
            await asyncio.sleep(0.05)


async def test_idle_connections_that_were_cut_are_not_used(
    url: str, store: PostgresRecords
) -> None:
    await asyncio.gather(*(store.stats(RED) for _ in range(5)))
    for _ in range(3):
        await kill(url)
        await commit(store, put("a"))
        assert (await store.state(RED, ALICE)).memories == 1


async def test_a_commit_that_is_cut_in_the_middle_is_run_again(
    url: str, store: PostgresRecords
) -> None:
    cuts = 0

    def cutting(connection: Connection, group: list[Changes]) -> None:
        nonlocal cuts
        record(connection, group)
        if cuts < 2:
            cuts += 1
            wait(kill(url))

    record = operations.record
    with patch.object(operations, "record", cutting):
        results = await asyncio.gather(
            commit(store, turns("t"), put("a", turns=["t"])), commit(store, put("b", "milk"))
        )
    assert (cuts, results) == (2, [[None, "a"], ["b"]])
    assert await held(store) == ["a", "b"]
    assert (await store.stats(RED))["history_events"] == 2


async def test_a_read_that_is_cut_is_asked_again(url: str, store: PostgresRecords) -> None:
    await commit(store, put("a"))
    cuts = 0

    def cutting(connection: Connection) -> int:
        nonlocal cuts
        connection.execute("SELECT 1")
        if not cuts:
            cuts += 1
            wait(kill(url))
        return int(connection.execute("SELECT count(*) FROM memories").fetchone()[0])

    assert (await store.read(RED, cutting), cuts) == (1, 1)


class Losing:
    """Stands in for `Session.commit`: the connection is lost around a COMMIT."""

    def __init__(self, *, arrives: bool, times: int = 1) -> None:
        self._commit = Session.commit
        self._arrives = arrives
        self.left = times

    def __get__(self, session: Session, _kind: object) -> object:
        return lambda: self._lose(session)

    async def _lose(self, session: Session) -> None:
        if not self.left:
            return await self._commit(session)
        self.left -= 1
        if self._arrives:
            await self._commit(session)
        session.give_up()
        raise psycopg.OperationalError("the connection is lost")


async def test_a_commit_whose_answer_was_lost_is_known_to_have_happened(
    store: PostgresRecords,
) -> None:
    with patch.object(Session, "commit", Losing(arrives=True)):
        assert await commit(store, put("a")) == ["a"]
    assert await held(store) == ["a"]
    assert (await store.stats(RED))["history_events"] == 1


async def test_a_commit_that_never_arrived_is_run_again(store: PostgresRecords) -> None:
    with patch.object(Session, "commit", Losing(arrives=False, times=2)):
        assert await commit(store, put("a")) == ["a"]
    assert await held(store) == ["a"]
    assert (await store.stats(RED))["history_events"] == 1


@pytest.mark.parametrize(("arrives", "believed"), [(False, True), (True, False)])
async def test_guessing_instead_loses_or_doubles(
    store: PostgresRecords, arrives: bool, believed: bool
) -> None:
    async def guess(*_: object) -> bool:
        return believed

    edit = EditMemory(memory_id="a", at=NOW, metadata={"k": 1})
    await commit(store, put("a"))
    with (
        patch.object(Session, "commit", Losing(arrives=arrives)),
        patch.object(transactions.Transactions, "_is_there", guess),
    ):
        await commit(store, edit)
    events = [event.event for event in await store.history(RED, "a")]
    assert events == (["ADD", "UPDATE", "UPDATE"] if arrives else ["ADD"])


async def test_what_leaves_no_token_is_an_error_when_its_answer_is_lost(
    store: PostgresRecords,
) -> None:
    members = store.directory
    with (
        patch.object(Session, "commit", Losing(arrives=True)),
        pytest.raises(StoreUnavailableError),
    ):
        await store.lease("me", 0.0, 1.0)
    assert await members.stamp() == 0


async def test_a_commit_whose_end_stays_unknown_is_an_error(
    url: str, store: PostgresRecords
) -> None:
    async def away(_pool: object) -> None:
        raise StoreUnavailableError("away")

    with (
        patch.object(Session, "commit", Losing(arrives=True)),
        patch.object(transactions, "_FIND_OUT_S", 0.2),
        patch.object(type(store._pool), "_connect", away),
        pytest.raises(StoreUnavailableError, match="not known"),
    ):
        await commit(store, put("a"))
    await reached(store)
    assert await held(store) == ["a"]


async def test_two_that_wait_for_each_other_both_commit(store: PostgresRecords) -> None:
    """A deadlock: Postgres undoes one of the two, which is run again."""
    met = asyncio.Barrier(2)
    await commit(store, put("a"), turns("t"))
    tries = 0

    def work(first: int, second: int, connection: Connection) -> None:
        nonlocal tries
        tries += 1
        lock = "SELECT 1 FROM (SELECT pg_advisory_xact_lock(?)) AS locked"
        assert connection.execute(lock, (first,)).fetchone() == (1,)
        if tries <= 2:
            wait(met.wait())
        assert connection.execute(lock, (second,)).fetchone() == (1,)

    await asyncio.gather(
        store.write(None, lambda c: work(1, 2, c)),
        store.write(None, lambda c: work(2, 1, c)),
    )
    assert tries == 3


@pytest.mark.crash
@pytest.mark.parametrize("how", [signal.SIGQUIT, signal.SIGINT])
async def test_a_server_that_is_killed_and_started_anew(how: signal.Signals) -> None:
    """Adders of two instances go on through it; nothing acknowledged is lost or doubled."""
    server = postgres.Server(durable=True)
    stores = []
    try:
        url = server.url(server.database())
        stores = [postgres.records(url, seed=seed) for seed in (1, 2)]
        for store in stores:
            await store.open(SPACE)
        kept: set[str] = set()
        stop = asyncio.Event()

        async def adder(name: str, store: PostgresRecords) -> None:
            number = 0
            while not stop.is_set():
                number += 1
                ids = f"{name}-{number}"
                with suppress(StoreUnavailableError):
                    await commit(store, turns(f"t{ids}"), put(ids, ids, turns=[f"t{ids}"]))
                    kept.add(ids)
                await asyncio.sleep(0.002)

        adders = [
            asyncio.create_task(adder(f"{place}{lane}", store))
            for place, store in enumerate(stores)
            for lane in range(4)
        ]
        for _ in range(2):
            await enough(kept, 30)
            await asyncio.to_thread(server.stop, how)
            await asyncio.sleep(0.1)
            assert not any(adder.done() for adder in adders), "an adder met another error"
            await asyncio.to_thread(server.start)
        await enough(kept, 30)
        stop.set()
        await asyncio.gather(*adders)
        for store in stores:
            await reached(store)
            found = await held(store)
            assert len(found) == len(set(found))
            assert kept <= set(found)
            counts = await store.stats(RED)
            assert counts["history_events"] == counts["memories"] == counts["turns"] == len(found)
    finally:
        for store in stores:
            await store.close()
        server.remove()


async def enough(kept: set[str], more: int) -> None:
    """Wait for so many further acknowledgements."""
    wanted = len(kept) + more
    async with asyncio.timeout(60):
        while len(kept) < wanted:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
