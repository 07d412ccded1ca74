"""Killed while it forgets a subject: never half a state that is believed whole."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

from holdfast.admin import AsyncAdmin
from support import thorough
from tests.engine.test_sealed import traces

KILLS = thorough.often(4, 60)
MEMORIES = 1_500
CANARY = "zanzibar"
ALICE = {"user_id": "alice"}

VICTIM = """
import asyncio, sys
from holdfast.admin import AsyncAdmin

async def main():
    async with AsyncAdmin({"path": sys.argv[1], "workers": 0}) as admin:
        print("open", flush=True)
        await admin.erasure.forget(user_id="alice", told=lambda *told: print(*told, flush=True))
        print("done", flush=True)

asyncio.run(main())
"""


async def made(store: Path) -> None:
    """A store that holds more of Alice than one batch, and something of Bob's."""
    async with AsyncAdmin({"path": str(store), "workers": 0}) as admin:
        for start in range(0, MEMORIES, 500):
            said = [{"role": "user", "content": f"{CANARY} {start + n}"} for n in range(500)]
            await admin.memory().add(said, **ALICE, infer=False)
        await admin.memory().add("I like tea.", user_id="bob")


def killed(store: Path, lines: int, delay_s: float) -> bool:
    """Forget, and be killed so long after so many lines; whether it said that it was done."""
    process = subprocess.Popen(
        [sys.executable, "-c", VICTIM, str(store)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    told = [process.stdout.readline() for _ in range(lines)]
    time.sleep(delay_s)
    process.kill()
    told += process.stdout.readlines()
    process.wait()
    process.stdout.close()
    return "done\n" in told


async def test_killed_at_any_moment_it_goes_on(tmp_path: Path) -> None:
    await made(tmp_path / "whole")
    chance = random.Random(5)
    seen = []
    for kill in range(KILLS):
        folder = tmp_path / f"k{kill}"
        shutil.copytree(tmp_path / "whole", folder / "store")
        done = killed(folder / "store", chance.randint(1, 5), chance.random() * 0.05)
        async with AsyncAdmin({"path": str(folder / "store"), "workers": 0}) as admin:
            begun = await admin.erasure.listed()
            there = (await admin.erasure.inventory(**ALICE))["history"]
            if not begun:  # it was killed before it began
                assert there == MEMORIES
            states = [one.state for one in begun]
            assert not done or states == ["DONE"]
            assert "FAILED" not in states
            if states == ["DONE"]:
                assert there == 0
            seen += states
            ended = await admin.erasure.resume()
            assert [one.state for one in ended] == ["DONE"] * states.count("RUNNING")
            if not begun:
                await admin.erasure.forget(**ALICE)
            assert not any((await admin.erasure.inventory(**ALICE)).values())
            bobs = await admin.memory().get_all(filters={"user_id": "bob"})
            assert len(bobs["results"]) == 1
        assert traces(folder, CANARY) == []
        shutil.rmtree(folder)
    assert "RUNNING" in seen, "never killed in the middle"
