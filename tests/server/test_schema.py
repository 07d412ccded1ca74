"""schemathesis over the OpenAPI document: whatever is sent, the answer is one that is documented.

Every operation of the document is a test of its own, so a new route is covered by being there.
Values come from what the document says, broken on purpose for half of the requests; ids of things
that exist are put in the place of made-up ones now and then, so that not everything ends in 404.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from fastapi.routing import APIRoute
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.core.failures import FailureGroup
from schemathesis.core.transport import Response
from schemathesis.specs.openapi import checks

from holdfast.errors import AuthenticationError
from holdfast.server.app import build
from holdfast.server.routing import operation_of
from support.served import ADMIN_KEY, Served, served
from support.thorough import often

# The server's threads draw jitter while Hypothesis looks whether its strategies do.
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")

EXAMPLES = often(2, 6)
"""Random requests to each operation, besides those that cover its schema systematically."""
SEED = 20261123
UNLIMITED = {f"key_limit_{load}": "" for load in ("search", "read", "add", "write", "admin")}
APP = build({"path": "never-opened", "server": {"admin_key": ADMIN_KEY}})
CONFIG = {
    "seed": SEED,
    "suppress-health-check": ["all"],
    "generation": {
        "with-security-parameters": False,
        "max-examples": EXAMPLES,
        "deterministic": True,
        "no-shrink": True,
    },
    "phases": {"coverage": {"unexpected-methods": ["patch"]}},
}
SCHEMA = schemathesis.openapi.from_dict(APP.openapi(), config=SchemathesisConfig.from_dict(CONFIG))
INSIDE = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.unsupported_method,
    not_a_server_error,
]
NOT_OFFERED = {501: "UNSUPPORTED", 502: "MODEL"}
"""What a deployment without a language model may say where one is needed: status, start of code."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server with a few memories, whose limits do not come in the way."""
    with served(tmp_path_factory.mktemp("schema") / "store", **UNLIMITED) as running:
        memory = running.deployment.admin.memory()
        for text in ("I like tea", "I live in Lisbon", "My dog is called Rex"):
            running.run(memory.add(text, user_id="alice", infer=False))
        running.run(_read_at_once(running))
        yield running


async def _read_at_once(running: Served) -> None:
    """Start all of the store's reading threads here, so that no test is blamed for one."""
    memory = running.deployment.admin.memory()
    reads = (memory.get_all(filters={"user_id": "alice"}) for _ in range(32))
    await asyncio.gather(*reads)


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    """Keeps its connection from request to request."""
    with requests.Session() as talking:
        yield talking


class Known:
    """Things that exist, taken in turn with what was made up."""

    def __init__(self) -> None:
        self._turn = itertools.count()

    def into(self, case: Case, store: Served) -> None:
        """Put existing ids into the path, every second time."""
        if not case.path_parameters or next(self._turn) % 2:
            return
        values = self._values(store)
        for name in case.path_parameters:
            if name in values:
                case.path_parameters[name] = values[name]

    def _values(self, store: Served) -> dict[str, str]:
        listing = store.deployment.admin.memory().get_all(filters={"user_id": "alice"})
        found = store.run(listing)["results"]
        memory_id = found[0]["id"] if found else str(uuid.uuid4())
        return {
            "memory_id": memory_id,
            "entity_type": "user",
            "type": "users",
            "entity_id": "alice",
            "name": "alice",
            "project_id": store.deployment.admin.config.project,
            "org_id": "holdfast",
        }


KNOWN = Known()


def _answer(case: Case, store: Served, session: requests.Session, key: str | None) -> Any:
    headers = {"Authorization": f"Token {key}"} if key else {}
    return case.call(
        base_url=store.url, session=session, headers=headers, timeout=20, allow_redirects=False
    )


def _not_offered(answer: Any) -> bool:
    """Whether this deployment says, as the document lets it, that it lacks what is asked for."""
    begin = NOT_OFFERED.get(answer.status_code)
    return begin is not None and answer.json()["code"].startswith(begin)


@SCHEMA.parametrize()
def test_every_answer_is_documented(case: Case, store: Served, session: requests.Session) -> None:
    KNOWN.into(case, store)
    answer = _answer(case, store, session, ADMIN_KEY)
    wanted = [each for each in INSIDE if each is not not_a_server_error]
    case.validate_response(answer, checks=wanted if _not_offered(answer) else INSIDE)
    if not case.path.startswith("/auth/"):  # those are for accounts, which no key is
        assert answer.status_code != 401, "the administrator's key is good"


ROUTES = [
    pytest.param(route, method, id=f"{method} {route.path}")
    for route in APP.routes
    if isinstance(route, APIRoute)
    for method in sorted(route.methods)
    if operation_of(route) is not None
]


@pytest.mark.parametrize(("route", "method"), ROUTES)
def test_without_a_good_key_nothing_is_told(
    route: APIRoute, method: str, store: Served, stranger: httpx.Client
) -> None:
    path = route.path_format
    for name in route.param_convertors:
        path = path.replace(f"{{{name}}}", "11111111-1111-4111-8111-111111111111")
    for key, body in itertools.product(
        (None, "hf_no-key", "x" * 5_000), (b"", b"{}", b"{", b"[1]")
    ):
        sent = {"authorization": f"Token {key}"} if key else {}
        answer = stranger.request(method, path, headers=sent, content=body)
        assert answer.status_code == 401, f"{key and key[:9]} with the body {body!r}"
        assert answer.json()["code"] == AuthenticationError.code


@pytest.fixture(scope="module")
def stranger(store: Served) -> Iterator[httpx.Client]:
    """Talks to the server without a key, in JSON that need not be any."""
    with httpx.Client(base_url=store.url, headers={"content-type": "application/json"}) as talking:
        yield talking


GOOD = {"detail": "d", "error": "e", "code": "c", "request_id": "r"}


@pytest.mark.parametrize(
    ("status", "content", "body"),
    [
        (500, "application/json", GOOD),
        (418, "application/json", GOOD),
        (400, "text/plain", GOOD),
        (400, "application/json", {"detail": "d"}),
    ],
    ids=["5xx", "undocumented", "content type", "outside the schema"],
)
def test_a_planted_fault_is_caught(status: int, content: str, body: dict[str, str]) -> None:
    case = SCHEMA["/v1/ping/"]["GET"].Case()
    with pytest.raises(FailureGroup):
        case.validate_response(_planted(status, body, content), checks=INSIDE)
    case.validate_response(_planted(400, GOOD), checks=INSIDE)


def _planted(status: int, body: Any, content: str = "application/json") -> Response:
    asked = requests.Request("GET", "http://127.0.0.1/v1/ping/").prepare()
    return Response(
        status_code=status,
        headers={"content-type": [content]},
        content=json.dumps(body).encode(),
        request=asked,
        elapsed=0.0,
        verify=False,
    )
