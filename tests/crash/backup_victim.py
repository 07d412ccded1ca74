"""Makes or restores a backup and kills itself at a given point: `backup_victim.py what n when`.

`create n`: at the n-th part that is written; `restore n`: at the n-th load, `inside` of its
transaction or `after` it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

from holdfast.admin import AsyncAdmin
from holdfast.backends.backups import folder as folder_destination
from holdfast.backends.sql import archiving
from holdfast.backends.sqlite.archiving import SqliteArchiving
from holdfast.core.archive import Cutter
from holdfast.engine import restoring

CHUNK_ROWS = 5
LOAD_BYTES = 4_000


def small() -> None:
    """Many small chunks and transactions."""
    Cutter._ends = lambda self, _row: len(self._kept) == CHUNK_ROWS  # type: ignore[method-assign]
    restoring._LOAD_BYTES = LOAD_BYTES  # type: ignore[misc]


def config(folder: Path, name: str) -> dict[str, Any]:
    backup = {"provider": "folder", "config": {"path": str(folder / "backups")}}
    return {"path": str(folder / name), "workers": 0, "backup": backup}


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


async def create(settings: dict[str, Any], last: int) -> None:
    """Die with so many parts on the disk; with -1 when all are, and nothing is in place."""
    if last < 0:
        folder_destination.FolderDestination._settle = lambda *_: die()  # type: ignore[method-assign]
    else:
        to_thread = asyncio.to_thread
        count = 0

        async def counting(function: Any, *values: Any, **more: Any) -> Any:
            nonlocal count
            if getattr(function, "__name__", "") == "write":
                count += 1
                if count > last:
                    die()
            return await to_thread(function, *values, **more)

        asyncio.to_thread = counting
    await AsyncAdmin(settings).backups.create()


async def restore(settings: dict[str, Any], last: int, when: str) -> None:
    """Die at a load."""
    if when == "inside":
        note = archiving.note

        def noting(connection: Any, done: int) -> None:
            if done == last:
                die()
            note(connection, done)

        archiving.note = noting
    else:
        load = SqliteArchiving.load

        async def loading(self: SqliteArchiving, loads: Any, done: int) -> None:
            await load(self, loads, done)
            if done == last:
                die()

        SqliteArchiving.load = loading  # type: ignore[method-assign]
    await AsyncAdmin(settings).backups.restore()


if __name__ == "__main__":
    what, number, moment, place = sys.argv[1:5]
    small()
    if what == "create":
        asyncio.run(create(config(Path(place), "store"), int(number)))
    else:
        asyncio.run(restore(config(Path(place), "other"), int(number), moment))
