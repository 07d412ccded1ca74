"""How fast backups are made and restored, and how much memory that takes.

    python bench/backup.py --memories 100000 [--postgres [URL]] [--sealed] [--folder DIR]

Fills a store in a folder, then makes a full and an incremental archive, verifies, and restores into
another SQLite file or, with --postgres, an empty database, of which a full archive is made then
(`back`); without a URL in a Postgres that is started for it. Each step is a process of its own,
which tells its time, the time its threads computed, its greatest resident size beyond that of a
process that only lists what is there, and how much of that it had not needed for the first half of
the rows: what grows with a store shows there.
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
from contextlib import ExitStack
from pathlib import Path
from typing import Any

WORDS = "bees tea rum kent dog garden rain train piano violin bread cheese snow river boat".split()
BATCH = 1_000
OWN = "own"


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


async def step(name: str, settings: Any, count: int) -> float:
    """Do it; the greatest resident size at half of it, in megabytes."""
    from holdfast.admin import AsyncAdmin

    if name == "fill":
        await fill(settings, count)
        return 0.0
    backups = AsyncAdmin(settings).backups
    told = Halfway()
    if name == "create":
        await backups.create(full=True, told=told)
    elif name == "again":
        await backups.create(told=told)
    elif name == "verify":
        await backups.verify(told=told)
    elif name == "restore":
        await backups.restore(told=told)
    elif name == "back":
        await backups.create(full=True, at=str(Path(settings.path).parent / "back"), told=told)
    else:
        await backups.listed()
    return told.mb


class Halfway:
    """Looks at the greatest resident size once half of the rows are done."""

    def __init__(self) -> None:
        self.mb = peak_mb()

    def __call__(self, done: int, total: int) -> None:
        if done * 2 <= total:
            self.mb = peak_mb()


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measured(name: str, folder: Path, arguments: argparse.Namespace) -> dict[str, float]:
    """Seconds, seconds of computing, and megabytes of a step in a process of its own."""
    command = [sys.executable, __file__, "--step", name, "--folder", str(folder)]
    command += ["--memories", str(arguments.memories)]
    command += ["--sealed"] if arguments.sealed else []
    command += ["--postgres", arguments.postgres] if arguments.postgres else []
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found: dict[str, float] = json.loads(told.splitlines()[-1])
    return found


def one_step(arguments: argparse.Namespace) -> None:
    store = "restored" if arguments.step in ("restore", "back") else "store"
    settings = config(
        Path(arguments.folder), store, sealed=arguments.sealed, postgres=arguments.postgres
    )
    from holdfast.config import load_config

    began = time.perf_counter()
    half = asyncio.run(step(arguments.step, load_config(settings).config, arguments.memories))
    took, cpu, peak = time.perf_counter() - began, time.process_time(), peak_mb()
    print(json.dumps({"seconds": took, "cpu": cpu, "mb": peak, "later": peak - half}))


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
    least = measured("list", folder, arguments)
    steps = ("create", "again", "verify", "restore", *(["back"] if arguments.postgres else []))
    for name in steps:
        found = measured(name, folder, arguments)
        rate = f"{count / found['seconds']:>9,.0f} memories/s"
        busy = f"{count / (found['cpu'] - least['cpu']):>9,.0f} a second of computing"
        beyond = f"{found['mb'] - least['mb']:6.1f} MB beyond {least['mb']:.0f} MB"
        later = f"{found['later']:5.1f} MB of it in the second half"
        print(f"{name:8} {found['seconds']:7.2f} s {rate} {busy} {beyond}, {later}")
    for one in sorted((folder / "backups").iterdir()):
        print(f"{one.name:40} {one.stat().st_size / 1e6:9.1f} MB")
    size = sum(one.stat().st_size for one in (folder / "store").iterdir())
    print(f"{'the store':40} {size / 1e6:9.1f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--memories", type=int, default=100_000)
    parser.add_argument(
        "--postgres",
        nargs="?",
        const=OWN,
        help="an empty database to restore into; without a URL one of a Postgres of its own",
    )
    parser.add_argument("--sealed", action="store_true")
    parser.add_argument("--folder", help="where everything is put; a temporary one if left out")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    os.environ.pop("HOLDFAST_HOME", None)
    if arguments.step:
        one_step(arguments)
        return
    with ExitStack() as stack:
        if arguments.postgres == OWN:
            sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
            from support.postgres import USUAL, database

            arguments.postgres = stack.enter_context(database(USUAL, empty=True))
        folder = arguments.folder or stack.enter_context(tempfile.TemporaryDirectory())
        Path(folder).mkdir(parents=True, exist_ok=True)
        everything(arguments, Path(folder))


if __name__ == "__main__":
    main()
