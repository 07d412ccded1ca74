"""Who asks, for the audit; and the row of a request that came to no method."""

from __future__ import annotations

import logging

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from holdfast.acts import Actor, acting
from holdfast.core.access import Principal
from holdfast.core.audit import outcome_of
from holdfast.errors import HoldfastError
from holdfast.server.deployment import Deployment
from holdfast.trail import Outcome

_DENIED = (401, 403, 429)
_UNTOLD = frozenset({"metrics"})
"""Operations whose success leaves no row: they count, and are asked every few seconds."""

_log = logging.getLogger("holdfast.audit")


def introduce(scope: Scope, principal: Principal) -> None:
    """Who sent a request is known now."""
    scope["holdfast_principal"] = principal
    actor = scope.get("holdfast_actor")
    if isinstance(actor, Actor):
        actor.principal, actor.kind = principal.id, principal.kind


class Audited:
    """Lets everything that a request does be told with who sent it.

    What is done leaves its row where it is done. A request that did nothing, as one that is denied,
    leaves one here, once it is answered.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        client = scope.get("client")
        actor = scope["holdfast_actor"] = Actor(
            via="mcp" if scope["path"] == "/mcp" else "http",
            address=client[0] if client else "",
            request_id=scope["holdfast_request_id"],
        )
        status = 500

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        with acting(actor):
            try:
                return await self.app(scope, receive, watch)
            finally:
                if not actor.acted:
                    await _note(scope, actor, status)


async def _note(scope: Scope, actor: Actor, status: int) -> None:
    operation = scope.get("holdfast_operation")
    outcome, code = _outcome(scope, status)
    if operation is None or (operation in _UNTOLD and outcome == "ok"):
        return
    principal = scope.get("holdfast_principal")
    project = principal.project if isinstance(principal, Principal) else None
    deployment: Deployment = scope["app"].state.deployment
    try:
        await deployment.admin.audit.asked(operation, actor, outcome, code=code, project=project)
    except HoldfastError as error:
        _log.error("a row of the audit waits: %s", error.code)


def _outcome(scope: Scope, status: int) -> tuple[Outcome, str | None]:
    error = scope.get("holdfast_error")
    if isinstance(error, HoldfastError):
        return outcome_of(error)
    if status < 400:
        return "ok", None
    return "denied" if status in _DENIED else "failed", f"HTTP_{status}"
