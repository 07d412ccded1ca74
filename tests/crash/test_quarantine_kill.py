"""Killed while it lets in what is held: it is held still, or a memory; never both, or neither."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from holdfast.admin import AsyncAdmin
from support import thorough

ALICE = {"user_id": "alice"}
MOMENTS = ("before 1", "after 1")
TIMES = thorough.often(1, 5)

VICTIM = """
import asyncio, os, signal, sys
from holdfast.admin import AsyncAdmin
from holdfast.backends.sqlite.records import SqliteRecords

path, held_id, moment, verb, *numbers = sys.argv[1:]
commit, count = SqliteRecords.commit, 0

async def counted(self, project, ops):
    global count
    count += any(type(op).__name__ == "TakeRow" for op in ops)
    if moment == f"before {count}":
        os.kill(os.getpid(), signal.SIGKILL)
    results = await commit(self, project, ops)
    if moment == f"after {count}":
        os.kill(os.getpid(), signal.SIGKILL)
    return results

SqliteRecords.commit = counted

async def main():
    async with AsyncAdmin({"path": path, "workers": 0}) as admin:
        decide = getattr(admin.quarantine, verb)
        await decide([held_id], messages=[int(number) for number in numbers])

asyncio.run(main())
"""


def killed(path: Path, held_id: str, moment: str, *how: str) -> bool:
    """Approve (or what `how` says) in a process that kills itself; whether it did."""
    words = [sys.executable, "-c", VICTIM, str(path), held_id, moment, *(how or ("approve",))]
    return subprocess.run(words, check=False, timeout=60).returncode == -signal.SIGKILL


@pytest.mark.parametrize("moment", MOMENTS)
async def test_killed_at_its_commit_it_is_let_in_once(tmp_path: Path, moment: str) -> None:
    config = {"path": str(tmp_path), "workers": 0}
    for number in range(TIMES):
        async with AsyncAdmin(config) as admin:
            added = await admin.memory().add(f"tea {number}", **ALICE, trust="untrusted")
            held_id = added["results"][0]["id"]
        assert killed(tmp_path, held_id, moment)
        async with AsyncAdmin(config) as admin:
            held, count = await admin.quarantine.listed(), await admin.memory().count(ALICE)
            is_in = moment.startswith("after")
            assert (held.total, count) == ((0, number + 1) if is_in else (1, number))
            answer = await admin.quarantine.approve([held_id])
            assert answer["results"][0]["results"][0]["memory"] == f"tea {number}"
            assert await admin.memory().count(ALICE) == number + 1
            assert (await admin.quarantine.listed()).total == 0


@pytest.mark.parametrize("verb", ["approve", "reject"])
@pytest.mark.parametrize("moment", MOMENTS)
async def test_killed_at_a_decision_on_some_messages_nothing_is_lost_or_doubled(
    tmp_path: Path, moment: str, verb: str
) -> None:
    config = {"path": str(tmp_path), "workers": 0}
    async with AsyncAdmin(config) as admin:
        talk = ["one", "two", "three"]
        added = await admin.memory().add(talk, **ALICE, trust="untrusted")
        held_id = added["results"][0]["id"]
    assert killed(tmp_path, held_id, moment, verb, "1", "3")
    async with AsyncAdmin(config) as admin:
        [row] = (await admin.quarantine.listed()).rows
        left = [one["text"] for one in row.messages]
        kept = (await admin.memory().get_all(filters=ALICE, oldest_first=True))["results"]
        decided = moment.startswith("after")
        assert left == (["two"] if decided else talk)
        made = ["one", "three"] if decided and verb == "approve" else []
        assert [one["memory"] for one in kept] == made
        assert (row.id == held_id) != decided
        if verb == "approve":
            answer = await admin.quarantine.approve([held_id], messages=[3, 1])
            assert [one["memory"] for one in answer["results"][0]["results"]] == ["one", "three"]
            assert await admin.memory().count(ALICE) == 2
            assert (await admin.quarantine.listed()).total == 1
