"""Errors as HTTP answers: one table from our errors to status and body.

Mem0's clients read `detail`, others `error`; both carry the same text. `code` is the stable name of
the error, `request_id` finds it in the log.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match

from holdfast import errors
from holdfast.server import upstream
from holdfast.server.reading import is_json
from holdfast.server.reply import Reply

STATUS: Mapping[type[errors.HoldfastError], int] = {
    errors.AuthenticationError: 401,
    errors.AccessError: 403,
    errors.NotFoundError: 404,
    errors.ConflictError: 409,
    errors.ReplayedError: 409,
    errors.TooLargeError: 413,
    errors.BudgetExceededError: 413,  # Mem0's clients: MemoryQuotaExceededError
    errors.ValidationError: 400,
    errors.RateLimitError: 429,
    errors.UnsupportedError: 501,
    errors.ModelError: 502,
    errors.ModelUnavailableError: 502,
    errors.IssuerUnavailableError: 503,
    errors.IndexUnavailableError: 503,
    errors.CacheUnavailableError: 503,
    errors.KeyRingError: 503,
    errors.BackupUnavailableError: 503,
    errors.StoreUnavailableError: 503,
    errors.StoreReadOnlyError: 503,  # a standby, say, until the fail-over is over
    errors.OverloadedError: 503,
    errors.RequestTimeoutError: 408,
    errors.ClosedError: 503,
    errors.StoreError: 500,
    errors.ConfigError: 500,
    errors.HoldfastError: 500,
}
"""The nearest class in an error's own order of bases decides."""

_HTTP: Mapping[int, tuple[str, str]] = {
    404: ("NOT_FOUND", "There is no such path: /docs lists those there are."),
    405: ("METHOD_NOT_ALLOWED", "The header Allow names the methods of this path."),
}
"""Codes and hints of what no route is for."""

_RETRY_AFTER_S = 1.0
_log = logging.getLogger("holdfast.server")


def status_of(error: errors.HoldfastError) -> int:
    """The status code of an error."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def told(error: errors.HoldfastError) -> str:
    """What a caller is told: not where the store's files are, nor what failed in the server."""
    if status_of(error) == 500:
        return "The server failed; see its log."
    if isinstance(error, errors.StoreError):
        return f"The record store is away. {error.hint}".strip()
    return str(error)


def body_of(error: errors.HoldfastError, request_id: str) -> dict[str, Any]:
    """The body of the answer."""
    text = told(error)
    hint = "" if status_of(error) == 500 else error.hint
    return {
        "detail": text,
        "error": text,
        "code": error.code,
        "hint": hint,
        "request_id": request_id,
    }


def answer(error: errors.HoldfastError, request_id: str) -> Response:
    """The whole answer to a request that failed."""
    status = status_of(error)
    headers = dict(error.told) if isinstance(error, errors.RateLimitError) else {}
    if status in (429, 503) or error.retry_after_s is not None:
        headers |= wait(error)
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    return Reply(body_of(error, request_id), status, headers)


def wait(error: errors.HoldfastError) -> dict[str, str]:
    """The header that says when to try again."""
    return {"retry-after": str(math.ceil(error.retry_after_s or _RETRY_AFTER_S))}


def install(app: FastAPI) -> None:
    """Answer every error of the application."""
    app.add_exception_handler(errors.HoldfastError, ours)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)


def request_id(request: Request) -> str:
    """The id of a request, which is in its answer and in the log."""
    return str(request.scope.get("holdfast_request_id", ""))


async def ours(request: Request, error: Exception) -> Response:
    """The answer to a request that one of our errors ended, in the form of its surface."""
    assert isinstance(error, errors.HoldfastError)
    request.scope["holdfast_error"] = error
    if status_of(error) >= 500:
        _log.error("%s %s: %s", request_id(request), error.code, type(error).__name__)
    code = upstream.code_of(error) if upstream.is_open_source(request.url.path) else None
    if code is not None:
        body = upstream.body(code, told(error), request_id(request))
        return Reply(body, upstream.status_of(code), wait(error) if error.retryable else None)
    return answer(error, request_id(request))


async def _malformed(request: Request, error: Exception) -> Response:
    """A body or parameter of the wrong form: where it is wrong, never what it said."""
    assert isinstance(error, RequestValidationError)
    faults = [
        {"loc": list(fault["loc"]), "msg": fault["msg"], "type": fault["type"]}
        for fault in error.errors()
    ]
    where = "; ".join(f"{_place(fault['loc'])}: {fault['msg']}" for fault in faults[:5])
    hint = ""
    if not is_json(request) and any(fault["loc"] == ["body"] for fault in faults):
        # curl -d, say, calls any body a form
        hint = "Say that the body is JSON, with the header `Content-Type: application/json`."
        where = f"{where}. {hint}"
    body: dict[str, Any] = {"detail": where, "error": where, "code": "VALIDATION", "hint": hint}
    if not request.url.path.startswith(("/v1/", "/v2/", "/v3/", "/api/", "/holdfast/")):
        # Mem0's open-source server answers as FastAPI does
        return Reply({**body, "detail": faults, "request_id": request_id(request)}, 422)
    return Reply({**body, "request_id": request_id(request)}, 400)


async def _unexpected(request: Request, error: Exception) -> Response:
    """A fault of the program: told in the log, where whoever raised it goes on to be raised."""
    failure = errors.HoldfastError("The server failed.")
    return Reply(body_of(failure, request_id(request)), 500, {"x-request-id": request_id(request)})


def _place(loc: Any) -> str:
    """The name of a field; `loc` begins with the part of the request it is in."""
    return ".".join(map(str, loc[1:])) or str(loc[0])


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if isinstance(error.__cause__, errors.HoldfastError):  # raised while the body was read
        return await ours(request, error.__cause__)
    code, hint = _HTTP.get(error.status_code, ("HTTP", ""))
    text = f"{error.detail}. {hint}" if hint else str(error.detail)
    body = {
        "detail": text,
        "error": text,
        "code": code,
        "hint": hint,
        "request_id": request_id(request),
    }
    headers = {name.lower(): value for name, value in (error.headers or {}).items()}
    if error.status_code == 405:
        headers["allow"] = ", ".join(sorted(_methods(request)))
    return Reply(body, error.status_code, headers)


def _methods(request: Request) -> set[str]:
    """What a path can be asked; Starlette tells of the first route that fits alone."""
    found: set[str] = set()
    for route in request.app.router.routes:
        if route.matches(request.scope)[0] is not Match.NONE:
            found |= getattr(route, "methods", None) or set()
    return found
