"""Records and their index in one Postgres: what is committed of a memory is committed of its point,
and nobody needs to feed it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any
from unittest.mock import patch

import pytest

from holdfast.backends.postgres.bridge import wait
from holdfast.backends.postgres.session import Session
from holdfast.backends.sql import operations
from holdfast.backends.sql.changes import Changes, forget_all
from holdfast.backends.sql.dialect import Connection
from holdfast.engine import reindexing
from holdfast.filters import Compare
from holdfast.model import Project
from holdfast.ports import (
    EditMemory,
    Index,
    Op,
    RemoveMemories,
    Reset,
    SetVectors,
    held_number,
    space_number,
)
from holdfast.testing.contracts.index import IndexContract, Over, said, search
from holdfast.testing.contracts.values import ALICE, BLUE, NOW, RED, SPACE, Make, commit, turns
from support import postgres
from support.joined import Joined, database, name_of

POINTS = 'holdfast_index."joined"'


@pytest.fixture
def url() -> Iterator[str]:
    with database() as given:
        yield given


@pytest.fixture
async def store(url: str) -> AsyncIterator[Joined]:
    made = Joined(url)
    await made.open(SPACE)
    assert made.joined
    yield made
    await made.close()


class TestBesideTheRecords(IndexContract):
    """Every sentence of `ports.Index`, and nobody feeds anything."""

    @pytest.fixture
    def make(self, url: str) -> Make:
        return lambda: Joined(url)

    @pytest.fixture
    def over(self) -> Over:
        def made(store: Any) -> Index:
            assert isinstance(store, Joined)
            return store.index()

        return made


def ask(url: str, sql: str) -> list[Any]:
    return postgres.shared(18).ask(sql, name_of(url))


async def is_level(store: Joined, memories: int, project: Project = RED) -> None:
    """The index has these memories, all as they are, and says so."""
    drift = await store.drift(project)
    assert (drift.memories, drift.points, drift.total) == (memories, memories, 0)
    standing = await store.indexing.standing(project, ALICE, "joined")
    assert standing.held >= standing.generation


async def found(store: Joined) -> set[str]:
    index = store.index()
    try:
        return {hit.memory.id for hit in await search(index)}
    finally:
        await index.close()


def removal(*ids: str) -> RemoveMemories:
    return RemoveMemories(filter=Compare("id", "in", list(ids)), at=NOW)


CHANGES: list[tuple[tuple[Op, ...], int]] = [
    ((said("a", "green tea"), said("b", "black tea", user_id="bob")), 2),
    ((said("c", "coffee", run_id="r1"),), 3),
    ((EditMemory(memory_id="a", at=NOW, text="water", vector=b"\0\0\x80?" * 4),), 3),
    ((EditMemory(memory_id="b", at=NOW, metadata={"k": 1}),), 3),
    ((EditMemory(memory_id="c", at=NOW, text="milk", vector=None),), 3),
    ((SetVectors(vectors=(("c", b"\0\0\x80?" * 4),)),), 3),
    ((said("d", "tea of today", supersedes=("a",)),), 4),
    ((removal("b"), said("e", "more")), 4),
    ((removal("a", "c"),), 2),
    ((Reset(),), 0),
    ((said("a", "green tea"),), 1),
    ((said("f", "gone at once"), Reset(), said("g", "after that")), 1),
]


async def test_every_change_is_in_the_index_with_its_commit(store: Joined) -> None:
    for ops, memories in CHANGES:
        await commit(store, *ops)
        await is_level(store, memories)
    await commit(store, said("x", "another project"), project=BLUE)
    await is_level(store, 1, BLUE)
    await is_level(store, 1)
    assert store.left == 0
    feeder = store.feeder
    with patch.object(feeder, "put", side_effect=AssertionError("there is nothing to feed")):
        assert await feeder.round()
    assert await found(store) == {"g"}


async def test_without_the_index_part_the_records_would_be_ahead(store: Joined) -> None:
    with patch.object(Session, "end_with"):
        await commit(store, said("a", "green tea"))
    with pytest.raises(AssertionError):
        await is_level(store, 1)


def counted() -> tuple[list[int], Any]:
    """Round trips of each transaction that is committed, and a patch that counts them."""
    trips: list[int] = []
    real = Session.commit

    async def noting(session: Session) -> None:
        await real(session)
        trips.append(session.round_trips)

    return trips, patch.object(Session, "commit", noting)


async def test_the_index_costs_no_round_trip(store: Joined, url: str) -> None:
    alone = postgres.records(url)
    await alone.open(SPACE)
    found: list[list[int]] = []
    for records, name in ((alone, "a"), (store, "b")):
        await commit(records, said(f"{name}1", "first"), project=Project(name))
        trips, counting = counted()
        with counting:
            await commit(records, said(f"{name}2", "second"), project=Project(name))
            await commit(
                records, *(said(f"{name}{n}", str(n)) for n in range(3, 23)), project=Project(name)
            )
            edit = EditMemory(memory_id=f"{name}2", at=NOW, metadata={"k": 1})
            await commit(records, edit, project=Project(name))
            await commit(records, removal(f"{name}3"), project=Project(name))
        found.append(trips)
    await alone.close()
    assert found[0] == found[1]
    await is_level(store, 21, Project("b"))


async def test_others_send_what_they_always_sent(url: str) -> None:
    """Records without an index beside them: not one statement more."""
    seen: list[str] = []
    real = Session.execute

    def noting(session: Session, sql: str, parameters: Any = ()) -> Any:
        seen.append(sql)
        return real(session, sql, parameters)

    alone = postgres.records(url)
    await alone.open(SPACE)
    with patch.object(Session, "execute", noting), patch.object(Session, "end_with") as ending:
        await commit(alone, said("a", "green tea"))
    await alone.close()
    assert not ending.called
    assert not [sql for sql in seen if "m.terms, e.vector" in sql or "held" in sql]


async def test_commits_that_share_a_transaction_share_its_points(store: Joined) -> None:
    trips, counting = counted()
    with counting:
        await asyncio.gather(*(commit(store, said(f"m{n}", f"tea {n}")) for n in range(40)))
    assert len(trips) < 5
    await is_level(store, 40)


async def test_a_commit_without_memories_does_not_ask_for_the_index(store: Joined) -> None:
    with patch("holdfast.backends.postgres.records.Following", side_effect=AssertionError):
        await commit(store, turns("t"))


async def kill(url: str) -> None:
    sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}'"
    ending = f"{sql.format(name_of(url))} AND application_name = 'holdfast'"
    await asyncio.to_thread(postgres.shared(18).ask, ending)


async def test_a_connection_that_is_cut_takes_both_or_neither(store: Joined, url: str) -> None:
    """Cut after the records are written, and again before COMMIT is sent."""
    record, real = operations.record, Session._send
    cuts = {"record": 0, "commit": 0}

    def cutting(connection: Connection, group: list[Changes]) -> int | None:
        generation = record(connection, group)
        cuts["record"] += 1
        if cuts["record"] % 3 == 1:
            wait(kill(url))
        return generation

    async def sending(session: Session) -> None:
        if session._waiting[-1][1] == "COMMIT" and session._last is not None:
            cuts["commit"] += 1
            if cuts["commit"] % 3 == 1:
                await kill(url)
        await real(session)

    with patch.object(operations, "record", cutting), patch.object(Session, "_send", sending):
        for n in range(6):
            await commit(store, said(f"m{n}", f"tea {n}"))
            await is_level(store, n + 1)
    assert min(cuts.values()) > 6
    assert store.left == 0


async def test_a_commit_whose_answer_is_lost(store: Joined) -> None:
    real, lost = Session.commit, 0

    async def losing(session: Session) -> None:
        nonlocal lost
        await real(session)
        if session._last is not None and not lost:
            lost += 1
            session.give_up()
            raise postgres.psycopg.OperationalError("the connection is lost")

    with patch.object(Session, "commit", losing):
        assert await commit(store, said("a", "green tea")) == ["a"]
    assert lost == 1
    await is_level(store, 1)


BREAKS: dict[str, tuple[str, str]] = {
    "the table is gone": (
        f"ALTER TABLE {POINTS} RENAME TO away",
        'ALTER TABLE holdfast_index.away RENAME TO "joined"',
    ),
    "another shape": (
        f"ALTER TABLE {POINTS} RENAME COLUMN mark TO sign",
        f"ALTER TABLE {POINTS} RENAME COLUMN sign TO mark",
    ),
    "no right": (
        f"ALTER TABLE {POINTS} OWNER TO postgres",
        f"ALTER TABLE {POINTS} OWNER TO {postgres.ROLE}",
    ),
}


@pytest.mark.parametrize("fault", BREAKS)
async def test_a_failing_index_does_not_keep_a_memory(store: Joined, url: str, fault: str) -> None:
    breaking, mending = BREAKS[fault]
    await commit(store, said("a", "green tea"))
    ask(url, breaking)
    assert await commit(store, said("b", "black tea")) == ["b"]
    assert store.left == 1
    assert await commit(store, said("c", "white tea"), removal("a")) == ["c", ["a"]]
    assert store.left == 2
    ask(url, mending)
    # still behind: it is not written around what it lacks
    await commit(store, said("d", "red tea"))
    assert (await store.drift()).points == 1
    assert await found(store) == {"b", "c", "d"}
    assert await store.feeder.round()
    await is_level(store, 3)
    left = store.left
    await commit(store, said("e", "more tea"))
    await is_level(store, 4)
    assert store.left == left


async def test_a_table_that_somebody_keeps_is_not_waited_for(url: str) -> None:
    store = Joined(url, lock_timeout_s=600.0, statement_timeout_s=600.0)
    await store.open(SPACE)
    await commit(store, said("a", "green tea"))
    with postgres.psycopg.connect(url) as other:
        other.execute(f"LOCK TABLE {POINTS} IN SHARE MODE".encode())
        async with asyncio.timeout(60):
            await commit(store, said("b", "black tea"))
    assert store.left == 1
    assert await store.feeder.round()
    await is_level(store, 2)
    await store.close()


async def test_when_everything_changed_it_is_compared_first(store: Joined) -> None:
    """As after the terms of all memories were made anew."""
    await commit(store, said("a", "green tea"))
    await store.write(None, forget_all)
    await commit(store, said("b", "black tea"))
    assert store.left == 1
    assert (await store.drift()).missing == 1
    assert await store.feeder.round()
    await commit(store, said("c", "white tea"))
    await is_level(store, 3)
    assert store.left == 1


async def test_a_collection_that_is_not_known_to_be_ours_is_not_written(store: Joined) -> None:
    store.feeder.dropped(0)
    await commit(store, said("a", "green tea"))
    assert store.left == 1
    assert (await store.drift()).points == 0


async def test_what_was_there_before_is_fed_first(url: str) -> None:
    before = postgres.records(url)
    await before.open(SPACE)
    await commit(before, said("a", "green tea"))
    store = Joined(url)
    await store.open(SPACE)
    await commit(store, said("b", "black tea"))
    assert store.left == 1
    assert (await store.drift()).points == 0
    assert await store.feeder.round()
    await commit(store, said("c", "white tea"))
    await is_level(store, 3)
    # an instance that does not know the index writes between
    await commit(before, said("d", "red tea"))
    await commit(store, said("e", "more tea"))
    assert (await store.drift()).missing == 2
    assert await store.feeder.round()
    await is_level(store, 5)
    await before.close()
    await store.close()


async def test_a_reset_while_the_index_is_behind_is_left_to_the_feeder(
    store: Joined, url: str
) -> None:
    await commit(store, said("a", "green tea"))
    with patch.object(Session, "end_with"):
        await commit(store, said("b", "black tea"))
    await commit(store, Reset())
    assert (await store.drift()).points == 1
    assert await store.feeder.round()
    await is_level(store, 0)


async def test_it_is_right_while_it_is_built_anew(store: Joined, url: str) -> None:
    other = Joined(url, seed=2)
    await other.open(SPACE)
    await commit(store, *(said(f"m{n}", f"tea {n}") for n in range(5)))
    writing = True

    async def write() -> int:
        count = 5
        while writing:
            await commit((store, other)[count % 2], said(f"m{count}", f"tea {count}"))
            count += 1
            await asyncio.sleep(0)
        return count

    task = asyncio.create_task(write())
    with patch.multiple(reindexing, SWITCH_S=0.2, AGAIN_S=0.0):
        assert (await reindexing.rebuild(store.feeder)).build == 1
    writing = False
    count = await task
    for each in (store, other):
        await each.feeder.round()
        each.feeder._lease.forget()
        await each.feeder._lease.release()
    drift = await store.drift()
    assert (drift.memories, drift.points, drift.total) == (count, count, 0)
    left = store.left
    await commit(store, said("last", "tea"))
    await is_level(store, count + 1)
    assert store.left == left
    numbers = await store.indexing.numbers(held_number("joined", 0))
    assert not numbers, "of the collection that is gone"
    await other.close()


async def test_a_collection_gets_the_vectors_of_its_own_space(store: Joined, url: str) -> None:
    await commit(store, said("a", "green tea"))
    assert await store.indexing.move(space_number("joined", 0), None, 999)
    await commit(store, said("b", "black tea"))
    rows = ask(
        url, f"SELECT id, embedding IS NULL FROM {POINTS} WHERE project = '{RED}' ORDER BY id"
    )
    assert rows == [("a", False), ("b", True)]


async def test_another_database_is_another_place(url: str) -> None:
    with database() as elsewhere:
        store = Joined(url, elsewhere)
        await store.open(SPACE)
        assert not store.joined
        await commit(store, said("a", "green tea"))
        assert (await store.drift()).points == 0
        await store.close()


async def test_a_user_who_may_not_write_the_index_leaves_it(url: str) -> None:
    """The records' user is another one than the index's."""
    store = Joined(url, postgres.shared(18).url(name_of(url), "postgres"))
    await store.open(SPACE)
    assert not store.joined
    await commit(store, said("a", "green tea"))
    assert (await store.drift()).points == 0
    await store.close()
