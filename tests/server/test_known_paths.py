"""Routes are found by a table, and they are those that Starlette would find."""

from __future__ import annotations

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Scope

from holdfast.server.app import build
from holdfast.server.known_paths import KnownPaths


@pytest.fixture
def app() -> FastAPI:
    return build({"path": "never-opened", "server": {"admin_key": "k" * 20}})


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths of the routes that were tried."""
    seen: list[str] = []
    honest = APIRoute.matches

    def spy(self: APIRoute, scope: Scope) -> tuple[Match, Scope]:
        seen.append(self.path)
        return honest(self, scope)

    monkeypatch.setattr(APIRoute, "matches", spy)
    return seen


def by_trying(app: FastAPI, method: str, path: str) -> BaseRoute | None:
    scope = {"type": "http", "method": method, "path": path, "root_path": "", "headers": []}
    fitting = (each for each in app.router.routes if each.matches(scope)[0] is Match.FULL)
    return next(fitting, None)


def test_the_table_names_the_first_route_that_fits(app: FastAPI) -> None:
    known = app.router.middleware_stack
    assert isinstance(known, KnownPaths)
    assert len(known.table) > 150
    assert ("POST", "/holdfast/search") in known.table
    for (method, path), route in known.table.items():
        assert by_trying(app, method, path) is route, (method, path)


def test_an_earlier_route_with_parameters_goes_first() -> None:
    app = FastAPI()
    first = Route("/things/{name}", lambda _: None, methods=["GET"])
    app.router.routes += [first, Route("/things/all", lambda _: None, methods=["GET", "POST"])]
    known = KnownPaths(app, app.router.middleware_stack)
    assert ("GET", "/things/all") not in known.table
    assert ("POST", "/things/all") in known.table
    assert by_trying(app, "GET", "/things/all") is first


@pytest.mark.parametrize(
    ("method", "path", "most"),
    [("POST", "/holdfast/search", 1), ("GET", "/health/live", 1), ("POST", "/search", 1)],
)
def test_a_known_path_is_tried_once(
    client: httpx.Client, tried: list[str], method: str, path: str, most: int
) -> None:
    """Counted, not timed: the last of two hundred routes costs what the first one does."""
    body = {"query": "tea", "filters": {"user_id": "ann"}} if method == "POST" else None
    assert client.request(method, path, json=body).status_code == 200
    assert tried == [path] * most


def test_everything_else_is_found_as_before(client: httpx.Client, tried: list[str]) -> None:
    assert client.get("/memories/none").json() is None
    assert len(tried) > 10
    assert client.get("/v3/memories/search/").status_code == 405
    assert client.get("/v3/memories/searches/").status_code == 404
