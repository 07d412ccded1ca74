"""One golden matrix says who may do what, and every route and tool stands in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from fastapi import Depends, FastAPI
from starlette.routing import Mount

from holdfast.core import access
from holdfast.core.access import OPERATIONS, ROLES, Principal, Rule, decide, granted
from holdfast.core.fence import OPEN, Fence
from holdfast.errors import AccessError
from holdfast.server.app import build
from holdfast.server.context import allow
from holdfast.server.mcp.routes import OPERATIONS_OF_TOOLS
from tests.access import matrix
from tests.access.matrix import GOLDEN, callers, render
from tests.access.routes import Route, walked

OPEN_ROUTES = frozenset(
    {
        ("GET", "/"),
        ("GET", "/docs"),
        ("GET", "/docs/assets/swagger-ui-bundle.js"),
        ("GET", "/docs/assets/swagger-ui.css"),
        ("GET", "/docs/assets/redoc.standalone.js"),
        ("GET", "/redoc"),
        ("GET", "/openapi.json"),
        ("GET", "/health"),
        ("GET", "/health/live"),
        ("GET", "/health/ready"),
        ("GET", "/auth/setup-status"),
        ("POST", "/auth/register"),
        ("POST", "/auth/login"),
        ("POST", "/auth/refresh"),
    }
)
"""What answers without a credential. Nothing here may read or write anybody's memories."""

OTHER_WAYS_IN = frozenset({"/mcp", "/metrics"})
"""Routes that ask for the credential themselves: MCP for each tool (see below), metrics unless the
configuration opens them."""


# ------------------------------------------------------------------------- the matrix


def test_the_matrix_is_the_golden_one() -> None:
    wanted = GOLDEN.read_text()
    assert render() == wanted, "if this is meant: python -m tests.access.matrix, and say why"
    assert {line.split()[0] for line in wanted.splitlines()[1:]} == set(OPERATIONS)


@pytest.mark.parametrize(
    "fence",
    [
        *(Fence(**{kind: ("x",)}) for kind in ("users", "agents", "apps", "runs")),
        *(Fence(**{kind: ()}) for kind in ("users", "agents", "apps", "runs")),
        Fence(users=("a", "b"), agents=("c",)),
    ],
    ids=str,
)
def test_every_fence_is_a_fence(fence: Fence) -> None:
    assert render(fence=fence) == GOLDEN.read_text()


def test_what_holds_of_the_whole_matrix() -> None:
    """Said once more, not by cases: the golden file could be renewed without a thought."""
    who = callers()
    may = {
        name: {op for op in OPERATIONS if matrix.cell(decide, caller, op) == "yes"}
        for name, caller in who.items()
    }
    assert may["nothing"] == set()
    assert may["root"] == set(OPERATIONS)
    assert may["reader"] < may["writer"] < may["admin"] < may["root"]
    for role in ROLES:
        narrow = {op for op in may[role] if OPERATIONS[op].reach == "memories"}
        assert may[f"fenced {role}"] == narrow < may[role]
    assert all(OPERATIONS[op].permission == "read" for op in may["reader"])
    for op in may["root"] - may["admin"]:
        assert OPERATIONS[op].reach == "deployment"


def test_who_is_not_trusted_adds_and_reads_and_nothing_else() -> None:
    for role in ROLES:
        weak = Principal(
            id="x", kind="key", project="p", permissions=ROLES[role], trust="untrusted"
        )
        may = {op for op in OPERATIONS if matrix.cell(decide, weak, op) == "yes"}
        assert ("add" in may) == (role != "reader")
        assert {OPERATIONS[op].permission for op in may - {"add"}} == {"read"}
        assert {OPERATIONS[op].load for op in may - {"add"}} == {"read", "search"}
        assert {"update", "delete", "feedback", "change_keys", "change_own_keys"}.isdisjoint(may)


def test_a_fenced_root_does_not_exist() -> None:
    for kind in ("key", "account", "token"):
        everything = Principal(
            id="x", kind=kind, project="p", permissions=ROLES["admin"], fence=OPEN
        )
        with pytest.raises(AccessError, match="whoever runs"):
            decide(everything, "create_project")


def test_permissions_are_granted_by_name_and_by_role() -> None:
    assert granted(["reader", "write"]) == {"read", "write"}
    assert granted("admin") == {"read", "write", "admin"}
    assert granted(["ADMIN", "owner", None, 3, "", "*", "Read"]) == ROLES["admin"]
    for nothing in (None, [], "owner", ["*"], {"read": True}, 7, "READ"):
        assert granted(nothing) == frozenset()


@pytest.mark.parametrize("fault", ["permission", "reach", "fence"])
def test_a_planted_fault_differs_from_the_golden_one(fault: str) -> None:
    def lax(principal: Principal, operation: str) -> Rule:
        if fault == "reach" and OPERATIONS[operation].reach == "deployment":
            return OPERATIONS[operation]
        if fault == "permission" and operation == "change_keys":
            return OPERATIONS[operation]
        if fault == "fence":
            principal = Principal(
                id="x", kind=principal.kind, project="p", permissions=principal.permissions
            )
        return decide(principal, operation)

    assert render(decided=lax) != GOLDEN.read_text()


@pytest.mark.parametrize("fault", ["new", "gone"])
def test_an_operation_that_comes_or_goes_is_missed(
    fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    operations = dict(OPERATIONS)
    if fault == "new":
        operations["erase_the_world"] = Rule("read", "read")
    else:
        del operations["reset"]
    monkeypatch.setattr(access, "OPERATIONS", operations)
    assert render(operations) != GOLDEN.read_text()


# ----------------------------------------------------------------------- routes and tools


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    """The application as it is served; nothing is opened."""
    return build({"path": str(tmp_path_factory.mktemp("store"))})


def wrong_routes(app: FastAPI, known: Mapping[str, Rule] = OPERATIONS) -> dict[Route, str]:
    """The routes that the matrix does not speak of."""
    wrong = {}
    for (method, path), found in walked(app):
        if not found and ((method, path) in OPEN_ROUTES or path.rstrip("/") in OTHER_WAYS_IN):
            continue
        if len(found) != 1:
            wrong[method, path] = f"{len(found)} operations"
        elif found[0] not in known:
            wrong[method, path] = f"unknown operation {found[0]}"
    return wrong


def test_every_route_carries_out_one_operation_of_the_matrix(app: FastAPI) -> None:
    assert wrong_routes(app) == {}
    assert len({found[0] for _, found in walked(app) if found}) >= 2


def test_what_is_open_touches_no_memories(app: FastAPI) -> None:
    """A route with a credential is not on the list by mistake."""
    for where, found in walked(app):
        if where in OPEN_ROUTES:
            assert found == [], where


@pytest.mark.parametrize("fault", ["forgotten", "unknown", "twice", "mounted", "wrapped"])
def test_a_planted_route_is_caught(fault: str, tmp_path: Path) -> None:
    app = build({"path": str(tmp_path)})

    async def answer() -> None:
        """Does nothing."""

    add = app.add_api_route
    if fault == "forgotten":
        add("/v9/memories", answer)
    elif fault == "unknown":
        add("/v9/memories", answer, dependencies=[Depends(allow("no such operation"))])
    elif fault == "twice":
        add("/v9/memories", answer, dependencies=[Depends(allow(n)) for n in ("get", "add")])
    elif fault == "mounted":
        app.router.routes.append(Mount("/v9/memories", app=FastAPI()))
    else:
        plain = allow("get")

        async def wrapped() -> Any:
            return plain

        add("/v9/memories", answer, dependencies=[Depends(wrapped)])
    assert [path for _, path in wrong_routes(app)] == ["/v9/memories"]


def test_an_operation_that_is_taken_out_of_the_table_is_missed(app: FastAPI) -> None:
    left = {name: rule for name, rule in OPERATIONS.items() if name != "search"}
    assert ("POST", "/v3/memories/search/") in wrong_routes(app, left)


def test_every_tool_carries_out_an_operation_of_the_matrix() -> None:
    assert len(OPERATIONS_OF_TOOLS) > 5
    for tool, operation in OPERATIONS_OF_TOOLS.items():
        assert operation in OPERATIONS, f"the tool {tool} does {operation!r}"


def test_a_decision_about_an_unknown_operation_is_an_error() -> None:
    with pytest.raises(KeyError):
        access.decide(callers()["root"], "no such operation")
