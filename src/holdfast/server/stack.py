"""What lies around every request, outermost first: one behaviour each, in pure ASGI."""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections.abc import MutableMapping
from typing import Any

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from holdfast.clock import Ids, SystemClock
from holdfast.config import ServerConfig
from holdfast.deadline import TIMEOUT_HEADER, time_limit
from holdfast.engine.tolls import warnings_heard
from holdfast.errors import (
    OverloadedError,
    RequestTimeoutError,
    TooLargeError,
    ValidationError,
)
from holdfast.limits import DEADLINE_GRACE_S
from holdfast.looks import one_look
from holdfast.server import problems
from holdfast.server.auditing import Audited
from holdfast.server.opening import Waiting
from holdfast.server.request_log import Recorded
from holdfast.server.telemetry import Telemetry

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


_EXPOSED = (
    "retry-after",
    "x-request-id",
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
)
_PREFLIGHT_AGE_S = 600


def surround(app: FastAPI, config: ServerConfig, telemetry: Telemetry) -> None:
    """Put the layers around the application; the last one added is the outermost."""
    app.add_middleware(BodyLimit, bytes_max=config.body_bytes_max, timeout_s=config.body_timeout_s)
    app.add_middleware(Deadline, timeout_s=config.request_timeout_s)
    app.add_middleware(Shedding, requests_max=config.requests_max, telemetry=telemetry)
    app.add_middleware(Audited)
    app.add_middleware(Recorded)
    app.add_middleware(Waiting)
    origins = [origin.strip() for origin in config.cors_origins.split(",") if origin.strip()]
    if origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=["*"],
            expose_headers=_EXPOSED,
            max_age=_PREFLIGHT_AGE_S,
        )
    app.add_middleware(Observed, telemetry=telemetry)
    app.add_middleware(RequestId)


class RequestId:
    """Gives each request an id, its caller's if it sends a sane one, and tells it in the answer.

    Tells the limits the request was counted against as well.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._ids = Ids(SystemClock())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        given = _header(scope, b"x-request-id")
        request_id = given if given and _REQUEST_ID.fullmatch(given) else self._ids.new()
        scope["holdfast_request_id"] = request_id

        async def tell(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = message.setdefault("headers", [])
                headers.append((b"x-request-id", request_id.encode()))
                told = scope.get("holdfast_limit")
                if told is not None:
                    headers += [(k.encode(), v.encode()) for k, v in told.headers().items()]
                if exceeded:
                    headers.append((b"x-holdfast-budget-exceeded", ", ".join(exceeded).encode()))
            await send(message)

        exceeded: list[str] = []
        with one_look(), warnings_heard(exceeded):
            return await self.app(scope, receive, tell)


class Observed:
    """Counts each request and its time, and says a line about it, without what it was about."""

    def __init__(self, app: ASGIApp, telemetry: Telemetry) -> None:
        self.app = app
        self._telemetry = telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        status = 500
        began = time.perf_counter()

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            return await self.app(scope, receive, watch)
        finally:
            self._telemetry.answered(scope, status, time.perf_counter() - began)


class Shedding:
    """Sends requests away while as many are being worked on as may be.

    Health checks are let through: a busy server is not a dead one.
    """

    def __init__(self, app: ASGIApp, requests_max: int, telemetry: Telemetry) -> None:
        self.app = app
        self._requests_max = requests_max
        self._telemetry = telemetry
        self._running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith("/health"):
            return await self.app(scope, receive, send)
        if self._running >= self._requests_max or scope.get("holdfast_crowded"):
            self._telemetry.shed()
            error = OverloadedError("The server is busy.", hint="Try again.", retry_after_s=1.0)
            response = problems.answer(error, scope["holdfast_request_id"])
            return await response(scope, receive, send)
        self._running += 1
        self._telemetry.running(self._running)
        try:
            return await self.app(scope, receive, send)
        finally:
            self._running -= 1
            self._telemetry.running(self._running)


class Deadline:
    """Ends requests that take too long, with an answer if none was begun.

    X-Request-Timeout tells the seconds for which the caller will wait; no call of a model or an
    index goes on beyond it, and what can be done without is then done without.
    """

    def __init__(self, app: ASGIApp, timeout_s: float) -> None:
        self.app = app
        self._timeout_s = timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        begun = False

        async def watch(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            patience_s = _patience_s(scope)
        except ValidationError as wrong:
            return await problems.answer(wrong, scope["holdfast_request_id"])(scope, receive, send)
        timeout_s = min(self._timeout_s, patience_s + DEADLINE_GRACE_S)
        timeout = asyncio.timeout(timeout_s)
        try:
            async with timeout:
                with time_limit(min(self._timeout_s, patience_s)):
                    return await self.app(scope, receive, watch)
        except TimeoutError:
            if begun or not timeout.expired():  # expired() tells our time from somebody else's
                raise
            error = OverloadedError(
                f"The request took more than {timeout_s:g} s.", hint="Try again later."
            )
            response = problems.answer(error, scope["holdfast_request_id"])
            return await response(scope, receive, send)


class BodyLimit:
    """Refuses bodies that are too large or arrive too slowly."""

    def __init__(self, app: ASGIApp, bytes_max: int, timeout_s: float) -> None:
        self.app = app
        self._bytes_max = bytes_max
        self._timeout_s = timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        said = _header(scope, b"content-length")
        if said is not None and said.isdigit() and int(said) > self._bytes_max:
            response = problems.answer(self._too_large(), scope["holdfast_request_id"])
            return await response(scope, receive, send)
        return await self.app(scope, self._bounded(receive), send)

    def _bounded(self, receive: Receive) -> Receive:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeout_s
        size, whole = 0, False

        async def bounded() -> MutableMapping[str, Any]:
            nonlocal size, whole
            if whole:  # waiting for the caller to go away, which may take as long as it likes
                return await receive()
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                raise RequestTimeoutError(
                    f"The body took more than {self._timeout_s:g} s to arrive.",
                    hint="Send it again.",
                ) from None
            size += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            if size > self._bytes_max:
                raise self._too_large()
            return message

        return bounded

    def _too_large(self) -> TooLargeError:
        return TooLargeError(
            f"The body has more than {self._bytes_max:,} bytes.", hint="Send it in several calls."
        )


def _patience_s(scope: Scope) -> float:
    """Seconds the caller of a request will wait. Raises ValidationError."""
    told = _header(scope, TIMEOUT_HEADER.encode())
    if told is None:
        return math.inf
    try:
        seconds = float(told)
    except ValueError:
        seconds = math.nan
    if not seconds > 0:
        raise ValidationError(
            "X-Request-Timeout is not a number of seconds above 0.", hint="Send 2.5, say."
        )
    return seconds


def _header(scope: Scope, name: bytes) -> str | None:
    for key, value in scope["headers"]:
        if key == name:
            return str(value.decode("latin-1"))
    return None
