"""What the routes of one server share."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import dataclass, field

from holdfast.admin import AsyncAdmin
from holdfast.server.auth import Authenticator, Verify
from holdfast.server.limiter import Limiter

_log = logging.getLogger("holdfast.server")


@dataclass
class Deployment:
    """The open deployment, and what stands in front of it."""

    admin: AsyncAdmin
    authenticator: Authenticator
    limiter: Limiter
    draining: bool = field(default=False)
    """Whether the server was told to stop: it is not ready for more."""

    tasks: tuple[asyncio.Task[None], ...] = ()
    """What runs beside the requests."""

    async def close(self) -> None:
        """Release everything the server added, then the deployment."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.limiter.close()
        await self.admin.aclose()


def deploy(admin: AsyncAdmin) -> Deployment:
    """Put the server's parts around an administrative face; in a running event loop."""
    verifiers: list[Verify] = []
    return Deployment(
        admin=admin,
        authenticator=Authenticator(admin, verifiers),
        limiter=Limiter(admin.config.server),
        tasks=(_beside(admin.serve_webhooks()),),
    )


def _beside(work: Coroutine[None, None, None]) -> asyncio.Task[None]:
    """A task that runs as long as the server; if it ends by itself, the log says so."""
    task = asyncio.create_task(work)
    task.add_done_callback(_told)
    return task


def _told(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("webhooks are not served any more: %s", type(error).__name__)
