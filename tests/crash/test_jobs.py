"""An add that needs a model survives the death of its process at each of its steps.

Once accepted, the turns are there and searchable, the job is done by whoever comes next, and its
facts are there once.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from holdfast.clock import ManualClock
from holdfast.engine import jobs
from holdfast.limits import JOB_LEASE_S
from support.embedded import add, find, opened
from tests.crash.doomed import FACTS, TURNS, USER, ScriptedLLM

ROOT = Path(__file__).parents[2]
NEVER_ACCEPTED = ("before 1",)
UNFINISHED = ("after 1", "asked", "before 2", "after 2", "before 3")
FINISHED = ("after 3",)

pytestmark = pytest.mark.crash


def die(path: Path, moment: str) -> None:
    """An add whose process is killed at this moment."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", "tests.crash.doomed", str(path), moment],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


@pytest.mark.parametrize("moment", [*NEVER_ACCEPTED, *UNFINISHED, *FINISHED])
async def test_an_add_killed_at(moment: str, tmp_path: Path) -> None:
    path = tmp_path / "holdfast.db"
    die(path, moment)
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]
    accepted = moment not in NEVER_ACCEPTED
    turns = rows(path, "SELECT text FROM messages ORDER BY no")
    assert turns == ([(text,) for text in TURNS] if accepted else [])
    llm = ScriptedLLM()
    clock = ManualClock(time.time() + JOB_LEASE_S + 1)
    async with opened(path, llm=llm, clock=clock) as parts:
        found = {id_ for id_, _ in await find(parts, "peanuts", USER)}
        assert bool(found) == accepted, "what was accepted is searchable before its job is done"
        assert await jobs.run_next(parts) == ("ran" if moment in UNFINISHED else "none")
        assert await jobs.run_next(parts) == "none"
        again = await add(parts, _said(), USER, idempotency_key="once")
        assert llm.asked == (0 if moment in FINISHED else 1)
        assert len(again) == len(FACTS)
        hits = [id_ for id_, _ in await find(parts, "peanuts", USER)]
        assert set(again) <= set(hits)
    texts = rows(path, "SELECT text FROM memories WHERE kind = 'fact' ORDER BY no")
    assert texts == [(text,) for text in FACTS]
    assert len(rows(path, "SELECT 1 FROM messages")) == len(TURNS)
    assert rows(path, "SELECT state FROM jobs") == [("SUCCEEDED",)]


def _said() -> list[dict[str, str]]:
    return [{"role": "user", "content": text} for text in TURNS]


@pytest.mark.parametrize("moment", ["before 3"])
async def test_a_call_to_the_model_is_in_the_ledger_though_its_answer_was_lost(
    moment: str, tmp_path: Path
) -> None:
    path = tmp_path / "holdfast.db"
    die(path, moment)
    assert len(rows(path, "SELECT 1 FROM usage")) == 1
    clock = ManualClock(time.time() + JOB_LEASE_S + 1)
    async with opened(path, llm=ScriptedLLM(), clock=clock) as parts:
        assert await jobs.run_next(parts) == "ran"
    assert len(rows(path, "SELECT 1 FROM usage")) == 2


async def test_a_dead_workers_job_waits_for_the_end_of_its_lease(tmp_path: Path) -> None:
    path = tmp_path / "holdfast.db"
    die(path, "asked")
    clock = ManualClock(time.time())
    async with opened(path, llm=ScriptedLLM(), clock=clock) as parts:
        assert await jobs.run_next(parts) == "none"
        clock.advance(JOB_LEASE_S + 1)
        assert await jobs.run_next(parts) == "ran"
