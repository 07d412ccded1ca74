"""A request's first steps, the same for every route: who calls, may they, and not too often."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from fastapi import Request

from holdfast import credential
from holdfast.admin import AsyncAdmin
from holdfast.client import AsyncMemory
from holdfast.core.access import Principal, Rule, decide
from holdfast.server.auditing import introduce
from holdfast.server.auth.credentials import anyone
from holdfast.server.deployment import Deployment

OPEN_ROUTE = "open"
"""In place of an operation: the route asks for no credential."""


@dataclass(frozen=True, slots=True)
class Context:
    """What a route works with: the caller's memory, and nothing of anybody else's."""

    principal: Principal
    memory: AsyncMemory
    deployment: Deployment
    operation: str
    rule: Rule

    @property
    def admin(self) -> AsyncAdmin:
        """The deployment's administrative face; routes name the principal's project to it."""
        return self.deployment.admin

    @property
    def project(self) -> str:
        """The caller's project."""
        return self.principal.project

    async def count_user(self, user_id: object) -> None:
        """Count the call against the limits of a user. Raises RateLimitError."""
        if isinstance(user_id, str):
            await self.deployment.limiter.count_user(self.project, user_id, self.rule.load)


def allow(operation: str) -> Callable[[Request], Awaitable[Context]]:
    """The dependency of a route that carries out this operation.

    Raises AuthenticationError, AccessError, RateLimitError.
    """

    async def context(request: Request) -> Context:
        admitted: Context | None = request.scope.get("holdfast_context")
        if admitted is not None and admitted.operation == operation:
            return admitted
        return await admit(request, operation)

    context.operation = operation  # type: ignore[attr-defined]
    return context


async def admit(request: Request, operation: str) -> Context:
    """Who calls, and that they may carry out this operation now.

    Raises AuthenticationError, AccessError, RateLimitError.
    """
    scope = request.scope
    deployment: Deployment = request.app.state.deployment
    scope["holdfast_operation"] = operation
    config = deployment.admin.config
    if operation == "metrics" and config.server.metrics_open:
        principal = anyone(config.project)
    else:
        principal = await deployment.authenticator.principal(request)
    introduce(scope, principal)
    credential.came_with(principal.id)
    rule = decide(principal, operation)
    scope["holdfast_limit"] = await deployment.limiter.count_key(principal, rule.load)
    memory = deployment.admin.memory(principal.project, principal.fence, principal.trust)
    context = Context(principal, memory, deployment, operation, rule)
    scope["holdfast_context"] = context
    return context


def counted(what: str, per_minute: int) -> Callable[[Request], Awaitable[Deployment]]:
    """The dependency of a route that asks for no credential, and limits calls by address.

    Raises RateLimitError.
    """

    async def deployment(request: Request) -> Deployment:
        found: Deployment = request.app.state.deployment
        await found.limiter.count_address(address_of(request), what, per_minute)
        return found

    deployment.operation = OPEN_ROUTE  # type: ignore[attr-defined]
    return deployment


def address_of(request: Request) -> str:
    """Where a request comes from; behind a trusted proxy, what it says."""
    return request.client.host if request.client else ""
