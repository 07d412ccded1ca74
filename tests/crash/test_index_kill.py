"""Processes killed while they feed an index or build it anew: it catches up, and lacks nothing.

`HOLDFAST_INDEX_KILLS=200` makes the run longer.
"""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import patch

import pytest

from holdfast.engine import reindexing
from holdfast.engine.comparing import Drift
from holdfast.testing.contracts.values import ALICE, RED, SPACE
from tests.crash.index_victim import parts

KILLS = int(os.environ.get("HOLDFAST_INDEX_KILLS", "8"))
_ROOT = Path(__file__).parents[2]
_PATIENCE_S = 60.0

pytestmark = [pytest.mark.crash, pytest.mark.slow, pytest.mark.timeout(120 + KILLS * 10)]


def lived(folder: Path, number: int, dice: random.Random, *fault: str) -> list[str]:
    """What a process told that it committed before it was killed, a line a commit."""
    command = [sys.executable, "-m", "tests.crash.index_victim", str(folder), str(number), *fault]
    env = {**os.environ, "PYTHONPATH": f"{_ROOT / 'src'}:{_ROOT / 'tests'}:{_ROOT}"}
    victim = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=_ROOT, env=env)
    assert victim.stdout is not None
    lines = [victim.stdout.readline()]
    time.sleep(dice.uniform(0.05, 0.8))
    victim.kill()
    lines += victim.stdout.readlines()
    victim.wait(_PATIENCE_S)
    victim.stdout.close()
    assert lines[0], "it died by itself"
    return [line.strip() for line in lines if line.endswith("\n")]


async def settled(folder: Path, number: int, wanted: set[str], *, rebuilt: bool) -> None:
    """Another process goes on: afterwards the index holds what the records do, and no more."""
    records, builds, feeder = parts(folder, number)
    await records.open(SPACE)
    try:
        if rebuilt:
            await reindexing.rebuild(feeder)
        await feeder.round()
        delta = await records.delta(RED, ALICE, None)
        held = {memory.id for memory in delta.memories}
        assert wanted <= held, "what was told to be committed is there"
        count = len(held)
        drift = await reindexing.verify(feeder, repair=False)
        assert drift == Drift(memories=count, points=count)
        status = await reindexing.status(feeder)
        assert (status.building is None, status.projects_behind) == (True, 0)
        await feeder.finish()
    finally:
        await builds.close()
        await records.close()


def killed_often(folder: Path, kills: int, *fault: str) -> None:
    """Kill a process after the other, and look after each whether the index is right."""
    dice = random.Random(20261126)
    wanted: set[str] = set()
    with patch.multiple(reindexing, SWITCH_S=0.0, AGAIN_S=0.0):
        for number in range(kills):
            rebuilds = number % 2
            for line in lived(folder, 10 * number + rebuilds, dice, *fault):
                come, _, gone = line.partition(" -")
                wanted = (wanted | {come}) - {gone}
            wanted -= {id_ for id_ in wanted if id_.endswith(("2", "7"))}  # perhaps gone, untold
            asyncio.run(settled(folder, 10 * number + 5, wanted, rebuilt=bool(rebuilds)))
    assert len(wanted) > kills


def test_a_killed_feeder_leaves_nothing_behind(tmp_path: Path) -> None:
    killed_often(tmp_path, KILLS)


def test_the_killer_catches_a_planted_fault(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="Drift"):
        killed_often(tmp_path, 5, "hasty")
