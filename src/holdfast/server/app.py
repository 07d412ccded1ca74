"""The application: its routes, what lies around them in which order, and how it starts and ends."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI

import holdfast
from holdfast.admin import AsyncAdmin
from holdfast.config import Config
from holdfast.model import Json
from holdfast.server import document, health, mem0_oss, mem0_platform, metrics, own, problems
from holdfast.server.mcp import routes as mcp
from holdfast.server.opening import Opening
from holdfast.server.stack import surround
from holdfast.server.telemetry import Telemetry

PARTS = (*mem0_platform.PARTS, *mem0_oss.PARTS, *own.PARTS, mcp, health, metrics)
"""The modules that have routes; of two that fit a path, the first one answers."""


def build(config: Config | Mapping[str, Json] | str | Path | None = None) -> FastAPI:
    """The ASGI application of a configuration; the store is opened when it starts, or, if it is
    away, as soon as it is there: until then requests are answered with 503.

    Raises ConfigError.
    """
    admin = AsyncAdmin(config)
    telemetry = Telemetry(mem0_names=admin.config.server.metrics_mem0_names)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.opening = opening = Opening(app, admin, telemetry)
        await opening.begin()
        try:
            yield
        finally:
            await opening.close()

    app = FastAPI(
        title="Holdfast",
        version=holdfast.__version__,
        summary="Long-term memory for AI agents; speaks Mem0's APIs.",
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        lifespan=lifespan,
        redirect_slashes=False,
    )
    problems.install(app)
    for part in PARTS:
        app.router.routes.extend(part.router.routes)  # flat: an included router costs each request
    document.install(app)
    surround(app, admin.config.server, telemetry)
    return app
