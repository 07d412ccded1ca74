"""Failures of what stands behind the server, as Mem0's open-source server tells of them.

On its routes a model or a store that failed is 502 with one of eight codes, which its dashboard
knows; everywhere else the table of `problems` speaks.
"""

from __future__ import annotations

from typing import Any

from holdfast.errors import (
    HoldfastError,
    ModelError,
    ModelRefusedError,
    ModelUnavailableError,
    StoreError,
)

PATHS = (
    "/memories",
    "/search",
    "/reset",
    "/configure",
    "/generate-instructions",
    "/entities",
    "/auth",
    "/api-keys",
    "/requests",
)
"""Where Mem0's open-source server has its routes."""

STATUS = 502


def is_open_source(path: str) -> bool:
    """Whether a path belongs to Mem0's open-source server."""
    return any(path == own or path.startswith(f"{own}/") for own in PATHS)


def code_of(error: HoldfastError) -> str | None:
    """The code of a failure upstream; None for an error that is the caller's, or our own."""
    if isinstance(error, ModelError):
        return "unknown" if error.reason == "unknown" else f"provider_{error.reason}"
    if isinstance(error, StoreError) and error.retryable:
        return "datastore_unavailable"
    return None


def code_named(error_code: object) -> str:
    """The code of a failure that is told by the stable name of its error."""
    kinds = (ModelUnavailableError, ModelRefusedError)
    reasons = {kind.code: f"provider_{kind.reason}" for kind in kinds}
    return reasons.get(str(error_code), "unknown")


def body(code: str, told: str, request_id: str) -> dict[str, Any]:
    """The body of the answer."""
    return {"detail": told, "error": told, "code": code, "request_id": request_id}
