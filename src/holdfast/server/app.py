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
    document,
    health,
    known_paths,
    mem0_oss,
    mem0_platform,
    metrics,
    own,
    pages,
    problems,
)
from holdfast.server.mcp import routes as mcp
from holdfast.server.opening import Opening
from holdfast.server.stack import surround
from holdfast.server.telemetry import Telemetry

PARTS = (*mem0_platform.PARTS, *mem0_oss.PARTS, *own.PARTS, mcp, health, metrics)
"""The modules that have routes; of two that fit a path, the first one answers."""


_DESCRIPTION = """
Send a key with every request, in whichever way your client does: `Authorization: Token <key>`,
`Authorization: Bearer <key>` or `X-API-Key: <key>`. The first start of a server prints one;
`POST /holdfast/keys` makes more, which may do less.

The same memories are behind all surfaces:

- **Mem0 platform**: `/v1`, `/v2`, `/v3` and `/api/v1`, as Mem0's hosted platform answers them.
- **Mem0 open source**: `/memories`, `/search` and so on, as Mem0's own server does.
- **Holdfast**: `/holdfast/<method>`, a route for each method of the library, and administration.

`/mcp` is for agents: it speaks the Model Context Protocol, which describes itself.

Bodies are JSON and need `Content-Type: application/json`. An error is a JSON object: `detail` says
what is wrong and what to do, `code` is its stable name, `request_id` finds it in the server's log.
Nothing is changed by a request that is refused. 429 and 503 say in `Retry-After` when to go on.
"""


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
        description=_DESCRIPTION,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        lifespan=lifespan,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
    )
    problems.install(app)
    for part in PARTS:
        app.router.routes.extend(part.router.routes)  # flat: an included router costs each request
    document.install(app)
    pages.install(app)
    known_paths.install(app)
    surround(app, admin.config.server, telemetry)
    return app
