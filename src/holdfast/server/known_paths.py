"""Finds routes whose paths have no parameters by a table; Starlette tries one after the other.

There are two hundred, most of them Mem0's, and a call of Holdfast's own was compared with all of
those before it began.
"""

from __future__ import annotations

from fastapi import FastAPI
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send


class KnownPaths:
    """In front of the router's own way, which finds everything else."""

    def __init__(self, app: FastAPI, beyond: ASGIApp) -> None:
        self._router = app.router
        self._beyond = beyond
        self.table = _table([route for route in app.router.routes if isinstance(route, Route)])
        """Routes by method and path."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope.get("root_path"):
            return await self._beyond(scope, receive, send)
        route = self.table.get((scope["method"], scope["path"]))
        if route is None:
            return await self._beyond(scope, receive, send)
        match, more = route.matches(scope)
        assert match is Match.FULL
        scope["router"] = self._router
        scope["route"] = route
        scope.update(more)
        return await route.handle(scope, receive, send)


def install(app: FastAPI) -> None:
    """Put the table in front of the routes that are there; later ones are found as well."""
    app.router.middleware_stack = KnownPaths(app, app.router.middleware_stack)


def _table(routes: list[Route]) -> dict[tuple[str, str], Route]:
    """Routes without parameters, unless an earlier one with some answers the same: the first of
    two that fit a path is the one."""
    table: dict[tuple[str, str], Route] = {}
    earlier: list[Route] = []
    for route in routes:
        if route.param_convertors:
            earlier.append(route)
            continue
        for method in route.methods or ():
            taken = any(
                method in (other.methods or ()) and other.path_regex.match(route.path)
                for other in earlier
            )
            if not taken:
                table.setdefault((method, route.path), route)
    return table
