"""`Memory` is `AsyncMemory` without `await`, and its loop thread neither hangs nor leaks."""

from __future__ import annotations

import asyncio
import inspect
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from holdfast import AsyncMemory, ClosedError, ConfigError, Memory, NotFoundError, UnsupportedError
from holdfast.loop import LoopThread

ONLY_ASYNCHRONOUS = {"aclose"}


def public(owner: type) -> dict[str, Callable[..., Any]]:
    return {name: value for name, value in vars(owner).items() if not name.startswith("_")}


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Memory]:
    with Memory({"path": str(tmp_path)}) as opened:
        yield opened


def test_both_have_the_same_methods() -> None:
    assert set(public(AsyncMemory)) - ONLY_ASYNCHRONOUS == set(public(Memory))
    assert len(public(Memory)) > 15


@pytest.mark.parametrize("name", [*sorted(public(Memory)), "__init__"])
def test_signatures_and_promises_are_the_same(name: str) -> None:
    theirs, ours = getattr(AsyncMemory, name), getattr(Memory, name)
    assert inspect.signature(ours) == inspect.signature(theirs)
    assert (ours.__doc__ or "").split() == (theirs.__doc__ or "").split()
    assert not inspect.iscoroutinefunction(ours)


def test_errors_come_through(memory: Memory, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        memory.delete("0190a0a0-0000-7000-8000-000000000000")
    with pytest.raises(ConfigError):
        Memory({"path": str(tmp_path), "no_such_setting": 1})


OLD_FORMS: dict[str, Callable[[Any], Any]] = {
    "search": lambda memory: memory.search("tea", user_id="a"),
    "get_all": lambda memory: memory.get_all(user_id="a", limit=3),
    "add": lambda memory: memory.add("I drink tea.", user_id="a", metadata={"user_id": "b"}),
}
"""Calls that are warned of, each on a line of its own."""


def line_of(name: str) -> int:
    return OLD_FORMS[name].__code__.co_firstlineno


@pytest.mark.parametrize("name", OLD_FORMS)
def test_a_warning_names_the_line_of_a_blocking_caller(memory: Memory, name: str) -> None:
    with pytest.warns((DeprecationWarning, UserWarning)) as caught:
        OLD_FORMS[name](memory)
    assert [(one.filename, one.lineno) for one in caught] == [(__file__, line_of(name))]


@pytest.mark.parametrize("name", OLD_FORMS)
async def test_a_warning_names_the_line_of_an_awaiting_caller(tmp_path: Path, name: str) -> None:
    async def call(memory: AsyncMemory) -> None:
        await OLD_FORMS[name](memory)

    async with AsyncMemory({"path": str(tmp_path)}) as memory:
        with pytest.warns((DeprecationWarning, UserWarning)) as caught:
            await call(memory)
    line = call.__code__.co_firstlineno + 1
    assert [(one.filename, one.lineno) for one in caught] == [(__file__, line)]


def test_each_of_many_threads_is_named_by_its_own_line(memory: Memory) -> None:
    names = [*OLD_FORMS] * 20
    with pytest.warns((DeprecationWarning, UserWarning)) as caught, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: OLD_FORMS[name](memory), names))
    expected = Counter((__file__, line_of(name)) for name in names)
    assert Counter((one.filename, one.lineno) for one in caught) == expected


def test_a_warning_that_is_an_error_comes_before_anything_is_done(memory: Memory) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="Identity keys"):
            OLD_FORMS["add"](memory)
    assert memory.count({"user_id": "a"}) == 0


def test_a_deprecation_is_shown_to_the_author_of_a_script(tmp_path: Path) -> None:
    """Python's own filters show it where the line is in `__main__`, and once for each line."""
    script = tmp_path / "script.py"
    script.write_text(
        "from holdfast import Memory\n"
        f"with Memory({{'path': {str(tmp_path)!r}}}) as memory:\n"
        "    for _ in range(3):\n"
        "        memory.search('tea', user_id='a')\n"
    )
    command = [sys.executable, str(script)]
    result = subprocess.run(command, capture_output=True, check=True, text=True, timeout=60)
    assert result.stderr.count("DeprecationWarning") == 1
    assert f"{script}:4: DeprecationWarning" in result.stderr


def test_closing_twice_is_fine_and_using_afterwards_is_an_error(tmp_path: Path) -> None:
    memory = Memory({"path": str(tmp_path)})
    memory.close()
    memory.close()
    with pytest.raises(ClosedError):
        memory.add("late", user_id="a")


def test_several_threads_may_use_one(memory: Memory) -> None:
    with ThreadPoolExecutor(8) as pool:
        texts = [f"note number {number}" for number in range(64)]
        list(pool.map(lambda text: memory.add(text, user_id="a"), texts))
    assert memory.count({"user_id": "a"}) == 64


async def test_it_may_be_used_inside_somebody_elses_loop(memory: Memory) -> None:
    memory.add("said inside a coroutine", user_id="a")
    assert memory.count({"user_id": "a"}) == 1


def test_its_own_loop_is_refused() -> None:
    loop = LoopThread()

    async def inside() -> None:
        loop.run(asyncio.sleep(0))

    with pytest.raises(UnsupportedError, match="own event loop"):
        loop.run(asyncio.wait_for(inside(), 5))
    loop.close()


def test_interruption_cancels_the_work() -> None:
    loop, begun, cancelled = LoopThread(), threading.Event(), threading.Event()

    async def endless() -> None:
        begun.set()
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    def interrupt() -> None:
        begun.wait(5)
        time.sleep(0.05)  # until the caller waits for the result
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        loop.run(endless())
    assert cancelled.wait(5)
    loop.close()


def _use(memory: Memory, answer: Any) -> None:
    signal.alarm(10)  # a child that waits for ever must not outlive the test
    try:
        memory.count({"user_id": "a"})
    except UnsupportedError as error:
        answer.send(str(error))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_is_refused(memory: Memory) -> None:
    context = multiprocessing.get_context("fork")
    there, here = context.Pipe(duplex=False)
    child = context.Process(target=_use, args=(memory, here))
    child.start()
    child.join(20)
    assert child.exitcode == 0
    assert there.poll()
    assert "before a fork" in there.recv()
    assert memory.count({"user_id": "a"}) == 0


@pytest.mark.parametrize("end", ["", "raise SystemExit(3)"])
def test_a_program_that_forgets_to_close_still_ends(tmp_path: Path, end: str) -> None:
    code = (
        "from holdfast import Memory\n"
        f"memory = Memory({{'path': {str(tmp_path)!r}}})\n"
        f"memory.add('kept', user_id='a')\n{end}\n"
    )
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, check=False, text=True, timeout=60)
    assert result.returncode == (3 if "SystemExit" in end else 0), result.stderr
    assert result.stderr == ""
    with Memory({"path": str(tmp_path)}) as memory:
        assert memory.count({"user_id": "a"}) == 1
