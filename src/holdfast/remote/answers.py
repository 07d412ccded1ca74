"""A server's answers: results, or the errors they stand for, as `AsyncMemory` raises them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from holdfast import errors
from holdfast.errors import HoldfastError, RateLimitError, ServerUnavailableError


def _tree(root: type[HoldfastError]) -> Iterator[type[HoldfastError]]:
    yield root
    for kind in root.__subclasses__():
        if kind.__module__ == errors.__name__:
            yield from _tree(kind)


CLASS_OF: Mapping[str, type[HoldfastError]] = {kind.code: kind for kind in _tree(HoldfastError)}
"""The error of each code."""

_OTHER_CODES: Mapping[str, type[HoldfastError]] = {
    "METHOD_NOT_ALLOWED": errors.UnsupportedError,
    "HTTP": errors.ValidationError,
}
"""Codes of answers that no error of ours stands behind."""

_DETAIL_CHARS_MAX = 4_096


def result_of(status: int, headers: Mapping[str, str], body: bytes) -> Any:
    """What a call returns. Raises the error the answer stands for."""
    content = _decoded(body)
    if status == 200 and content is not ...:
        return content
    raise error_of(status, headers, content)


def error_of(status: int, headers: Mapping[str, str], content: Any) -> HoldfastError:
    """The error an answer stands for."""
    code = content.get("code") if isinstance(content, Mapping) else None
    kind = CLASS_OF.get(code) or _OTHER_CODES.get(code) if isinstance(code, str) else None
    if kind is None:
        return _stranger(status)
    detail = str(content.get("detail", ""))[:_DETAIL_CHARS_MAX]
    hint = str(content.get("hint") or "")[:_DETAIL_CHARS_MAX]
    error = kind.__new__(kind)
    message = detail.removesuffix(hint).strip()
    HoldfastError.__init__(error, message, hint=hint, retry_after_s=_seconds(headers))
    if isinstance(error, RateLimitError):
        error.told = {name: text for name, text in headers.items() if name.startswith("x-rate")}
    return error


def _stranger(status: int) -> ServerUnavailableError:
    """The error of an answer that is not in the form of a Holdfast server."""
    if status in (502, 503, 504):
        return ServerUnavailableError(
            f"Something before the server answered with {status}.", hint="Try again later."
        )
    return ServerUnavailableError(
        f"What answered (with {status}) is no Holdfast server, or one without this call.",
        hint="Check the URL, and that the server is not older than this client.",
    )


def _seconds(headers: Mapping[str, str]) -> float | None:
    """What Retry-After says, where it says it in seconds."""
    text = headers.get("retry-after", "")
    return float(text) if text.isdecimal() and len(text) <= 9 else None


def _decoded(body: bytes) -> Any:
    """The JSON of a body; ... if it is none."""
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError:
        return ...
