"""Workers killed in the middle of their jobs, a hundred times: no job is lost, none done twice.

`HOLDFAST_KILLS=5000` makes the run longer.
"""

from __future__ import annotations

import asyncio
import os
import random
import selectors
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from holdfast.clock import ManualClock
from holdfast.engine import jobs
from support.embedded import add, opened
from tests.crash.book import LostError
from tests.crash.orders import Begun, Broken, Message, Order, decode_message
from tests.crash.worker_victim import ROUND_S, Model
from tests.crash.zygote import Zygote

KILLS = int(os.environ.get("HOLDFAST_KILLS", "100"))
JOBS_PER_KILL = 6
SEED = 20261125
_PATIENCE_S = 60.0
_FAULT_KILLS = 60

pytestmark = [pytest.mark.crash, pytest.mark.slow, pytest.mark.timeout(300 + KILLS * 2)]


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    with Zygote("tests.crash.worker_victim") as running:
        yield running


def test_no_job_is_lost_and_none_is_done_twice(zygote: Zygote, tmp_path: Path) -> None:
    path = tmp_path / "holdfast.db"
    count = asyncio.run(fill(path, KILLS * JOBS_PER_KILL))
    tally = kill_workers(zygote, path, KILLS)
    assert tally["kills"] == KILLS
    assert tally["in a call of the model"] > KILLS // 4, "they died in the middle of jobs"
    finish(path, KILLS)
    compare(path, count)


@pytest.mark.parametrize(
    ("fault", "told"), [("finishes first", "lost"), ("finishes last", "done twice")]
)
def test_the_killer_catches_a_planted_fault(
    zygote: Zygote, tmp_path: Path, fault: str, told: str
) -> None:
    path = tmp_path / "holdfast.db"
    count = asyncio.run(fill(path, _FAULT_KILLS * JOBS_PER_KILL))
    kill_workers(zygote, path, _FAULT_KILLS, fault)
    finish(path, _FAULT_KILLS)
    with pytest.raises(LostError, match=told):
        compare(path, count)


async def fill(path: Path, count: int) -> int:
    """Accept so many adds, of a few users, whose facts a model is still to find."""
    model = Model(Order(path="", seed=0, users=(), calls_max=0), 1)
    async with opened(path, llm=model) as parts:
        for number in range(count):
            said = [{"role": "user", "content": f"This is number {number}x of all."}]
            await add(parts, said, f"user{number % 7}", wait=False)
    return count


def kill_workers(zygote: Zygote, path: Path, kills: int, fault: str | None = None) -> Counter[str]:
    """Start a worker, kill it after a few calls of its model and a moment; again and again."""
    tally: Counter[str] = Counter()
    for number in range(kills):
        chance = random.Random(f"{SEED} {number}")
        order = Order(
            path=str(path), seed=chance.getrandbits(32), users=(), calls_max=number, fault=fault
        )
        pid, reading = zygote.start(order)
        calls = chance.randint(1, JOBS_PER_KILL)
        try:
            heard = listen(reading, calls)
            time.sleep(chance.uniform(0, 0.008))
        finally:
            os.kill(pid, signal.SIGKILL)
            code = zygote.bury(pid)
            os.close(reading)
        tally["kills"] += code == -signal.SIGKILL
        tally["in a call of the model"] += running(path) > 0
        for message in heard:
            if isinstance(message, Broken):
                raise LostError(f"a worker found: {message.error}")
    return tally


def listen(reading: int, calls: int) -> list[Message]:
    """What it says until it has asked its model so often, or there is nothing left to do."""
    messages: list[Message] = []
    rest, deadline = b"", time.monotonic() + _PATIENCE_S
    with selectors.DefaultSelector() as selector:
        selector.register(reading, selectors.EVENT_READ)
        while sum(isinstance(message, Begun) for message in messages) < calls:
            if not selector.select(1.0):
                if messages or time.monotonic() > deadline:
                    return messages  # nothing is left to do
                continue
            data = os.read(reading, 1 << 16)
            *lines, rest = (rest + data).split(b"\n")
            messages += map(decode_message, lines)
            if not data:
                return messages
    return messages


def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


def running(path: Path) -> int:
    [(count,)] = rows(path, "SELECT count(*) FROM jobs WHERE state = 'RUNNING'")
    assert isinstance(count, int)
    return count


def finish(path: Path, kills: int) -> None:
    """A last worker, which nobody kills, does what is left."""
    with open(os.devnull, "wb") as nowhere:
        model = Model(Order(path="", seed=1, users=(), calls_max=0), nowhere.fileno())
        asyncio.run(_finish(path, kills, model))


async def _finish(path: Path, kills: int, model: Model) -> None:
    clock = ManualClock(time.time() + (kills + 1) * ROUND_S)
    async with opened(path, llm=model, clock=clock) as parts:
        while await jobs.run_next(parts) != "none":
            pass


def compare(path: Path, jobs: int) -> None:
    """Every add has exactly one fact, with one vector and one entry of history."""
    if rows(path, "PRAGMA integrity_check") != [("ok",)]:
        raise LostError("the database is damaged")
    states = dict(rows(path, "SELECT state, count(*) FROM jobs GROUP BY state"))
    if states != {"SUCCEEDED": jobs}:
        raise LostError(f"jobs were lost: {states}")
    facts = Counter(
        str(text).split()[1]
        for (text,) in rows(path, "SELECT text FROM memories WHERE kind='fact'")
    )
    if twice := [number for number, count in facts.items() if count > 1]:
        raise LostError(f"{len(twice)} jobs were done twice")
    if len(facts) != jobs:
        raise LostError(f"{jobs - len(facts)} facts were lost")
    [(added,)] = rows(
        path,
        "SELECT count(*) FROM history WHERE event = 'ADD' AND memory_id IN "
        "(SELECT id FROM memories WHERE kind = 'fact')",
    )
    [(vectors,)] = rows(
        path,
        "SELECT count(*) FROM embeddings e JOIN memories m ON m.no = e.memory_no "
        "WHERE m.kind = 'fact'",
    )
    if (added, vectors) != (jobs, jobs):
        raise LostError(f"{added} entries of history and {vectors} vectors of {jobs} facts")
