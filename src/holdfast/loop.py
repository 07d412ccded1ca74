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
from collections.abc import Coroutine
from typing import Any, TypeVar

from holdfast.errors import ClosedError, UnsupportedError

T = TypeVar("T")

_JOIN_S = 10.0


class LoopThread:
    """Runs coroutines on its loop and waits for them."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._process = os.getpid()
        self._thread = threading.Thread(target=self._serve, name="holdfast-loop", daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """The coroutine's result, or its error; Ctrl-C in the caller cancels it."""
        fault = self._fault()
        if fault is not None:
            coroutine.close()
            raise fault
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except BaseException:
            if not future.done():
                future.cancel()
                concurrent.futures.wait([future], _JOIN_S)
            raise

    def close(self) -> None:
        """Cancel what still runs, stop the loop, end the thread. Idempotent."""
        if self._loop.is_closed() or os.getpid() != self._process:
            return
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_JOIN_S)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            _cancel_all(self._loop)
            self._loop.close()

    def _fault(self) -> Exception | None:
        if os.getpid() != self._process:
            return UnsupportedError(
                "This Memory was made before a fork.", hint="Make one in the child process."
            )
        if threading.current_thread() is self._thread:
            return UnsupportedError(
                "A blocking Memory was called from its own event loop.", hint="Use AsyncMemory."
            )
        return ClosedError("This Memory is closed.") if self._loop.is_closed() else None


def _cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.run_until_complete(loop.shutdown_default_executor())
