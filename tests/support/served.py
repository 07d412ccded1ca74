"""A real server on a free port of this machine, in a thread of its own."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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
        instance.should_exit = True
        thread.join(_START_S)


class _Quiet(Server):
    """Says when it is up, and leaves the signals of the process alone."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = threading.Event()
        self.loop: asyncio.AbstractEventLoop = asyncio.new_event_loop()
        self.loop.close()

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
