"""The OpenAPI document: which routes need a credential, and in which ways it may be sent."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from holdfast.server.bodies import Problem
from holdfast.server.routing import operation_of

SCHEMES: dict[str, dict[str, Any]] = {
    "Token": {
        "type": "apiKey",
        "in": "header",
        "name": "Authorization",
        "description": "`Token <key>`, as Mem0's clients send it.",
    },
    "Bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key, or a token of an account or of the OIDC issuer.",
    },
    "X-API-Key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
"""Ways to send a credential; any one will do."""


def install(app: FastAPI) -> None:
    """Tell in the application's document which of its routes need a credential.

    It is made when it is first asked for, in a thread, and kept as it is sent: making it takes some
    tenths of a second, which no other request is to wait for.
    """
    made = app.openapi
    making = asyncio.Lock()
    kept: list[bytes] = []

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = made()
            _describe(document)
            _secure(document, _guarded(app))
        assert app.openapi_schema is not None
        return app.openapi_schema

    async def told(_request: Request) -> Response:
        async with making:
            if not kept:
                kept.append(await asyncio.to_thread(lambda: msgspec.json.encode(openapi())))
        return Response(kept[0], media_type="application/json")

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's own way to extend it
    routes = app.router.routes
    paths = [getattr(route, "path", None) for route in routes]
    assert app.openapi_url is not None
    place = paths.index(app.openapi_url)
    routes[place] = Route(app.openapi_url, told, include_in_schema=False)


def _guarded(app: FastAPI) -> set[tuple[str, str]]:
    routes = [route for route in app.routes if isinstance(route, APIRoute)]
    return {
        (route.path_format, method.lower())
        for route in routes
        if operation_of(route) is not None
        for method in route.methods or ()
    }


def _describe(document: dict[str, Any]) -> None:
    """Put in the schema that all routes name for their refusals."""
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas["Problem"] = Problem.model_json_schema(mode="serialization")
    document["components"]["schemas"] = dict(sorted(schemas.items()))


def _secure(document: dict[str, Any], guarded: set[tuple[str, str]]) -> None:
    document.setdefault("components", {})["securitySchemes"] = SCHEMES
    for path, methods in document["paths"].items():
        for method, told in methods.items():
            if (path, method) in guarded:
                told["security"] = [{name: []} for name in SCHEMES]
