"""A real server on a free port of this machine, in a thread of its own."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn

from holdfast.config import load_config
from holdfast.server.app import build
from holdfast.server.deployment import Deployment
from holdfast.server.run import Server, settings

ADMIN_KEY = "the-admin-key-of-the-tests"
PLAIN = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For `httpx.get(..., verify=PLAIN)`: spares each call the reading of all the world's CAs."""
_START_S = 30.0
_TICK_S = 0.1
_GLANCES = 50
"""How often it looks for connections that are just closing before it waits as uvicorn does."""


@dataclass
class Served:
    """Where a server listens, and what stands behind it."""

    url: str
    deployment: Deployment
    loop: asyncio.AbstractEventLoop
    key: str = ADMIN_KEY

    @property
    def headers(self) -> dict[str, str]:
        """What the administrator sends."""
        return {"Authorization": f"Token {self.key}"}

    def run(self, coroutine: Any) -> Any:
        """Run a coroutine of the deployment on the server's loop; its result."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(_START_S)


@contextmanager
def served(folder: Path, more: Mapping[str, Any] | None = None, **server: Any) -> Iterator[Served]:
    """Serve a new store in `folder`; `more` are further settings, `server` those of the server."""
    section = {"admin_key": ADMIN_KEY, "port": 0, "drain_s": 1.0, **server}
    config = load_config({"path": str(folder), **(more or {}), "server": section}).config
    app = build(config)
    instance = _Quiet(settings(app, config))
    thread = threading.Thread(target=instance.run, name="holdfast-test-server", daemon=True)
    thread.start()
    try:
        if not instance.up.wait(_START_S) or not instance.started:
            raise RuntimeError("the server did not start")
        port = instance.servers[0].sockets[0].getsockname()[1]
        yield Served(f"http://127.0.0.1:{port}", app.state.deployment, instance.loop)
    finally:
        instance.end()
        thread.join(_START_S)


class _Quiet(Server):
    """Says when it is up, leaves the signals of the process alone, and ends without a pause.

    uvicorn looks ten times a second whether it shall end, and then waits another tenth: nothing to
    a process, half of the time of a short test. How processes end is seen in `test_process.py`.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = threading.Event()
        self.loop: asyncio.AbstractEventLoop = asyncio.new_event_loop()
        self.loop.close()
        self._told = asyncio.Event()

    def end(self) -> None:
        """Tell it to stop, from any thread."""
        self.should_exit = True
        with suppress(RuntimeError):  # the loop is closed: it has ended, or never begun
            self.loop.call_soon_threadsafe(self._told.set)

    async def main_loop(self) -> None:
        ticks = 0
        while not await self.on_tick(ticks):
            ticks += 1
            with suppress(TimeoutError):
                await asyncio.wait_for(self._told.wait(), _TICK_S)

    async def shutdown(self, sockets: Any = None) -> None:
        for server in self.servers:
            server.close()
        state = self.server_state
        for connection in list(state.connections):
            connection.shutdown()
        for _ in range(_GLANCES):
            if not state.connections and not state.tasks:
                return
            await asyncio.sleep(_TICK_S / _GLANCES)
        await super().shutdown(sockets)

    def run(self, sockets: Any = None) -> None:
        try:
            with asyncio.Runner(loop_factory=self.config.get_loop_factory()) as runner:
                self.loop = runner.get_loop()
                runner.run(self._serve(sockets))
        finally:
            self.up.set()

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self.up.set()
