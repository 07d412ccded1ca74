"""Opening the deployment while its record store may still be away.

A server, or a worker, is often started beside its database, and not behind it. It asks again until
the store is there, for so long as the setting `server.store_wait_s` says. What no waiting mends, as
a wrong password or a schema that is too new, ends it at once, whenever that shows.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from fastapi import FastAPI
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from holdfast.admin import AsyncAdmin
from holdfast.errors import StoreUnavailableError
from holdfast.server import problems
from holdfast.server.deployment import Deployment, deploy
from holdfast.server.telemetry import Telemetry

PAUSE_S = 0.25
"""Seconds between the first two tries; doubles up to PAUSE_MAX_S."""
PAUSE_MAX_S = 5.0

_log = logging.getLogger("holdfast.server")


async def open_patiently(admin: AsyncAdmin, wait_s: float) -> None:
    """Open it, again and again for `wait_s` seconds while its store is away.

    Raises StoreUnavailableError when that time is over, and what else opening raises at once.
    """
    time = asyncio.get_running_loop().time
    ends, pause_s, is_told = time() + wait_s, PAUSE_S, False
    while True:
        try:
            await admin.open()
        except StoreUnavailableError as error:
            left_s = ends - time()
            if left_s <= 0:
                raise
            if not is_told:
                told = "the record store is away (%s): it is asked again for %g s at most"
                _log.warning(told, error.message, wait_s)
                is_told = True
        else:
            if is_told:
                _log.warning("the record store is there")
            return
        await asyncio.sleep(min(pause_s, left_s))
        pause_s = min(PAUSE_MAX_S, 2 * pause_s)


class Opening:
    """Puts the open deployment into `app.state.deployment`, which is None until then."""

    def __init__(self, app: FastAPI, admin: AsyncAdmin, telemetry: Telemetry) -> None:
        self._app = app
        self._admin = admin
        self._telemetry = telemetry
        self._rest: asyncio.Task[None] | None = None
        self.error: BaseException | None = None
        """Why the deployment will never be open."""
        self.on_end: Callable[[], None] = lambda: None
        """Called when it is open, or never will be; not if it was open at once."""
        app.state.deployment = None

    @property
    def deployment(self) -> Deployment | None:
        """The deployment, as soon as it is open."""
        found: Deployment | None = self._app.state.deployment
        return found

    async def begin(self) -> None:
        """Open it, or go on trying in the background if its store is away. Raises what else opening
        it raises, and StoreUnavailableError if there is nothing to wait for."""
        wait_s = self._admin.config.server.store_wait_s
        try:
            await open_patiently(self._admin, 0.0)
            self._app.state.deployment = deploy(self._admin, self._telemetry)
        except StoreUnavailableError:
            if not wait_s:
                raise
            self._rest = asyncio.create_task(self._open_later(wait_s))
            self._rest.add_done_callback(self._ended)
        except BaseException:
            await self._admin.aclose()
            raise

    async def _open_later(self, wait_s: float) -> None:
        await open_patiently(self._admin, wait_s)
        self._app.state.deployment = deploy(self._admin, self._telemetry)

    def _ended(self, rest: asyncio.Task[None]) -> None:
        if rest.cancelled():
            return
        self.error = rest.exception()
        if self.error is not None:
            _log.error("the server cannot begin: %s", self.error)
        self.on_end()

    async def close(self) -> None:
        """Give it up, or close what is open."""
        if self._rest is not None:
            self._rest.cancel()
            await asyncio.gather(self._rest, return_exceptions=True)
        if self.deployment is not None:
            await self.deployment.close()
        else:
            await self._admin.aclose()


class Waiting:
    """Sends requests away until the deployment is open; health checks are answered."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_open = scope["type"] != "http" or scope["app"].state.deployment is not None
        if is_open or scope["path"].startswith("/health"):
            return await self.app(scope, receive, send)
        error = StoreUnavailableError(
            "The record store was not there yet since the server began.",
            hint="Try again.",
            retry_after_s=PAUSE_MAX_S,
        )
        response = await problems.ours(Request(scope), error)
        return await response(scope, receive, send)
