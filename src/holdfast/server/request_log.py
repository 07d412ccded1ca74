"""The last requests of this process: who called which route, and how it went; never what was said.

Mem0's dashboard shows them. Each process keeps its own; they end with it.
"""

from __future__ import annotations

import time
from collections import deque
from datetime import UTC, datetime

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from holdfast.clock import Ids, SystemClock
from holdfast.core.access import Principal
from holdfast.limits import REQUESTS_KEPT
from holdfast.model import Struct

_AUTH_TYPES = {
    "root": "admin_api_key",
    "key": "api_key",
    "account": "bearer",
    "token": "bearer",
    "anyone": "disabled",
}

_ids = Ids(SystemClock())


class Row(Struct, frozen=True, kw_only=True):
    """One request; `path` is the route's, with its parameters unnamed."""

    id: str
    method: str
    path: str
    status_code: int
    latency_ms: float
    auth_type: str
    created_at: str
    request_id: str
    principal: str
    project: str


class RequestLog:
    """A ring of rows; the oldest go first."""

    def __init__(self) -> None:
        self._rows: deque[Row] = deque(maxlen=REQUESTS_KEPT)

    def note(self, row: Row) -> None:
        """Keep a row."""
        self._rows.append(row)

    def latest(self, size: int, project: str | None) -> list[Row]:
        """The newest rows first, of one project or of all."""
        found = (row for row in reversed(self._rows) if project in (None, row.project))
        return [row for row, _ in zip(found, range(size), strict=False)]


class Recorded:
    """Notes every request that somebody known made."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        begun = time.perf_counter()
        noted = False

        def note(status: int) -> None:
            nonlocal noted
            principal = scope.get("holdfast_principal")
            if not noted and isinstance(principal, Principal):
                noted = True
                log: RequestLog = scope["app"].state.deployment.requests
                log.note(_row(scope, principal, status, time.perf_counter() - begun))

        async def watch(message: Message) -> None:
            if message["type"] == "http.response.start":
                note(message["status"])
            await send(message)

        try:
            return await self.app(scope, receive, watch)
        finally:
            note(500)  # only if no answer was begun


def _row(scope: Scope, principal: Principal, status: int, took_s: float) -> Row:
    return Row(
        id=_ids.new(),
        method=scope["method"],
        path=getattr(scope.get("route"), "path", ""),
        status_code=status,
        latency_ms=round(took_s * 1000, 3),
        auth_type="bearer" if _signed_in(principal) else _AUTH_TYPES[principal.kind],
        created_at=datetime.now(UTC).isoformat(),
        request_id=scope.get("holdfast_request_id", ""),
        principal=principal.id,
        project=principal.project,
    )


def _signed_in(principal: Principal) -> bool:
    """Whether it is an account itself, and not a key of one."""
    return principal.account is not None and principal.account == principal.id
