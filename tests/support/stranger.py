"""A process that uses a store under restrictions and tells what it met, as JSON.

    python -m support.stranger FOLDER [--nobody] [--file-bytes-max N]

It opens the store, adds, searches. `--nobody` gives up the rights of root first (permission bits
do not bind root); `--file-bytes-max` stops files from growing, and lifts that again for a last add.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from holdfast import HoldfastError, Memory

NOBODY = 65534
_ADDS_MAX = 2_000


class Met(msgspec.Struct):
    """What a step of the process met: the code of its error, or nothing."""

    step: str
    code: str | None = None
    message: str = ""


def ask(folder: Path, *options: str) -> dict[str, Met]:
    """Run the process; what it met at each step it reached."""
    done = subprocess.run(
        [sys.executable, "-m", "support.stranger", str(folder), *options],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": f"tests{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    met = [msgspec.json.decode(line, type=Met) for line in done.stdout.splitlines()]
    return {one.step: one for one in met}


def main() -> None:
    """Carry out the steps until one fails, and close what was opened."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("--nobody", action="store_true")
    parser.add_argument("--file-bytes-max", type=int)
    given = parser.parse_args()
    _import_everything()
    if given.nobody and os.getuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    opened: list[Memory] = []
    if _step("open", lambda: opened.append(Memory(_config(given.folder)))):
        with opened[0] as memory:
            _use(memory, given.file_bytes_max)


def _config(folder: str) -> dict[str, Any]:
    return {"path": folder}


def _use(memory: Memory, file_bytes_max: int | None) -> None:
    _step("search", lambda: memory.search("tea", filters={"user_id": "ann"}))
    if file_bytes_max is None:
        _step("add", lambda: memory.add("stranger's tea", user_id="ann"))
        return
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes_max, most))
    _step("fill", lambda: _fill(memory))
    _step("search when full", lambda: memory.search("tea", filters={"user_id": "ann"}))
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    _step("add", lambda: memory.add("there is space again", user_id="ann"))


def _fill(memory: Memory) -> None:
    """Every add that returns is counted in the store; the first that does not ends it."""
    for number in range(_ADDS_MAX):
        memory.add(f"filler {number} " + "x" * 5_000, user_id="filler")


def _step(name: str, call: Callable[[], object]) -> bool:
    met = Met(name)
    try:
        call()
    except HoldfastError as error:
        met = Met(name, error.code, str(error))
    sys.stdout.write(msgspec.json.encode(met).decode() + "\n")
    return met.code is None


def _import_everything() -> None:
    """Whatever is imported late is imported now: nobody may be unable to read the libraries."""
    with tempfile.TemporaryDirectory() as folder, Memory(_config(folder)) as memory:
        memory.add("tea", user_id="ann")
        memory.search("tea", filters={"user_id": "ann"})


if __name__ == "__main__":
    main()
