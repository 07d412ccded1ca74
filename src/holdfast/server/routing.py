"""Routers whose routes all say what they do: one operation each, with and without a slash."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, NamedTuple, TypeVar

from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.responses import Response

from holdfast.core.access import OPERATIONS
from holdfast.errors import TooLargeError
from holdfast.server.bodies import PROBLEMS
from holdfast.server.context import admit
from holdfast.server.reading import is_json, whole_body

F = TypeVar("F", bound=Callable[..., Any])
Handler = Callable[[Request], Coroutine[Any, Any, Response]]


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
    """Asks who calls before it reads what they sent: a stranger's body is not looked at.

    A route of the commonest form, one JSON body and headers that may be left out, is then called
    without FastAPI's way through its dependencies, which costs as much as half a search.
    """

    def get_route_handler(self) -> Handler:
        handle = super().get_route_handler()
        operation = operation_of(self)
        if operation is None:
            return handle
        form = _form(self)

        async def guarded(request: Request) -> Response:
            context = await admit(request, operation)
            if form is None or not is_json(request):
                return await handle(request)
            body = await whole_body(request)
            if not body:
                return await handle(request)
            called: Response = await form.call(
                **{form.context: context, form.body: _decoded(form.model, body)},
                **{name: request.headers.get(header) for name, header in form.headers.items()},
            )
            return called

        return guarded


class _Form(NamedTuple):
    """How the function of a route is called that takes a body, who calls, and headers."""

    call: Callable[..., Any]
    context: str
    body: str
    model: type[BaseModel]
    headers: Mapping[str, str]
    """Parameters and the headers they are told in: text, None if it is not sent."""


def operation_of(route: APIRoute) -> str | None:
    """The operation that a route carries out for a principal; None if it is open to anybody."""
    for dependency in route.dependant.dependencies:
        operation = getattr(dependency.call, "operation", None)
        if operation in OPERATIONS:
            return str(operation)
    return None


def _form(route: APIRoute) -> _Form | None:
    """The form of a route's function; None if it takes anything else."""
    of = route.dependant
    if len(of.body_params) != 1 or len(of.dependencies) != 1:
        return None
    headers = {field.name: field.alias for field in of.header_params if _is_plain(field)}
    names = {of.dependencies[0].name, of.body_params[0].name, *headers}
    field = of.body_params[0].field_info
    model = None if getattr(field, "embed", None) else field.annotation
    taken = set(inspect.signature(route.endpoint).parameters)
    if names != taken or not (isinstance(model, type) and issubclass(model, BaseModel)):
        return None
    context = str(of.dependencies[0].name)
    return _Form(route.endpoint, context, of.body_params[0].name, model, headers)


def _is_plain(header: Any) -> bool:
    """Whether a header is text that may be left out, and nothing is to be checked of it."""
    info = header.field_info
    return bool(info.annotation == str | None and info.default is None and not info.metadata)


def _is_too_deep(error: ValidationError) -> bool:
    """Whether it is JSON, and was given up for its depth."""
    [first, *_] = error.errors(include_url=False, include_context=False, include_input=False)
    return first["type"] == "json_invalid" and "recursion limit" in first["msg"]


def _decoded(model: type[BaseModel], body: bytes) -> BaseModel:
    """Raises RequestValidationError, as FastAPI does, and TooLargeError."""
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        if _is_too_deep(error):
            raise TooLargeError("The body is nested too deeply.", hint="Make it flatter.") from None
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        raise RequestValidationError(
            [{**fault, "loc": ("body", *fault["loc"])} for fault in faults]
        ) from None
