"""What a test must not leave behind: threads, tasks and open database files of Holdfast."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PACKAGE = str(Path(__file__).parents[2] / "src" / "holdfast")
_DATABASE_SUFFIXES = (".db", ".db-wal", ".db-shm", ".sqlite", ".sqlite3")


def holdfast_threads() -> set[threading.Thread]:
    """Living threads whose name starts with "holdfast".

    Not the one that makes checkpoints: it is begun at the first, which may come in any test of a
    store that several share. What it would leave behind is an open database file.
    """
    names = {thread: thread.name for thread in threading.enumerate()}
    return {
        thread
        for thread, name in names.items()
        if name.startswith("holdfast") and name != "holdfast-checkpoint"
    }


def open_databases() -> set[str]:
    """Database files this process holds open (empty where /proc does not tell)."""
    found = set()
    folder = Path("/proc/self/fd")
    for name in os.listdir(folder) if folder.exists() else []:
        try:
            target = os.readlink(folder / name)
        except FileNotFoundError:
            continue
        if target.removesuffix(" (deleted)").endswith(_DATABASE_SUFFIXES):
            found.add(target)
    return found


def settled(what: Callable[[], set[Any]], before: set[Any], patience_s: float = 2.0) -> set[Any]:
    """What is still there beyond `before` after waiting for threads that are just ending."""
    deadline = time.monotonic() + patience_s
    while (left := what() - before) and time.monotonic() < deadline:
        time.sleep(0.01)
    return left


def is_ours(task: asyncio.Task[Any]) -> bool:
    """Whether a task runs a coroutine of the package."""
    code = getattr(task.get_coro(), "cr_code", None)
    return code is not None and code.co_filename.startswith(PACKAGE)


class TaskWatch:
    """Notes tasks of the package that are still pending when an event loop is closed.

    It stands in for the function with which `asyncio.Runner.close` cancels what is left.
    """

    def __init__(self, cancel_all: Callable[[asyncio.AbstractEventLoop], None]) -> None:
        self._cancel_all = cancel_all
        self.left: list[str] = []

    def __call__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.left += [repr(task) for task in asyncio.all_tasks(loop) if is_ours(task)]
        self._cancel_all(loop)
