"""What the routes of one server share."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field

from holdfast.admin import AsyncAdmin
from holdfast.server.auth.credentials import Authenticator, Verifier
from holdfast.server.auth.oidc import issuer_verifier
from holdfast.server.auth.secret import signing_key
from holdfast.server.auth.tokens import Tokens, account_verifier
from holdfast.server.backed_up import BackedUp
from holdfast.server.census import Counted
from holdfast.server.rates.limiter import Limiter
from holdfast.server.request_log import RequestLog
from holdfast.server.telemetry import Telemetry

_log = logging.getLogger("holdfast.server")


@dataclass
class Deployment:
    """The open deployment, and what stands in front of it."""

    admin: AsyncAdmin
    authenticator: Authenticator
    limiter: Limiter
    tokens: Tokens
    telemetry: Telemetry
    counted: Counted
    watching: asyncio.Task[None]
    """Measures the event loop."""
    telling: asyncio.Task[None]
    """Tells webhooks what happens."""
    noting: asyncio.Task[None]
    """Writes which keys were used."""
    pruning: asyncio.Task[None]
    """Prunes the audit by rule."""
    backing_up: asyncio.Task[None]
    """Makes backups by the schedule, if there is one."""
    backed_up: BackedUp
    """How backups stand."""
    erasing: asyncio.Task[None]
    """Goes on with erasures whose process died."""
    retaining: asyncio.Task[None]
    """Removes what is older than the rules of its project allow."""
    requests: RequestLog = field(default_factory=RequestLog)
    draining: bool = field(default=False)
    """Whether the server was told to stop: it is not ready for more."""

    async def close(self) -> None:
        """Release everything the server added, then the deployment."""
        beside = (
            self.watching, self.telling, self.noting, self.pruning, self.backing_up, self.erasing,
            self.retaining,
        )  # fmt: skip
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
        await self.limiter.close()
        await self.admin.aclose()


def deploy(admin: AsyncAdmin, telemetry: Telemetry) -> Deployment:
    """Put the server's parts around an open administrative face."""
    tokens = Tokens(signing_key(admin.config))
    verifiers: list[Verifier] = [account_verifier(admin, tokens)]
    of_issuer = issuer_verifier(admin)
    if of_issuer is not None:
        verifiers.append(of_issuer)
    limiter = Limiter(admin.config)  # it may refuse its settings: before tasks are begun
    telling = asyncio.create_task(admin.webhooks.serve())
    telling.add_done_callback(_ended)
    backing_up = asyncio.create_task(admin.backups.serve())
    backing_up.add_done_callback(_backed_up_no_more)
    return Deployment(
        admin=admin,
        authenticator=Authenticator(admin, verifiers),
        limiter=limiter,
        tokens=tokens,
        telemetry=telemetry,
        counted=Counted(admin),
        watching=asyncio.create_task(telemetry.watch(admin.metrics, lambda: limiter.shared)),
        telling=telling,
        noting=asyncio.create_task(admin.write_key_uses()),
        pruning=asyncio.create_task(admin.audit.serve()),
        backing_up=backing_up,
        backed_up=BackedUp(admin),
        erasing=asyncio.create_task(admin.erasure.serve()),
        retaining=asyncio.create_task(admin.retention.serve()),
    )


def _ended(telling: asyncio.Task[None]) -> None:
    """Say that webhooks are told nothing any more, unless the server ends."""
    if not telling.cancelled() and (error := telling.exception()) is not None:
        _log.error("webhooks are told nothing any more: %s", type(error).__name__)


def _backed_up_no_more(backing_up: asyncio.Task[None]) -> None:
    """Say that no backups are made any more, unless the server ends."""
    if not backing_up.cancelled() and (error := backing_up.exception()) is not None:
        _log.error("no backups are made by the schedule: %s: %s", type(error).__name__, error)
