"""The loop thread behind the blocking face: errors, Ctrl-C, forks, and the end of the program."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from holdfast.errors import ClosedError, UnsupportedError
from holdfast.loop import LoopThread

PATIENCE_S = 15.0


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    thread = LoopThread()
    yield thread
    thread.close()


async def value(of: int) -> int:
    await asyncio.sleep(0)
    return of


async def for_ever(said: threading.Event, ended: threading.Event) -> None:
    said.set()
    try:
        await asyncio.sleep(3_600)
    finally:
        ended.set()


def test_results_and_errors_come_through(loop: LoopThread) -> None:
    async def fail() -> None:
        raise ValueError("mine")

    assert loop.run(value(3)) == 3
    with pytest.raises(ValueError, match="mine"):
        loop.run(fail())
    assert loop.run(value(4)) == 4


def test_many_threads_may_call(loop: LoopThread) -> None:
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda n: loop.run(value(n)), range(200))) == list(range(200))


def test_calls_from_its_own_loop_are_refused(loop: LoopThread) -> None:
    async def call_blocking() -> None:
        loop.run(value(1))

    with pytest.raises(UnsupportedError, match="AsyncMemory"):
        loop.run(call_blocking())


async def test_calls_from_another_loop_are_allowed(loop: LoopThread) -> None:
    assert loop.run(value(5)) == 5


def test_closing_cancels_what_runs_and_refuses_what_comes(loop: LoopThread) -> None:
    said, ended = threading.Event(), threading.Event()
    faults: list[Exception] = []

    def call() -> None:
        try:
            loop.run(for_ever(said, ended))
        except (ClosedError, concurrent.futures.CancelledError) as error:
            faults.append(error)

    caller = threading.Thread(target=call)
    caller.start()
    assert said.wait(PATIENCE_S)
    loop.close()
    caller.join(PATIENCE_S)
    assert not caller.is_alive()
    assert ended.is_set()
    assert len(faults) == 1
    with pytest.raises(ClosedError):
        loop.run(value(1))
    loop.close()


def test_the_thread_is_gone_after_closing() -> None:
    before = threading.active_count()
    thread = LoopThread()
    assert threading.active_count() == before + 1
    thread.close()
    assert threading.active_count() == before


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_is_refused(loop: LoopThread) -> None:
    assert loop.run(value(1)) == 1
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            loop.run(value(2))
        except UnsupportedError as error:
            loop.close()  # must not wait for a thread that was not forked
            code = 0 if "fork" in str(error) else 2
        finally:
            os._exit(code)
    deadline = time.monotonic() + PATIENCE_S
    while (ended := os.waitpid(pid, os.WNOHANG)) == (0, 0) and time.monotonic() < deadline:
        time.sleep(0.01)
    if ended == (0, 0):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert ended[0] == pid, "the child hangs"
    assert os.waitstatus_to_exitcode(ended[1]) == 0
    assert loop.run(value(3)) == 3


_WAITING = """
import asyncio, sys, time
from holdfast.loop import LoopThread

async def work():
    print("working", flush=True)
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        print("cancelled", flush=True)
        raise

loop = LoopThread()
try:
    loop.run(work())
except KeyboardInterrupt:
    print("interrupted", flush=True)
async def value():
    return "usable"
print(loop.run(value()), flush=True)
loop.close()
"""


def test_ctrl_c_cancels_the_work_and_leaves_the_loop_usable() -> None:
    with subprocess.Popen([sys.executable, "-c", _WAITING], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"working\n"
        time.sleep(0.1)
        child.send_signal(signal.SIGINT)
        said, _ = child.communicate(timeout=PATIENCE_S)
        assert said.split() == [b"cancelled", b"interrupted", b"usable"]
        assert child.returncode == 0


_FORGETFUL = """
import sys, threading
from holdfast import Memory

memory = Memory({"path": sys.argv[1]})
memory.add("tea", user_id="ann")
if sys.argv[2] == "busy":
    def add():
        while True:
            memory.add("more tea", user_id="ann")
    threading.Thread(target=add, daemon=True).start()
print(len(memory.search("tea", filters={"user_id": "ann"})["results"]) > 0)
"""


@pytest.mark.parametrize("busy", ["idle", "busy"])
def test_a_program_that_forgets_to_close_ends(tmp_path: Path, busy: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _FORGETFUL, str(tmp_path), busy],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "True\n"
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_closing_while_others_call_leaves_nobody_waiting() -> None:
    """Every call ends: with its result, or because the loop is closed."""
    for _ in range(30):
        thread = LoopThread()
        endings = _Endings(thread, callers=4)
        thread.close()
        endings.wait(seconds=2.0)


class _Endings:
    """Threads that call until they are told that the loop is closed."""

    def __init__(self, thread: LoopThread, callers: int) -> None:
        self._loop = thread
        self._begin = threading.Barrier(callers + 1)
        self._callers = [threading.Thread(target=self._call, daemon=True) for _ in range(callers)]
        for caller in self._callers:
            caller.start()
        self._begin.wait()

    def _call(self) -> None:
        self._begin.wait()
        with suppress(ClosedError, concurrent.futures.CancelledError):
            while True:
                self._loop.run(value(1))

    def wait(self, seconds: float) -> None:
        for caller in self._callers:
            caller.join(seconds)
            assert not caller.is_alive(), "a caller waits for ever"
