"""An event loop on a thread of its own, so that blocking code can use the asynchronous core.

A daemon thread: a program that forgets `close()` still ends. What runs is cancelled when its
caller is interrupted; a forked child and the loop's own thread are refused, for both would wait
for ever.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import threading
from collections.abc import AsyncGenerator, Coroutine, Iterator
from typing import Any, TypeVar, cast

from holdfast.errors import ClosedError, UnsupportedError

T = TypeVar("T")

_JOIN_S = 10.0

_serving: dict[asyncio.AbstractEventLoop, LoopThread] = {}
"""The loops that blocking code uses, and their threads."""


def may_block() -> bool:
    """Whether the running loop serves blocking code, and not more than one caller: what waits for
    a disk may then wait on the loop, for nobody else would get on meanwhile."""
    thread = _serving.get(asyncio.get_running_loop())
    return thread is not None and thread.callers <= 1


class _Call:
    """A coroutine given to the loop, and the caller's wait for its end.

    Leaner than `asyncio.run_coroutine_threadsafe`, whose second future costs each call about as
    much as the work of a small one.
    """

    __slots__ = ("_coroutine", "_ended", "task")

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._coroutine = coroutine
        self._ended = threading.Lock()
        self._ended.acquire()
        self.task: asyncio.Task[Any] | None = None
        """Of the loop's thread; its outcome is anybody's once it has ended."""

    def start(self) -> None:
        """On the loop: begin."""
        self.task = asyncio.get_running_loop().create_task(self._coroutine)
        self.task.add_done_callback(self._end)

    def cancel(self) -> None:
        """On the loop: end it early."""
        if self.task is not None:
            self.task.cancel()

    def wait(self, timeout_s: float = -1) -> bool:
        """In the caller: till the end, once; whether it came in time."""
        return self._ended.acquire(timeout=timeout_s)

    def _end(self, task: asyncio.Task[Any]) -> None:
        if not task.cancelled():
            task.exception()  # looked at, so that none is logged whose caller was interrupted
        self._ended.release()


class LoopThread:
    """Runs coroutines on its loop and waits for them."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._process = os.getpid()
        self._gate = threading.Lock()
        """Held while a call, or the end, is put: no call is put behind the end."""
        self._closing = False
        self.callers = 0
        """How many calls wait for their ends."""
        _serving[self._loop] = self
        self._thread = threading.Thread(target=self._serve, name="holdfast-loop", daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """The coroutine's result, or its error; Ctrl-C in the caller cancels it."""
        call = self._submitted(coroutine)
        try:
            self._await(call)
            return cast("asyncio.Task[T]", call.task).result()
        except asyncio.CancelledError:
            if self._closing:
                raise ClosedError("This Memory was closed meanwhile.") from None
            # the caller may be a task of another loop, and it was not that one
            raise concurrent.futures.CancelledError from None
        finally:
            with self._gate:
                self.callers -= 1
            del call  # an error holds this frame, and the call would hold the error

    def each(self, pieces: AsyncGenerator[T, None]) -> Iterator[T]:
        """What an asynchronous generator gives, one by one; it is closed with this one."""
        try:
            while True:
                try:
                    yield self.run(_next(pieces))
                except StopAsyncIteration:
                    return
        finally:
            self.run(_closed(pieces))

    def _await(self, call: _Call) -> None:
        try:
            call.wait()
        except BaseException:
            if call.task is None or not call.task.done():
                self._loop.call_soon_threadsafe(call.cancel)
                call.wait(_JOIN_S)
            raise

    def close(self) -> None:
        """Cancel what still runs, stop the loop, end the thread. Idempotent."""
        if os.getpid() != self._process:
            return
        with self._gate:
            if not self._closing:
                self._closing = True
                self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_JOIN_S)

    def _submitted(self, coroutine: Coroutine[Any, Any, Any]) -> _Call:
        fault = self._misuse()
        if fault is None:
            with self._gate:
                if not self._closing:
                    call = _Call(coroutine)
                    self.callers += 1
                    self._loop.call_soon_threadsafe(call.start)
                    return call
        coroutine.close()
        raise fault or ClosedError("This Memory is closed.")

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            _cancel_all(self._loop)
            del _serving[self._loop]
            self._loop.close()

    def _misuse(self) -> Exception | None:
        if os.getpid() != self._process:
            return UnsupportedError(
                "This Memory was made before a fork.", hint="Make one in the child process."
            )
        if threading.current_thread() is self._thread:
            return UnsupportedError(
                "A blocking Memory was called from its own event loop.", hint="Use AsyncMemory."
            )
        return None


async def _next(pieces: AsyncGenerator[T, None]) -> T:
    return await anext(pieces)


async def _closed(pieces: AsyncGenerator[Any, None]) -> None:
    await pieces.aclose()


def _cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.run_until_complete(loop.shutdown_default_executor())
