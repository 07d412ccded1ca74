"""MCP at `/mcp` (streamable HTTP): the tools, as far as the caller's key allows.

Stateless: every request carries its credential and is answered whole, as JSON. No session lives in
this process, so that any instance behind a load balancer answers any request, a revoked key is
refused at once, and nothing is left when an agent goes away.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from fastapi import APIRouter, Request
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from holdfast import credential
from holdfast.config import ServerConfig
from holdfast.core.access import Principal, decide
from holdfast.core.affinity import users_in
from holdfast.core.fence import Fence
from holdfast.errors import AccessError, HoldfastError, UnsupportedError
from holdfast.server import problems
from holdfast.server.auditing import introduce
from holdfast.server.deployment import Deployment
from holdfast.server.mcp.tools import TOOLS, Outcome, Tool, call, with_user
from holdfast.server.reading import whole_body

OPERATIONS_OF_TOOLS: Mapping[str, str] = {tool.name: tool.operation for tool in TOOLS}
"""What each tool does in the words of the policy."""

USER_HEADER = "x-holdfast-user"
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class Endpoint:
    """Answers one request of an agent: who calls, what it may, then the protocol."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application of the route."""
        request = Request(scope, receive)
        deployment: Deployment = request.app.state.deployment
        answer: ASGIApp
        try:
            check_origin(request.headers, deployment.admin.config.server)
            caller = await _Caller.of(request, deployment)
            answer = _speaking(caller, await whole_body(request))
        except HoldfastError as error:
            scope["holdfast_error"] = error
            answer = problems.answer(error, problems.request_id(request))
        await answer(scope, receive, send)


class _Caller:
    """A principal, the tools it may use, and the user it speaks for if it names none."""

    def __init__(self, principal: Principal, deployment: Deployment, request: Request) -> None:
        named = request.query_params.get("user_id") or request.headers.get(USER_HEADER)
        self._principal = principal
        self._deployment = deployment
        self._scope = request.scope
        self._user = named or _only_user(principal.fence)
        self._memory = deployment.admin.memory(principal.project, principal.fence, principal.trust)

    @classmethod
    async def of(cls, request: Request, deployment: Deployment) -> _Caller:
        """Who calls. Raises AuthenticationError, AccessError, RateLimitError."""
        request.scope["holdfast_operation"] = "whoami"  # until a tool does more
        principal = await deployment.authenticator.principal(request)
        introduce(request.scope, principal)
        rule = decide(principal, "whoami")
        request.scope["holdfast_limit"] = await deployment.limiter.count_key(principal, rule.load)
        return cls(principal, deployment, request)

    def tools(self) -> dict[str, Tool]:
        """The tools whose operation it may carry out."""
        return {tool.name: tool for tool in TOOLS if self._may(tool)}

    async def carry(self, tool: Tool, given: Mapping[str, Any]) -> Outcome:
        """Carry out a tool. Raises HoldfastError."""
        self._scope["holdfast_operation"] = tool.operation
        try:
            return await self._carried(tool, given)
        except HoldfastError as error:
            self._scope["holdfast_error"] = error  # the status of the answer does not tell
            raise

    async def _carried(self, tool: Tool, given: Mapping[str, Any]) -> Outcome:
        rule = decide(self._principal, tool.operation)
        limiter = self._deployment.limiter
        await limiter.count_key(self._principal, rule.load)
        arguments = with_user(tool, given, self._user)
        for user in users_in(arguments):
            await limiter.count_user(self._principal.project, user, rule.load)
        credential.came_with(self._principal.id)
        try:
            return await call(tool, self._memory, arguments)
        except HoldfastError as error:
            if problems.status_of(error) != 500:
                raise
            raise HoldfastError("The server failed; see its log.") from error

    def _may(self, tool: Tool) -> bool:
        try:
            decide(self._principal, tool.operation)
        except AccessError:
            return False
        return True


def _speaking(caller: _Caller, body: bytes) -> ASGIApp:
    """What answers a body in the protocol. Raises UnsupportedError where its package is missing."""
    try:
        from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

        from holdfast.server.mcp.server import server_of
    except ModuleNotFoundError:
        raise UnsupportedError(
            "This deployment does not speak MCP.", hint="pip install 'holdfast[mcp]'"
        ) from None
    manager = StreamableHTTPSessionManager(
        server_of(caller.tools(), caller.carry),
        json_response=True,
        stateless=True,
        max_request_body_size=len(body) + 1,  # it has passed the limit that every route has
    )

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        read = False

        async def again() -> Message:
            nonlocal read
            if read:
                return await receive()
            read = True
            return {"type": "http.request", "body": body, "more_body": False}

        async with manager.run():
            await manager.handle_request(scope, again, send)

    return answer


def _only_user(fence: Fence) -> str | None:
    """The user of a key that is for one user alone."""
    return fence.users[0] if fence.users is not None and len(fence.users) == 1 else None


def check_origin(headers: Mapping[str, str], config: ServerConfig) -> None:
    """Refuse pages that a browser loaded from elsewhere, and names made to point to this machine.

    A page may call if `cors_origins` names its origin, or, where the server listens on this machine
    only, if it comes from this machine. There, the host asked for must be this machine as well,
    unless a proxy stands before the server. Raises AccessError.
    """
    local = config.host in _LOOPBACK
    origin = headers.get("origin")
    allowed = [one.strip() for one in config.cors_origins.split(",")]
    if origin is not None and origin not in allowed and not (local and _is_local(origin)):
        raise AccessError(
            "Pages of this origin may not call.", hint="server.cors_origins lists those that may."
        )
    if local and not config.trusted_proxies and not _is_local(f"//{headers.get('host', '')}"):
        raise AccessError(
            "This server answers to the name of this machine only.",
            hint="Call it as localhost, or set server.trusted_proxies to the proxy before it.",
        )


def _is_local(url: str) -> bool:
    try:
        return urlsplit(url).hostname in _LOOPBACK
    except ValueError:
        return False


router = APIRouter()
router.routes.append(Route("/mcp", Endpoint(), methods=["POST"], include_in_schema=False))
