"""Failures of what stands behind the server, as Mem0's open-source server tells of them.

On its routes a model that failed is 502 and a store that is away 503, with one of eight codes,
which its dashboard knows; everywhere else the table of `problems` speaks.
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
_STORE = "datastore_unavailable"


def is_open_source(path: str) -> bool:
    """Whether a path belongs to Mem0's open-source server."""
    return any(path == own or path.startswith(f"{own}/") for own in PATHS)


def code_of(error: HoldfastError) -> str | None:
    """The code of a failure upstream; None for an error that is the caller's, or our own."""
    if isinstance(error, ModelError):
        return "unknown" if error.reason == "unknown" else f"provider_{error.reason}"
    if isinstance(error, StoreError) and error.retryable:
        return _STORE
    return None


def status_of(code: str) -> int:
    """The status that goes with a code: 503 for what passes by itself and changed nothing."""
    return 503 if code == _STORE else STATUS


def code_named(error_code: object) -> str:
    """The code of a failure that is told by the stable name of its error."""
    kinds = (ModelUnavailableError, ModelRefusedError)
    reasons = {kind.code: f"provider_{kind.reason}" for kind in kinds}
    return reasons.get(str(error_code), "unknown")


def body(code: str, told: str, request_id: str) -> dict[str, Any]:
    """The body of the answer."""
    return {"detail": told, "error": told, "code": code, "request_id": request_id}
