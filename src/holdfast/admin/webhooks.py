"""The public face of webhooks: addresses that are told of what happens in a project."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import get_args

from holdfast import limits
from holdfast.config import Config
from holdfast.core import intake, verbs
from holdfast.core.webhooks import clean_event_types, clean_url
from holdfast.directory import Delivery, DeliveryState, Webhook
from holdfast.engine import deliveries as delivering
from holdfast.engine import webhooks as engine
from holdfast.engine.auditing import audited
from holdfast.engine.parts import Parts
from holdfast.engine.webhooks import WebhookRequest
from holdfast.errors import ValidationError
from holdfast.registry import make_sender


@audited(verbs.WEBHOOKS, "webhooks.")
class Webhooks:
    """The webhooks of a deployment's projects; `AsyncAdmin.webhooks` gives it.

    Where a method takes `project`, None means the project of the configuration.
    """

    def __init__(self, parts: Callable[[str | None], Awaitable[Parts]], config: Config) -> None:
        """`parts`: gives those of a project, opened."""
        self._parts = parts
        self._private = config.server.webhook_private

    async def create(
        self, name: str, url: str, event_types: Sequence[str], *, project: str | None = None
    ) -> Webhook:
        """Have an address told of what happens in a project from now on.

        `event_types`: some of `core.webhooks.EVENT_TYPES`. The answer tells the secret that
        messages are signed with. Raises ValidationError, ConflictError for one too many.
        """
        request = self._request(name, url, event_types, None)
        assert request.name
        assert request.url
        assert request.event_types
        return await engine.create(
            await self._parts(project), request.name, request.url, request.event_types
        )

    async def listed(self, *, project: str | None = None) -> Sequence[Webhook]:
        """The webhooks of a project, the oldest first."""
        return await engine.listed(await self._parts(project))

    async def update(
        self,
        webhook_id: str,
        *,
        name: str | None = None,
        url: str | None = None,
        event_types: Sequence[str] | None = None,
        is_active: bool | None = None,
        project: str | None = None,
    ) -> Webhook:
        """Change a webhook; None leaves something as it is. Raises NotFoundError, ValidationError.

        One that is switched off is told of nothing that happens meanwhile.
        """
        request = self._request(name, url, event_types, is_active)
        return await engine.update(await self._parts(project), webhook_id, request)

    async def rotate_secret(
        self, webhook_id: str, *, grace_s: float = 0.0, project: str | None = None
    ) -> Webhook:
        """Sign with a new secret from now on, which the answer tells.

        For `grace_s` seconds messages are signed with both, so that receivers can be told of it
        meanwhile. Raises NotFoundError, ValidationError.
        """
        grace_s = intake.clean_seconds(grace_s, "grace_s")
        return await engine.rotate(await self._parts(project), webhook_id, grace_s)

    async def delete(self, webhook_id: str, *, project: str | None = None) -> None:
        """Delete a webhook and what waits to be sent to it. Raises NotFoundError."""
        await engine.delete(await self._parts(project), webhook_id)

    async def deliveries(
        self,
        webhook_id: str,
        *,
        state: DeliveryState | None = None,
        page: int = 1,
        page_size: int = 100,
        project: str | None = None,
    ) -> Sequence[Delivery]:
        """What was, is or will be sent to a webhook, of one state or all, the newest first."""
        if state is not None and state not in get_args(DeliveryState):
            raise ValidationError(
                "state is unknown.", hint=f"Use {', '.join(get_args(DeliveryState))}."
            )
        size = intake.clean_count(page_size, "page_size", limits.PAGE_SIZE_MAX)
        offset = (intake.clean_count(page, "page", 2**31) - 1) * size
        return await engine.deliveries(await self._parts(project), webhook_id, state, offset, size)

    async def rerun(self, webhook_id: str, delivery_id: str, *, project: str | None = None) -> None:
        """Send a dead-lettered message again. Raises NotFoundError, ConflictError."""
        await engine.rerun(await self._parts(project), webhook_id, delivery_id)

    async def serve(self) -> None:
        """Tell the webhooks of all projects what happens, until cancelled.

        Any number of processes may do so at once. Raises MissingExtraError.
        """
        parts = await self._parts(None)
        sender = await asyncio.to_thread(make_sender, self._private)  # reads all the world's CAs
        try:
            await delivering.serve(parts, sender)
        finally:
            await sender.close()

    def _request(
        self,
        name: str | None,
        url: str | None,
        event_types: Sequence[str] | None,
        is_active: bool | None,
    ) -> WebhookRequest:
        return WebhookRequest(
            name=None if name is None else intake.clean_text(name, "name", 256),
            url=None if url is None else clean_url(url, private=self._private),
            event_types=None if event_types is None else clean_event_types(event_types),
            is_active=None if is_active is None else intake.clean_flag(is_active, "is_active"),
        )
