"""Read replicas answer, and never with less than was acknowledged: lagging, killed, promoted."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from unittest.mock import patch

import pytest

from holdfast.backends.postgres import replicas
from holdfast.backends.postgres.records import PostgresRecords
from holdfast.backends.postgres.replicas import Position
from holdfast.errors import ConfigError
from holdfast.testing.contracts.values import ALICE, NOW, RED, SPACE, listing, put, vector
from support import postgres
from support.thorough import often

PAUSE = "SELECT pg_wal_replay_pause()"
RESUME = "SELECT pg_wal_replay_resume()"
PATIENCE_S = 30.0


@pytest.fixture(scope="module")
def primary() -> Iterator[postgres.Server]:
    server = postgres.Server()
    yield server
    server.remove()


@pytest.fixture(scope="module")
def standby(primary: postgres.Server) -> Iterator[postgres.Standby]:
    server = postgres.Standby(primary)
    yield server
    server.remove()


@pytest.fixture
def database(primary: postgres.Server) -> Iterator[str]:
    name = primary.database()
    yield name
    primary.drop(name)


def _there(standby: postgres.Standby, database: str) -> None:
    """Wait until the standby has a database that was just made; it copies files, and may lag."""
    deadline = time.monotonic() + PATIENCE_S
    while not standby.ask(f"SELECT 1 FROM pg_database WHERE datname = '{database}'"):
        assert time.monotonic() < deadline, "the standby does not follow"
        time.sleep(0.02)


class Reader:
    """Records that read from a standby, and what became of each read."""

    def __init__(self, url: str, *copies: str) -> None:
        self.store = postgres.records(url, read_urls=copies, read_wait_s=5.0)
        self.outcomes: Counter[str] = Counter()
        self.store.on_replica_read = lambda outcome: self.outcomes.update([outcome])

    async def ids(self) -> list[str]:
        return [entry.id for entry in (await self.store.delta(RED, ALICE, None)).entries]


@pytest.fixture
async def reader(
    primary: postgres.Server, standby: postgres.Standby, database: str
) -> AsyncIterator[Reader]:
    await asyncio.to_thread(_there, standby, database)
    made = Reader(primary.url(database), standby.url(database))
    await made.store.open(SPACE)
    yield made
    await asyncio.to_thread(standby.ask, RESUME)
    await made.store.close()


@pytest.fixture
async def writer(
    primary: postgres.Server, database: str, reader: Reader
) -> AsyncIterator[PostgresRecords]:
    """Another instance."""
    made = postgres.records(primary.url(database), seed=2)
    await made.open(SPACE)
    yield made
    await made.close()


def hurry(reader: Reader) -> None:
    """Do not wait for copies that lag."""
    assert reader.store._replicas is not None
    for copy in reader.store._replicas._copies:
        copy._patience_s = 0.0


async def test_every_read_of_memories_is_answered_by_the_copy(
    reader: Reader, writer: PostgresRecords
) -> None:
    await writer.commit(RED, [put("a", "tea", vec=vector(1)), put("b", "milk", vec=vector(0, 1))])

    async def told(store: PostgresRecords) -> list[object]:
        return [
            await store.fetch(RED, ["a", "b"]),
            (await store.page(RED, listing())).memories,
            await store.history(RED, "a"),
            await store.delta(RED, ALICE, None),
            await store.entities(RED, 0, 10),
            await store.stats(RED),
            await store.turns(RED, ["t"]),
            await store.indexing.excerpt(RED, ALICE, ["a"], 10),
            await store.indexing.dated(RED, ALICE, [(0.0, NOW + 1)], 10),
        ]

    assert await told(reader.store) == await told(writer)
    assert reader.outcomes == {"replica": 9}


async def test_a_copy_that_lags_is_passed_over(
    reader: Reader, writer: PostgresRecords, standby: postgres.Standby
) -> None:
    await writer.commit(RED, [put("a", "tea")])
    assert await reader.ids() == ["a"]
    await asyncio.to_thread(standby.ask, PAUSE)
    hurry(reader)
    await writer.commit(RED, [put("b", "milk")])
    assert await reader.ids() == ["a", "b"]
    assert reader.outcomes == {"replica": 1, "behind": 1}


async def test_a_copy_that_lags_a_moment_is_waited_for(
    reader: Reader, writer: PostgresRecords, standby: postgres.Standby
) -> None:
    await writer.commit(RED, [put("a", "tea")])
    await asyncio.to_thread(standby.ask, PAUSE)
    await writer.commit(RED, [put("b", "milk")])
    reading = asyncio.create_task(reader.ids())
    await asyncio.sleep(0.05)
    await asyncio.to_thread(standby.ask, RESUME)
    assert await reading == ["a", "b"]
    assert reader.outcomes == {"replica": 1}


async def test_no_acknowledged_write_is_ever_missing(
    reader: Reader, writer: PostgresRecords, standby: postgres.Standby
) -> None:
    """Writes through another instance while the copy stops and goes on at random."""
    dice, wanted = random.Random(7), []
    hurry(reader)
    for number in range(often(40, 400)):
        if dice.random() < 0.4:
            await asyncio.to_thread(standby.ask, dice.choice([PAUSE, RESUME]))
        await writer.commit(RED, [put(f"m{number}", f"fact {number}")])
        wanted.append(f"m{number}")
        found = await asyncio.gather(*(reader.ids() for _ in range(dice.randint(1, 4))))
        assert all(ids == wanted for ids in found)
    assert reader.outcomes["behind"]
    await asyncio.to_thread(standby.ask, RESUME)
    while not reader.outcomes["replica"]:  # once nothing is written, it catches up
        assert await reader.ids() == wanted


async def test_those_who_ask_at_once_share_one_question(
    reader: Reader, writer: PostgresRecords
) -> None:
    await writer.commit(RED, [put("a", "tea")])
    asked = 0
    position = replicas._position

    def counted(connection: object) -> Position:
        nonlocal asked
        asked += 1
        return position(connection)  # type: ignore[arg-type]

    with patch.object(replicas, "_position", counted):
        await asyncio.gather(*(reader.ids() for _ in range(30)))
    assert asked == 1
    assert reader.outcomes == {"replica": 30}


async def test_a_killed_copy_is_done_without_and_comes_back(
    reader: Reader, writer: PostgresRecords, standby: postgres.Standby
) -> None:
    await writer.commit(RED, [put("a", "tea")])
    await reader.ids()
    await asyncio.to_thread(standby.stop)
    try:
        for _ in range(5):
            assert await reader.ids() == ["a"]
    finally:
        await asyncio.to_thread(standby.start)
    assert reader.outcomes == {"replica": 1, "away": 5}
    async with asyncio.timeout(30):
        while reader.outcomes["replica"] < 2:
            assert await reader.ids() == ["a"]
            await asyncio.sleep(0.1)


async def test_another_database_is_no_copy(primary: postgres.Server, database: str) -> None:
    with postgres.database() as other:
        made = Reader(primary.url(database), other)
        with pytest.raises(ConfigError, match=r"read_urls\[0\] is no copy"):
            await made.store.open(SPACE)
        await made.store.close()


async def test_a_copy_that_was_promoted_is_none_any_more(
    primary: postgres.Server, database: str
) -> None:
    own = await asyncio.to_thread(postgres.Standby, primary)
    try:
        made = Reader(primary.url(database), own.url(database))
        await made.store.open(SPACE)
        await made.store.commit(RED, [put("a", "tea")])
        assert await made.ids() == ["a"]
        await asyncio.to_thread(own.ask, "SELECT pg_promote()")
        await made.store.commit(RED, [put("b", "milk")])
        assert await made.ids() == ["a", "b"]
        assert made.outcomes == {"replica": 1, "behind": 1}
        await made.store.close()
    finally:
        await asyncio.to_thread(own.remove)


@pytest.mark.parametrize(
    ("other", "reaches"),
    [
        (Position(1, 10, 7), True),
        (Position(1, 11, 7), False),
        (Position(2, 5, 7), False),
        (Position(1, 5, 8), False),
    ],
)
def test_a_position_reaches_earlier_ones_of_its_own_log(other: Position, reaches: bool) -> None:
    assert Position(1, 10, 7).reaches(other) is reaches


async def test_a_question_under_way_is_not_joined() -> None:
    """It may have been answered before what the caller waits for was written."""
    answers, gates = iter(range(1, 10)), [asyncio.Event() for _ in range(9)]

    class Primary:
        async def read(self, *_args: object, **_options: object) -> Position:
            number = next(answers)
            await gates[number].wait()
            return Position(1, number, 7)

    shared = replicas._Shared(Primary())  # type: ignore[arg-type]
    first = asyncio.create_task(shared.now())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    later = [asyncio.create_task(shared.now()) for _ in range(3)]
    await asyncio.sleep(0)
    gates[1].set()
    gates[2].set()
    assert (await first).byte == 1
    assert [(await each).byte for each in later] == [2, 2, 2]
