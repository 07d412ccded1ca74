"""`holdfast serve`: the application on uvicorn, and an orderly end."""

from __future__ import annotations

import asyncio
from typing import Any

import uvicorn
from fastapi import FastAPI

from holdfast.config import Config
from holdfast.server.app import build

HEADER_BYTES_MAX = 65_536
KEEP_ALIVE_S = 30


class Server(uvicorn.Server):
    """Tells load balancers that it is going before it stops taking requests."""

    def handle_exit(self, sig: int, frame: Any) -> None:
        deployment = getattr(_application(self.config).state, "deployment", None)
        if deployment is not None:
            deployment.draining = True
        super().handle_exit(sig, frame)


def serve(config: Config) -> None:
    """Serve until told to stop (SIGTERM, Ctrl-C); then finish what runs, at most `drain_s`."""
    server = Server(settings(build(config), config))
    with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
        runner.run(server.serve())


def settings(app: FastAPI, config: Config) -> uvicorn.Config:
    """The server's settings in uvicorn's words."""
    section = config.server
    return uvicorn.Config(
        app,
        host=section.host,
        port=section.port,
        ssl_certfile=section.tls_cert or None,
        ssl_keyfile=section.tls_key or None,
        proxy_headers=bool(section.trusted_proxies),
        forwarded_allow_ips=section.trusted_proxies or None,
        limit_concurrency=section.connections_max,
        timeout_graceful_shutdown=int(section.drain_s),
        timeout_keep_alive=KEEP_ALIVE_S,
        h11_max_incomplete_event_size=HEADER_BYTES_MAX,
        access_log=False,
        server_header=False,
        date_header=True,
        log_level="warning",
        lifespan="on",
    )


def _application(config: uvicorn.Config) -> FastAPI:
    app = config.app
    assert isinstance(app, FastAPI)
    return app
