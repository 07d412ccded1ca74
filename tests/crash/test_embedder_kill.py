"""Kill -9 while the embedder is changed: never half a state, and the next process goes on."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from unittest.mock import patch

from holdfast.admin import AsyncAdmin
from holdfast.engine import reembedding
from holdfast.errors import ConflictError
from tests.crash.embedder_victim import config, made

FACTS = [f"Fact number {n} of bees and tea" for n in range(40)]
KILLS = int(os.environ.get("HOLDFAST_KILLS", "12"))
_ROOT = Path(__file__).parents[2]
PATHS = [str(_ROOT / "src"), str(_ROOT / "tests"), str(_ROOT)]


async def fill(folder: str) -> None:
    async with AsyncAdmin({"path": folder, "embedder": {"provider": "old"}}) as admin:
        for fact in FACTS:
            await admin.memory().add(fact, user_id="ann", infer=False)


async def look(folder: str) -> set[str]:
    """What a fresh process finds: one active space, with everything; how the others stand."""
    async with AsyncAdmin(config(folder)) as admin:
        status = await admin.embedder.status()
        [active] = [each for each in status.spaces if each.status == "active"]
        assert active.missing == 0
        assert active.memories >= len(FACTS)
        found = await admin.memory().search(
            FACTS[7], filters={"user_id": "ann"}, threshold=0.0, top_k=3
        )
        assert found["results"][0]["memory"] == FACTS[7]
        assert "degraded" not in found
        others = [each for each in status.spaces if each.status != "active"]
        return {active.embedder, *(f"{o.status} {0 < o.missing < o.memories}" for o in others)}


async def carry_on(folder: str) -> None:
    """The next process brings the change to its end, and what is found is right."""
    async with AsyncAdmin(config(folder)) as admin:
        for step in (admin.embedder.change, admin.embedder.cutover):
            with suppress(ConflictError):  # the kill came after the cut-over
                await step()
        await admin.embedder.finish()
        spaces = (await admin.embedder.status()).spaces
        by_name = {each.embedder: each for each in spaces}
        assert by_name["tests:new"].status == "active"
        assert by_name["tests:old"].missing == by_name["tests:old"].memories


def test_killed_at_any_moment(tmp_path: Path) -> None:
    folder, chance = str(tmp_path / "store"), random.Random(11)
    seen: set[str] = set()
    with (
        patch("holdfast.assemble.make_embedder", made),
        patch.object(reembedding, "INDEX_LEASE_S", 0.2),
    ):
        asyncio.run(fill(folder))
        for _ in range(KILLS):
            victim = subprocess.Popen(
                [sys.executable, "-m", "tests.crash.embedder_victim", folder],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(PATHS)},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            assert victim.stdout is not None
            assert victim.stdout.readline() == "begun\n", victim.communicate()
            time.sleep(chance.uniform(0.0, 0.25))
            still = victim.poll() is None
            victim.kill()
            _, errors = victim.communicate()
            assert still, errors
            time.sleep(0.25)  # till the lease of the killed process is over
            seen |= asyncio.run(look(folder))
        asyncio.run(carry_on(folder))
    assert {"tests:old", "tests:new"} & seen
    assert any(each.endswith("True") for each in seen), "no kill came in the middle"
