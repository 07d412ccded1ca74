"""A process that is killed while it works leaves a chain that verifies, and a row of each add."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from holdfast.admin import AsyncAdmin
from support.thorough import often

_VICTIM = """
import asyncio, sys
from holdfast.admin import AsyncAdmin

async def lane(memory, user):
    number = 0
    while True:
        added = await memory.add(f"{user} keeps {number} bees", user_id=user)
        print(added["results"][0]["id"], flush=True)
        await memory.search("bees", filters={"user_id": user})
        number += 1

async def main():
    async with AsyncAdmin({"path": sys.argv[1], "audit_reads": sys.argv[2]}) as admin:
        await asyncio.gather(*(lane(admin.memory(), f"u{n}") for n in range(4)))

asyncio.run(main())
"""


def killed(folder: Path, reads: str, after: int) -> set[str]:
    """Let a process work, and kill it after so many adds; the memories that it told of."""
    command = [sys.executable, "-c", _VICTIM, str(folder), reads]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as victim:
        assert victim.stdout is not None
        told = [victim.stdout.readline() for _ in range(after)]
        victim.kill()
        told += victim.stdout.readlines()
    return {line.decode().strip() for line in told if line.endswith(b"\n")}


@pytest.mark.crash
@pytest.mark.parametrize("reads", ["batched", "durable"])
async def test_a_killed_process_leaves_a_good_chain(tmp_path: Path, reads: str) -> None:
    known: set[str] = set()
    for kill in range(often(2, 20)):
        known |= await asyncio.to_thread(killed, tmp_path / "s", reads, 30 + 7 * kill)
        async with AsyncAdmin({"path": str(tmp_path / "s")}) as admin:
            assert all(one.is_good for one in await admin.audit.verify())
            told: set[str | None] = set()
            async for rows in await admin.audit.export(action="add"):
                told |= {row.target for row in rows}
            stored: set[str | None] = set()
            for user in range(4):
                page = await admin.memory().get_all(filters={"user_id": f"u{user}"}, top_k=1_000)
                stored |= {memory["id"] for memory in page["results"]}
    assert len(known) > 40
    assert known <= stored
    assert stored == told, "each memory has its row, and each row its memory"
