"""Real answers against what the OpenAPI document says of them, strictly: no field is left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import httpx
import jsonschema
import pytest

from support.served import PLAIN, Served

Call = Callable[..., Any]
ANN = {"user_id": "ann"}
NUTS = {
    "messages": [{"role": "user", "content": "I am allergic to nuts.", "name": "Ann"}],
    "expiration_date": "2099-01-01",
    "metadata": {"topic": "health"},
    **ANN,
}
PERSON = {"name": "Ann", "email": "ann@example.com", "password": "correct horse battery"}


def strict(schema: Any) -> Any:
    """The schema, with no fields allowed but those it names."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, Mapping):
        return schema
    made = {name: strict(value) for name, value in schema.items()}
    if "properties" in made and "allOf" not in made:
        made.setdefault("additionalProperties", False)
    return made


@pytest.fixture
def call(client: httpx.Client) -> Call:
    """Asks, and holds the answer against the document."""
    document = client.get("/openapi.json").json()

    def asked(method: str, path: str, status: int = 200, **more: Any) -> Any:
        place = more.pop("place", path)
        answer = client.request(method, path, **more)
        assert answer.status_code == status, answer.text
        told = document["paths"][place][method.lower()]["responses"][str(status)]
        schema = strict(told["content"]["application/json"]["schema"])
        components = {"components": strict(document["components"])}
        jsonschema.validate(answer.json(), {**schema, **components})
        return answer.json()

    return asked


def test_memories_of_the_open_source_server(call: Call) -> None:
    [made] = call("POST", "/memories", json=NUTS)["results"]
    one = {"place": "/memories/{memory_id}"}
    at = f"/memories/{made['id']}"
    assert call("GET", "/memories", params=ANN)["results"][0]["actor_id"] == "Ann"
    assert call("GET", "/memories")["results"], "the administrator's view"
    assert call("GET", at, **one)["metadata"] == {"topic": "health"}
    assert call("GET", "/memories/none", **one) is None
    asked = {"query": "nuts", "filters": ANN, "explain": True}
    assert call("POST", "/search", json=asked)["results"][0]["score_details"]
    call("PUT", at, json={"text": "I am allergic to peanuts."}, **one)
    assert len(call("GET", f"{at}/history", place=f"{one['place']}/history")) == 2
    assert call("GET", "/entities")[0]["id"] == "ann"
    call("DELETE", at, **one)
    call("DELETE", "/memories", params=ANN)
    call("DELETE", "/entities/user/ann", place="/entities/{kind}/{entity_id}")
    call("POST", "/reset")


def test_accounts_of_the_open_source_server(call: Call) -> None:
    call("GET", "/auth/setup-status")
    tokens = call("POST", "/auth/register", json=PERSON)
    call("POST", "/auth/login", json=PERSON)
    call("POST", "/auth/refresh", json={"refresh_token": tokens["refresh_token"]})
    call("GET", "/auth/me")
    call("PATCH", "/auth/me", json={"name": "Anna"})
    made = call("POST", "/api-keys", 201, json={"label": "laptop"})
    assert [one["label"] for one in call("GET", "/api-keys")] == ["laptop"]
    call("DELETE", f"/api-keys/{made['id']}", place="/api-keys/{key_id}")
    call("POST", "/auth/onboarding-complete")
    words = {"current_password": PERSON["password"], "new_password": "another horse battery"}
    call("POST", "/auth/change-password", json=words)


def test_settings_of_the_open_source_server(call: Call) -> None:
    call("POST", "/configure", json={"custom_instructions": "Keep what people eat."})
    call("GET", "/configure")
    call("GET", "/configure/providers")
    assert call("GET", "/requests")[0]["method"] == "GET"


def test_keys_and_projects(call: Call) -> None:
    call("GET", "/holdfast/whoami")
    wish = {"label": "phone", "users": ["ann"], "expires_at": "2099-01-01"}
    made = call("POST", "/holdfast/keys", 201, json=wish)
    place = "/holdfast/keys/{key_id}"
    at = f"/holdfast/keys/{made['id']}"
    new = call("POST", f"{at}/rotate", json={"grace_s": 60}, place=f"{place}/rotate")
    call("DELETE", f"/holdfast/keys/{new['id']}", place=place)
    assert len(call("GET", "/holdfast/keys")["results"]) == 2
    call("POST", "/holdfast/projects", 201, json={"name": "Shop", "project_id": "shop"})
    one = {"place": "/holdfast/projects/{project}"}
    call("GET", "/holdfast/projects/shop", **one)
    call("PATCH", "/holdfast/projects/shop", json={"description": "Ours"}, **one)
    assert call("GET", "/holdfast/projects")["results"]
    call("DELETE", "/holdfast/projects/shop", **one)


def test_what_is_held(call: Call, server: Served) -> None:
    add = {**NUTS, "trust": "untrusted"}
    httpx.post(f"{server.url}/holdfast/add", json=add, headers=server.headers, verify=PLAIN)
    [held] = call("GET", "/holdfast/quarantine")["results"]
    call("GET", f"/holdfast/quarantine/{held['id']}", place="/holdfast/quarantine/{held_id}")
