"""Several processes that serve one deployment, on sockets they share.

The parent opens the sockets and answers no request. A process that dies is replaced; one that
cannot begin ends them all. A signal to the parent is passed on to each; without it they end.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from threading import Thread
from typing import Any

from msgspec.structs import replace

from holdfast.admin import AsyncAdmin
from holdfast.config import Config
from holdfast.errors import StoreUnavailableError
from holdfast.server.opening import open_patiently
from holdfast.server.rates.limiter import Limiter
from holdfast.server.run import STOPS, Started, check_proxies, check_tls, serve
from holdfast.server.telemetry import MULTIPROCESS

BEGIN_S = 5.0
"""Seconds within which a process that ends did not really begin."""
RESTART_PAUSE_S = 0.5

_log = logging.getLogger("holdfast.server")


def serve_all(
    config: Config, sockets: Sequence[socket.socket], log_format: str, started: Started
) -> int:
    """Serve with `server.processes` processes until told to stop; the exit code.

    Raises what opening the deployment raises, before any process is started; if its store is away,
    they are started, and what shows when it is there, or when the wait for it is over, ends them.
    """
    check_tls(config.server)
    check_proxies(config.server)
    late: _Preparing | None = None
    try:
        first = asyncio.run(_prepared(config, 0.0))
    except StoreUnavailableError:
        if not config.server.store_wait_s:
            raise
        late = _Preparing(config, started)
    folder = tempfile.mkdtemp(prefix="holdfast-metrics-")
    os.environ[MULTIPROCESS] = folder
    try:
        if late is None:
            started(first)
        return _Family(config, sockets, log_format, late).run()
    finally:
        del os.environ[MULTIPROCESS]
        shutil.rmtree(folder, ignore_errors=True)


async def _prepared(config: Config, wait_s: float) -> str | None:
    """Make or migrate the store once, and the first key; see that the rest could be opened."""
    await Limiter(config).close()
    admin = AsyncAdmin(replace(config, workers=0))
    await open_patiently(admin, wait_s)
    async with admin:
        first = await admin.first_key()
        return None if first is None else first.secret


class _Preparing:
    """Prepares the store as soon as it is there, on a thread of its own, while the processes send
    requests away."""

    def __init__(self, config: Config, started: Started) -> None:
        self._config = config
        self._started = started
        self._executor = ThreadPoolExecutor(1, "holdfast-prepare")
        self._future: Future[None] | None = None
        self._task: asyncio.Task[str | None] | None = None

    def begin(self, on_end: Callable[[], object]) -> None:
        """`on_end` is called from the thread when it is done, or has failed."""
        self._future = self._executor.submit(self._run)
        self._future.add_done_callback(lambda _: on_end())

    @property
    def error(self) -> BaseException | None:
        """Why the processes are to be ended."""
        if self._future is None or not self._future.done():
            return None
        error = self._future.exception()
        return None if isinstance(error, asyncio.CancelledError) else error

    def _run(self) -> None:
        with asyncio.Runner() as runner:
            self._started(runner.run(self._prepare()))

    async def _prepare(self) -> str | None:
        self._task = asyncio.current_task()
        return await _prepared(self._config, self._config.server.store_wait_s)

    def end(self) -> None:
        """Give it up, and wait until it has ended."""
        while self._future is not None and not self._future.done():
            if self._task is not None:
                with suppress(RuntimeError):  # its loop has just ended
                    self._task.get_loop().call_soon_threadsafe(self._task.cancel)
            futures.wait([self._future], 0.1)
        self._executor.shutdown()


class _Family:
    """The processes."""

    def __init__(
        self,
        config: Config,
        sockets: Sequence[socket.socket],
        log_format: str,
        late: _Preparing | None = None,
    ) -> None:
        self._late = late
        self._arguments = (config, list(sockets), log_format)
        self._spawn = multiprocessing.get_context("spawn")
        self._count = config.server.processes
        self._began: dict[BaseProcess, float] = {}
        self._stopping = False
        self._code = 0

    def run(self) -> int:
        """Keep so many running until told to stop. Raises what preparing the store late raised."""
        reading, self._waking = os.pipe()
        os.set_blocking(self._waking, False)
        before = {sig: signal.signal(sig, self._stop) for sig in STOPS}
        before_fd = signal.set_wakeup_fd(self._waking, warn_on_full_buffer=False)
        try:
            for _ in range(self._count):
                self._start()
            if self._late is not None:
                self._late.begin(lambda: os.write(self._waking, b"!"))
            while self._began:
                ready = wait([reading, *(process.sentinel for process in self._began)])
                if reading in ready:
                    os.read(reading, 64)
                self._give_up_if_unprepared()
                self._bury()
        finally:
            if self._late is not None:
                self._late.end()
            signal.set_wakeup_fd(before_fd)
            for sig, handler in before.items():
                signal.signal(sig, handler)
            os.close(reading)
            os.close(self._waking)
        if self._late is not None and self._late.error is not None:
            raise self._late.error
        return self._code

    def _give_up_if_unprepared(self) -> None:
        if self._late is not None and self._late.error is not None and not self._stopping:
            self._stopping = True
            self._tell(signal.SIGTERM)

    def _start(self) -> None:
        process = self._spawn.Process(target=_child, args=self._arguments, name="holdfast-serve")
        process.start()
        self._began[process] = time.monotonic()

    def _stop(self, sig: int, frame: Any) -> None:
        """Pass a signal on; a terminal's Ctrl-C does not reach the children by itself."""
        self._stopping = True
        self._tell(signal.SIGTERM)

    def _tell(self, sig: signal.Signals) -> None:
        for process in self._began:
            if process.is_alive() and process.pid is not None:
                os.kill(process.pid, sig)

    def _bury(self) -> None:
        from prometheus_client.multiprocess import mark_process_dead

        for process in [process for process in self._began if not process.is_alive()]:
            began = self._began.pop(process)
            code = process.exitcode or 0
            mark_process_dead(process.pid)  # type: ignore[no-untyped-call]
            process.close()
            if self._stopping:
                self._code = self._code or max(0, code)
            elif time.monotonic() - began < BEGIN_S:
                _log.error("a process could not begin (exit code %d): all are stopped", code)
                self._stopping, self._code = True, code if code > 0 else 1
                self._tell(signal.SIGTERM)
            else:
                _log.error("a process died (exit code %d): another takes its place", code)
                time.sleep(RESTART_PAUSE_S)
                self._start()


def _child(config: Config, sockets: list[socket.socket], log_format: str) -> None:
    from holdfast.server.logs import configure

    os.setsid()  # signals of the terminal go to the parent alone
    Thread(target=_end_with_parent, name="holdfast-parent", daemon=True).start()
    configure(log_format)
    raise SystemExit(serve(config, sockets))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)
