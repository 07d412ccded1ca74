"""Routers whose routes all say what they do: one operation each, with and without a slash."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from fastapi import APIRouter

from holdfast.server.bodies import PROBLEMS
from holdfast.server.reply import Reply

F = TypeVar("F", bound=Callable[..., Any])


class Routes:
    """A router; `slashes` says whether the paths end in "/", and answer without it as well.

    Clients of Mem0's platform ask for `/v1/memories/`, and follow no redirect.
    """

    def __init__(self, tag: str, *, slashes: bool = False) -> None:
        self.router = APIRouter(tags=[tag], default_response_class=Reply, responses=PROBLEMS)
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
