"""How fast backups are made and restored, and how much memory that takes.

    python bench/backup.py --memories 100000 [--postgres URL] [--sealed] [--folder DIR]

Fills a store in a folder, then makes a full and an incremental archive, verifies, and restores into
another SQLite file or, with --postgres, an empty database. Each step is a process of its own, which
tells its time, the time its threads computed, and its greatest resident size beyond that of a
process that only lists what is there.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

WORDS = "bees tea rum kent dog garden rain train piano violin bread cheese snow river boat".split()
BATCH = 1_000


def config(folder: Path, store: str, *, sealed: bool, postgres: str | None) -> dict[str, Any]:
    found: dict[str, Any] = {
        "path": str(folder / store),
        "workers": 0,
        "backup": {"provider": "folder", "config": {"path": str(folder / "backups")}},
    }
    if sealed:
        found["seal"] = {"provider": "file", "config": {"path": str(folder / "keys")}}
    if postgres and store == "restored":
        found["records"] = {"provider": "postgres", "config": {"url": postgres}}
    return found


def said(no: int) -> str:
    words = " ".join(WORDS[(no * step) % len(WORDS)] for step in (1, 3, 7, 11))
    return f"On day {no} I thought of {words}, number {no * 7_919 % 100_003}."


async def fill(settings: dict[str, Any], count: int) -> None:
    from holdfast import AsyncMemory

    async with AsyncMemory(settings) as memory:
        for start in range(0, count, BATCH):
            turns = [
                {"role": "user", "content": said(no)}
                for no in range(start, min(start + BATCH, count))
            ]
            await memory.add(turns, user_id=f"user{start // BATCH % 50}", infer=False)


async def step(name: str, settings: dict[str, Any], count: int) -> None:
    from holdfast.admin import AsyncAdmin

    if name == "fill":
        await fill(settings, count)
        return
    backups = AsyncAdmin(settings).backups
    if name == "create":
        await backups.create(full=True)
    elif name == "again":
        await backups.create()
    elif name == "verify":
        await backups.verify()
    elif name == "restore":
        await backups.restore()
    else:
        await backups.listed()


def measured(name: str, folder: Path, arguments: argparse.Namespace) -> tuple[float, float, float]:
    """Seconds, seconds of computing, and megabytes of a step in a process of its own."""
    command = [sys.executable, __file__, "--step", name, "--folder", str(folder)]
    command += ["--memories", str(arguments.memories)]
    command += ["--sealed"] if arguments.sealed else []
    command += ["--postgres", arguments.postgres] if arguments.postgres else []
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = json.loads(told.splitlines()[-1])
    return found["seconds"], found["cpu"], found["mb"]


def one_step(arguments: argparse.Namespace) -> None:
    store = "restored" if arguments.step == "restore" else "store"
    settings = config(
        Path(arguments.folder), store, sealed=arguments.sealed, postgres=arguments.postgres
    )
    from holdfast.config import load_config

    began = time.perf_counter()
    asyncio.run(step(arguments.step, load_config(settings).config, arguments.memories))
    took = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    cpu = time.process_time()
    print(json.dumps({"seconds": round(took, 3), "cpu": round(cpu, 3), "mb": round(peak, 1)}))


def everything(arguments: argparse.Namespace, folder: Path) -> None:
    if arguments.sealed:
        keys = folder / "keys"
        keys.touch(mode=0o600)
        keys.write_text("first:MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDA=\n")
    count = arguments.memories
    print(
        f"{count:,} memories, sealed: {arguments.sealed}, to Postgres: {bool(arguments.postgres)}"
    )
    measured("fill", folder, arguments)
    _, least_cpu, least = measured("list", folder, arguments)
    for name in ("create", "again", "verify", "restore"):
        seconds, cpu, mb = measured(name, folder, arguments)
        rate = f"{count / seconds:>9,.0f} memories/s"
        busy = f"{count / (cpu - least_cpu):>9,.0f} a second of computing"
        print(f"{name:8} {seconds:7.2f} s {rate} {busy} {mb - least:6.1f} MB beyond {least:.0f} MB")
    for one in sorted((folder / "backups").iterdir()):
        print(f"{one.name:40} {one.stat().st_size / 1e6:9.1f} MB")
    size = sum(one.stat().st_size for one in (folder / "store").iterdir())
    print(f"{'the store':40} {size / 1e6:9.1f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--memories", type=int, default=100_000)
    parser.add_argument("--postgres", help="an empty database to restore into")
    parser.add_argument("--sealed", action="store_true")
    parser.add_argument("--folder", help="where everything is put; a temporary one if left out")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    os.environ.pop("HOLDFAST_HOME", None)
    if arguments.step:
        one_step(arguments)
    elif arguments.folder:
        Path(arguments.folder).mkdir(parents=True, exist_ok=True)
        everything(arguments, Path(arguments.folder))
    else:
        with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as folder:
            everything(arguments, Path(folder))


if __name__ == "__main__":
    main()
