"""The routes of the built application, and the operations they carry out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from fastapi import FastAPI
from starlette.routing import BaseRoute

Route = tuple[str, str]
"""Method and path."""


def operations_of(dependant: Any) -> Iterator[str]:
    """The operations that a route's dependencies decide on."""
    for inner in getattr(dependant, "dependencies", ()):
        operation = getattr(inner.call, "operation", None)
        if isinstance(operation, str):
            yield operation
        yield from operations_of(inner)


def flat(routes: Sequence[BaseRoute]) -> Iterator[BaseRoute]:
    """Every route, those of included routers too."""
    for route in routes:
        inner = getattr(route, "original_router", None)
        if inner is None:
            yield route
        else:
            yield from flat(inner.routes)


def walked(app: FastAPI) -> Iterator[tuple[Route, list[str]]]:
    """Method and path of each route, with its operations."""
    for route in flat(app.router.routes):
        path = getattr(route, "path", "")
        found = [op for op in operations_of(getattr(route, "dependant", None)) if op != "open"]
        methods = getattr(route, "methods", None) or {"ANY"}
        for method in sorted(set(methods) - {"HEAD"}):
            yield (method, path), found
