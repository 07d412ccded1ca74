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
from holdfast.server import (
    health,
    mcp,
    mem0_oss,
    mem0_oss_accounts,
    mem0_platform,
    mem0_platform_setup,
    metrics,
    own,
    own_admin,
    problems,
)
from holdfast.server.deployment import deploy
from holdfast.server.stack import surround

PARTS = (
    mem0_platform,
    mem0_platform_setup,
    mem0_oss,
    mem0_oss_accounts,
    own,
    own_admin,
    mcp,
    health,
    metrics,
)
"""The modules that have routes."""


def build(config: Config | Mapping[str, Json] | str | Path | None = None) -> FastAPI:
    """The ASGI application of a configuration; the store is opened when it starts.

    Raises ConfigError.
    """
    admin = AsyncAdmin(config)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with admin:
            app.state.deployment = deployment = deploy(admin)
            try:
                yield
            finally:
                await deployment.close()

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
        app.include_router(part.router)
    surround(app, admin.config.server)
    return app
