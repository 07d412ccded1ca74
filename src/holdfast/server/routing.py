"""Routers whose routes all say what they do: one operation each, with and without a slash."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from fastapi import APIRouter, Request
from fastapi.routing import APIRoute
from starlette.responses import Response

from holdfast.core.access import OPERATIONS
from holdfast.server.bodies import PROBLEMS
from holdfast.server.context import admit

F = TypeVar("F", bound=Callable[..., Any])


class Routes:
    """A router; `slashes` says whether the paths end in "/", and answer without it as well.

    Clients of Mem0's platform ask for `/v1/memories/`, and follow no redirect.
    """

    def __init__(self, tag: str, *, slashes: bool = False) -> None:
        self.router = APIRouter(tags=[tag], route_class=Route, responses=PROBLEMS)
        self._slashes = slashes

    def __call__(self, method: str, path: str, **more: Any) -> Callable[[F], F]:
        """Register a function for a path, given without its last slash."""

        def register(function: F) -> F:
            add = self.router.add_api_route
            known = {"methods": [method], "response_model": None, "status_code": 200, **more}
            add(f"{path}/" if self._slashes else path, function, **known)
            if self._slashes:
                add(path, function, **{**known, "include_in_schema": False})
            return function

        return register


class Route(APIRoute):
    """Asks who calls before it reads what they sent: a stranger's body is not looked at."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        operation = operation_of(self)
        if operation is None:
            return handle

        async def guarded(request: Request) -> Response:
            await admit(request, operation)
            return await handle(request)

        return guarded


def operation_of(route: APIRoute) -> str | None:
    """The operation that a route carries out for a principal; None if it is open to anybody."""
    for dependency in route.dependant.dependencies:
        operation = getattr(dependency.call, "operation", None)
        if operation in OPERATIONS:
            return str(operation)
    return None
