"""Bodies of requests, read after it is known who sends them."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import Request
from starlette.requests import ClientDisconnect

from holdfast.errors import TooLargeError, ValidationError

_FORM = "Send a JSON object, in UTF-8."


def is_json(request: Request) -> bool:
    """Whether a request says that its body is JSON."""
    kind = request.headers.get("content-type", "")
    return kind.partition(";")[0].strip().lower() == "application/json"


async def whole_body(request: Request) -> bytes:
    """A request's body. Raises ValidationError, TooLargeError."""
    try:
        return await request.body()
    except ClientDisconnect:
        raise ValidationError("The body ended early.", hint="Send it again.") from None


async def json_body(request: Request) -> dict[str, Any]:
    """The JSON object of a request's body; an empty body is an empty one.

    Raises ValidationError, TooLargeError.
    """
    body = await whole_body(request)
    if not body:
        return {}
    try:
        content = msgspec.json.decode(body)
    except RecursionError:
        raise TooLargeError("The body is nested too deeply.", hint="Make it flatter.") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ValidationError("The body is not JSON.", hint=_FORM) from None
    if not isinstance(content, dict):
        raise ValidationError("The body is no JSON object.", hint=_FORM)
    return content
