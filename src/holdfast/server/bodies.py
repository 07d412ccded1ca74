"""Bodies of requests that several surfaces share, and what the documents say of answers."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Header
from pydantic import BaseModel, ConfigDict


class Body(BaseModel):
    """A request's body: what is not known is left alone, as Mem0 does."""

    model_config = ConfigDict(extra="ignore")


IdempotencyKey = Annotated[
    str | None,
    Header(alias="Idempotency-Key", description="The same key and body are carried out once."),
]
"""A header that any route takes which adds."""


class Done(BaseModel):
    """What was done."""

    message: str


class Problem(BaseModel):
    """What an error says."""

    detail: Any
    """What is wrong, and what to do."""
    error: str
    """The same, for clients that read this name."""
    code: str
    """The stable name of the error."""
    hint: str = ""
    """The end of `detail`: what to do."""
    request_id: str
    """Finds the request in the log."""


_PROBLEM = {"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}}

PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"content": _PROBLEM, "description": told}
    for status, told in {
        400: "The request is not valid; nothing was changed.",
        401: "The credential is missing or not valid.",
        403: "The credential does not allow this.",
        404: "There is no such thing, or the credential may not know of it.",
        409: "It contradicts what is there; nothing was changed.",
        413: "The request is too large, or a budget is spent.",
        422: "The request is not of the right form.",
        429: "Too many calls; Retry-After says when to go on.",
        500: "The server failed.",
        501: "This deployment does not offer it.",
        502: "A model failed.",
        503: "The server is busy, or its store is away; Retry-After says when to try again.",
    }.items()
}
"""Answers that any route may give. They name the schema, which `document.py` puts in: given as a
model, FastAPI would build it anew for each answer of each route, a third of a server's start."""
