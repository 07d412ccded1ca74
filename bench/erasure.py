"""How long it takes to erase one subject of many, verified and with its receipt.

    .venv/bin/python bench/erasure.py                 # 10,000 users of 5 memories, SQLite
    .venv/bin/python bench/erasure.py --sealed
    .venv/bin/python bench/erasure.py --postgres URL  # an empty database

Prints one JSON document.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import secrets
import tempfile
import time
from pathlib import Path
from typing import Any

from holdfast.admin import AsyncAdmin

AT_ONCE = 64
CANARY = "zanzibar"


async def fill(admin: AsyncAdmin, subjects: int, memories: int) -> None:
    """Users with so many memories each; one add a user."""
    gate = asyncio.Semaphore(AT_ONCE)
    memory = admin.memory()

    async def one(number: int) -> None:
        async with gate:
            said = [
                {"role": "user", "content": f"I keep thing {n} of {number} in {CANARY}{number}."}
                for n in range(memories)
            ]
            await memory.add(said, user_id=f"user-{number}", infer=False)

    await asyncio.gather(*map(one, range(subjects)))


async def measured(config: dict[str, Any], subjects: int, memories: int) -> dict[str, Any]:
    """Seconds of some erasures, one after the other."""
    async with AsyncAdmin(config) as admin:
        begun = time.perf_counter()
        await fill(admin, subjects, memories)
        filled_s = time.perf_counter() - begun
        times = []
        for number in (subjects // 2, 0, subjects - 1, 1, 2):
            begun = time.perf_counter()
            ended = await admin.erasure.forget(user_id=f"user-{number}")
            times.append(time.perf_counter() - begun)
            assert ended.state == "DONE"
            assert ended.found["memories"] == memories
        left = await admin.memory().search(CANARY, filters={"user_id": "user-0"})
        assert left["results"] == []
    return {
        "subjects": subjects,
        "memories_each": memories,
        "fill_s": round(filled_s, 1),
        "erasures_s": [round(each, 3) for each in times],
        "worst_s": round(max(times), 3),
    }


def main() -> None:
    """Measures, and prints what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subjects", type=int, default=10_000)
    parser.add_argument("--memories", type=int, default=5)
    parser.add_argument("--sealed", action="store_true")
    parser.add_argument("--postgres", metavar="URL")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        config: dict[str, Any] = {"path": folder, "workers": 0}
        if given.sealed:
            file = Path(folder) / "master.keys"
            key = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
            file.write_text(f"bench:{key}\n")
            file.chmod(0o600)
            config["seal"] = {"provider": "file", "config": {"path": str(file)}}
        if given.postgres:
            config["records"] = {"provider": "postgres", "config": {"url": given.postgres}}
        result = asyncio.run(measured(config, given.subjects, given.memories))
    result |= {"sealed": given.sealed, "records": "postgres" if given.postgres else "sqlite"}
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
