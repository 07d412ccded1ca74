"""What the routes of one server share."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field

from holdfast.admin import AsyncAdmin
from holdfast.server.auth import Authenticator, Verify
from holdfast.server.census import Counted
from holdfast.server.limiter import Limiter
from holdfast.server.telemetry import Telemetry


@dataclass
class Deployment:
    """The open deployment, and what stands in front of it."""

    admin: AsyncAdmin
    authenticator: Authenticator
    limiter: Limiter
    telemetry: Telemetry
    counted: Counted
    watching: asyncio.Task[None]
    """Measures the event loop."""
    draining: bool = field(default=False)
    """Whether the server was told to stop: it is not ready for more."""

    async def close(self) -> None:
        """Release everything the server added, then the deployment."""
        self.watching.cancel()
        with suppress(asyncio.CancelledError):
            await self.watching
        await self.limiter.close()
        await self.admin.aclose()


def deploy(admin: AsyncAdmin, telemetry: Telemetry) -> Deployment:
    """Put the server's parts around an open administrative face."""
    verifiers: list[Verify] = []
    return Deployment(
        admin=admin,
        authenticator=Authenticator(admin, verifiers),
        limiter=Limiter(admin.config.server),
        telemetry=telemetry,
        counted=Counted(admin),
        watching=asyncio.create_task(telemetry.watch(admin.metrics)),
    )
