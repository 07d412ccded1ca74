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
        self._gate = threading.Lock()
        """Held while a call, or the end, is put: no call is put behind the end."""
        self._closing = False
        self._thread = threading.Thread(target=self._serve, name="holdfast-loop", daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """The coroutine's result, or its error; Ctrl-C in the caller cancels it."""
        future = self._submitted(coroutine)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            if self._closing:
                raise ClosedError("This Memory was closed meanwhile.") from None
            raise
        except BaseException:
            if not future.done():
                future.cancel()
                concurrent.futures.wait([future], _JOIN_S)
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

    def _submitted(self, coroutine: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        fault = self._misuse()
        if fault is None:
            with self._gate:
                if not self._closing:
                    return asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        coroutine.close()
        raise fault or ClosedError("This Memory is closed.")

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            _cancel_all(self._loop)
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


def _cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.run_until_complete(loop.shutdown_default_executor())
