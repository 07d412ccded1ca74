"""A worker that is killed: runs the jobs of a store with a scripted model, and tells of each call.

What the model says differs from call to call, so that work which was done twice shows.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import ascii_lowercase
from unittest.mock import patch

from holdfast.backends.sqlite.records import SqliteRecords
from holdfast.clock import ManualClock
from holdfast.engine import worker
from holdfast.limits import JOB_LEASE_S
from holdfast.model import Json, Project, Usage
from holdfast.ports import Answer, FinishJob, Op
from support.embedded import opened
from tests.crash.orders import Begun, Broken, Message, Opened, Order, Work, encode

_THINKS_S = 0.004
"""Longest time the model takes."""
_TURN = re.compile(r"number (\d+)x")
ROUND_S = JOB_LEASE_S + 1
"""Each worker lives so much later than the one before it, whose leases have run out by then."""


class Model:
    """Answers with one fact for the turn it is asked about, in words of this call alone."""

    name = "tests:worker"

    def __init__(self, order: Order, out: int) -> None:
        self._chance = random.Random(order.seed)
        self._out = out
        self._calls = 0

    async def complete(
        self, system: str, user: str, *, schema: Mapping[str, Json], timeout_s: float
    ) -> Answer:
        self._calls += 1
        work = Work(number=self._calls, user="worker", verb="ask")
        tell(self._out, Begun(work=work))
        await asyncio.sleep(self._chance.uniform(0, _THINKS_S))
        number = _TURN.findall(user)[-1]
        fact = {
            "turn": 1,
            "quote": f"number {number}x",
            "text": f"Fact {number} of call {self._mark()}",
            "when": "", "entities": [], "categories": [], "replaces": [],
        }  # fmt: skip
        text = json.dumps({"facts": [fact]})
        return Answer(text=text, usage=Usage(model=self.name, input_tokens=10, output_tokens=2))

    def _mark(self) -> str:
        """Letters of this call alone: a long number that nobody said would make no fact."""
        return "".join(self._chance.choices(ascii_lowercase, k=14))

    async def close(self) -> None:
        """Nothing to release."""


def tell(out: int, message: Message) -> None:
    os.write(out, encode(message) + b"\n")


def live(order: Order, out: int) -> int:
    """Work until killed; returns an exit code. `calls_max` counts the workers before this one."""
    try:
        if order.fault is not None:
            plant(order.fault)
        asyncio.run(_work(order, out))
    except Exception as error:
        tell(out, Broken(error=f"{type(error).__name__}: {error}"))
        raise
    return 0


async def _work(order: Order, out: int) -> None:
    clock = ManualClock(time.time() + order.calls_max * ROUND_S)
    async with opened(Path(order.path), llm=Model(order, out), clock=clock) as parts:
        tell(out, Opened())
        await asyncio.gather(*(worker.serve(parts) for _ in range(2)))


def plant(fault: str) -> None:
    """Break the promise that a job's results and its end are one transaction."""
    commit = SqliteRecords.commit

    async def in_two(self: SqliteRecords, project: Project, ops: Sequence[Op]) -> list[Json]:
        ends = [op for op in ops if isinstance(op, FinishJob)]
        rest = [op for op in ops if not isinstance(op, FinishJob)]
        if not ends or not rest:
            return await commit(self, project, ops)
        first, second = (ends, rest) if fault == "finishes first" else (rest, ends)
        done = await commit(self, project, first)
        await asyncio.sleep(0.002)
        return done + await commit(self, project, second)

    patch.object(SqliteRecords, "commit", in_two).start()
