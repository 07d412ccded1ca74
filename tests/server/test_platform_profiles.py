"""Profiles over HTTP: with a model and without, what makes them anew, what deletion leaves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx
import pytest

from holdfast.directory import Export
from holdfast.engine import exports, profiles
from server.platform_client import added, talking
from support.llm_server import LLMServer, failure
from support.sealed import written
from support.served import Served, served

SCHEMA = {
    "type": "object",
    "properties": {
        "food": {"type": "array", "items": {"type": "string"}, "description": "What they eat."},
        "city": {"type": "string", "description": "Where they live."},
    },
}
SETTINGS = "/v2/profiles/settings/"
JOBS = "/v2/profiles/jobs/"


@pytest.fixture
def client(server: Served) -> Iterator[httpx.Client]:
    with talking(server) as one:
        yield one


def enable(client: httpx.Client, **more: Any) -> dict[str, Any]:
    body = {"enabled": True, "entities": {"user": {"schema": SCHEMA}}, **more}
    answer = client.post(SETTINGS, json=body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def profile(client: httpx.Client, name: str = "ann", kind: str = "user") -> dict[str, Any]:
    answer = client.get(f"/v2/entities/{kind}/{name}/profile/")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def trigger(client: httpx.Client, key: str = "k", **more: Any) -> httpx.Response:
    body = {"operation": "trigger", "entity_type": "user", "entity_id": "ann", **more}
    return client.post(JOBS, json=body, headers={"Idempotency-Key": key})


def test_where_they_are_off_a_read_says_so(client: httpx.Client) -> None:
    assert client.get("/v2/entities/user/ann/profile/").status_code == 404
    added(client, "I like tea")
    told = profile(client)
    assert (told["status"], told["profile"], told["generation_count"]) == ("not_enabled", {}, 0)
    settings = client.get(SETTINGS).json()
    assert (settings["enabled"], settings["entities"]["user"]["schema"]) == (False, None)
    answer = trigger(client)
    assert (answer.status_code, "not enabled" in answer.json()["detail"]) == (400, True)


def test_settings_change_what_they_name(client: httpx.Client) -> None:
    told = enable(client)
    assert told["entities"]["user"] == {"schema": SCHEMA, "custom_instructions": None}
    told = client.post(SETTINGS, json={"entities": {"user": {"custom_instructions": "Short."}}})
    assert told.json()["enabled"] is True
    assert told.json()["entities"]["user"] == {"schema": SCHEMA, "custom_instructions": "Short."}
    client.post(SETTINGS, json={"enabled": False})
    kept = client.get(SETTINGS).json()
    assert (kept["enabled"], kept["entities"]["user"]["schema"]) == (False, SCHEMA)
    client.post(SETTINGS, json={"entities": {"user": {"custom_instructions": None}}})
    assert client.get(SETTINGS).json()["entities"]["user"]["custom_instructions"] is None
    assert client.get(SETTINGS).json()["entities"]["user"]["schema"] == SCHEMA
    for bad in (
        {"schema": {"type": "object", "properties": {"a": {"type": "string"}}}},
        {"schema": {"type": "string"}},
        {"custom_instructions": 3},
    ):
        assert client.post(SETTINGS, json={"entities": {"user": bad}}).status_code == 400
    assert client.post(SETTINGS, json={"entities": {"run": {}}}).status_code == 400
    assert client.get(SETTINGS).json()["entities"]["user"]["schema"] == SCHEMA


def test_without_a_model_lists_hold_the_memories_of_their_category(client: httpx.Client) -> None:
    enable(client)
    added(client, "I like tea", categories=["food"])
    added(client, "I own a boat")
    added(client, "Bob likes rum", "bob", categories=["food"])
    told = profile(client)
    assert (told["status"], told["profile"]) == ("succeeded", {"food": ["I like tea"]})
    assert (told["entity_id"], told["generation_count"]) == ("ann", 1)
    assert told["updated_at"]
    assert profile(client)["generation_count"] == 1, "it is kept"


def test_ten_memories_more_make_it_anew(client: httpx.Client) -> None:
    enable(client)
    added(client, "tea 0", categories=["food"])
    assert profile(client)["profile"] == {"food": ["tea 0"]}
    for number in range(1, 10):
        added(client, f"tea {number}", categories=["food"])
    assert len(profile(client)["profile"]["food"]) == 1
    added(client, "tea 10", categories=["food"])
    told = profile(client)
    assert (len(told["profile"]["food"]), told["generation_count"]) == (11, 2)


def test_a_profile_goes_with_a_memory_it_was_made_from(
    client: httpx.Client, server: Served
) -> None:
    enable(client)
    secret = added(client, "my secret tea", categories=["food"])
    added(client, "I like rum", categories=["food"])
    assert "my secret tea" in profile(client)["profile"]["food"]
    client.delete(f"/v1/memories/{secret}/")
    directory = server.deployment.admin._open_parts().directory
    assert server.run(directory.select(Export)) == []
    assert profile(client)["profile"] == {"food": ["I like rum"]}
    client.delete("/v1/memories/", params={"user_id": "ann"})
    assert client.get("/v2/entities/user/ann/profile/").status_code == 404


def test_a_job_is_told_by_its_id_and_a_repeated_call_is_the_same(client: httpx.Client) -> None:
    enable(client)
    added(client, "I like tea", categories=["food"])
    made = trigger(client).json()
    assert (made["status"], made["operation"], made["replayed"]) == ("pending", "trigger", False)
    again = trigger(client).json()
    assert (again["job_id"], again["replayed"]) == (made["job_id"], True)
    assert trigger(client, "other").json()["job_id"] != made["job_id"]
    assert trigger(client, entity_id="nobody").status_code == 404
    added(client, "rum", "bob")
    assert trigger(client, entity_id="bob").status_code == 409
    told = client.get(made["status_url"]).json()["job"]
    assert (told["status"], told["total"], told["succeeded"]) == ("succeeded", 1, 1)
    assert client.get(f"{JOBS}0190f5fe-7c1e-7b5a-9d53-6d7f0a4f1c11/").status_code == 404


def test_a_sample_makes_a_few(client: httpx.Client) -> None:
    enable(client)
    body = {"operation": "sample", "entity_type": "user", "limit": 2}
    assert client.post(JOBS, json=body).status_code == 400
    for name in ("ann", "bob", "cat"):
        added(client, "tea", name, categories=["food"])
    made = client.post(JOBS, json=body).json()
    assert (made["sampled"], len(made["entity_ids"])) == (2, 2)
    told = client.get(made["status_url"]).json()["job"]
    assert (told["status"], told["total"], told["completed"]) == ("succeeded", 2, 2)
    for name in made["entity_ids"]:
        assert profile(client, name)["generation_count"] == 1


def test_agents_have_profiles_of_their_own_form(client: httpx.Client) -> None:
    enable(client, entities={"agent": {"schema": SCHEMA}})
    body = {"messages": "I serve tea", "agent_id": "bot", "infer": False, "categories": ["food"]}
    client.post("/v3/memories/add/", json=body)
    assert profile(client, "bot", "agent")["profile"] == {"food": ["I serve tea"]}


def test_profiles_take_no_room_of_exports_and_only_so_many_stay(
    client: httpx.Client, server: Served
) -> None:
    enable(client)
    for name in ("ann", "bob", "cat"):
        added(client, "tea", name, categories=["food"])
    filters = {"user_id": "ann"}
    client.post("/v1/exports/", json={"schema": SCHEMA, "filters": filters})
    with patch.object(profiles, "PROFILES_KEPT_MAX", 2):
        for name in ("ann", "bob", "cat"):
            profile(client, name)
    directory = server.deployment.admin._open_parts().directory
    kept = sorted(one.id.rpartition(" ")[2] for one in server.run(directory.select(Export)))
    assert kept[1:] == ["bob", "cat"]
    assert profile(client)["status"] == "succeeded"
    with patch.object(exports, "EXPORTS_KEPT_MAX", 1):
        client.post("/v1/exports/", json={"schema": SCHEMA, "filters": filters})
    assert client.post("/v1/exports/get/", json={"filters": filters}).json()["memories"]
    assert profile(client)["generation_count"] == 1, "it was not pruned"


def test_a_key_of_one_user_sees_no_profiles(client: httpx.Client, server: Served) -> None:
    enable(client)
    added(client, "I like tea")
    made = server.run(server.deployment.admin.create_key(users=["ann"]))
    with talking(server, made.secret) as ann:
        assert ann.get("/v2/entities/user/ann/profile/").status_code == 403
        assert trigger(ann).status_code == 403
        assert ann.get(SETTINGS).status_code == 403


def test_in_a_sealed_store_a_profile_is_no_plain_text(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(written() + "\n")
    keys.chmod(0o600)
    seal = {"seal": {"provider": "file", "config": {"path": str(keys)}}}
    folder = tmp_path / "store"
    with served(folder, seal) as server, talking(server) as client:
        enable(client)
        added(client, "I like secret tea", categories=["food"])
        assert profile(client)["profile"] == {"food": ["I like secret tea"]}
        stored = b"".join(path.read_bytes() for path in folder.iterdir() if path.is_file())
        assert b"ann" in stored
        assert b"secret tea" not in stored


def test_a_model_fills_in_the_form_in_a_job(tmp_path: Path) -> None:
    with LLMServer() as llm:
        config = {"model": "scripted", "openai_base_url": llm.url, "api_key": "k"}
        more: dict[str, Any] = {
            "llm": {"provider": "openai", "config": config},
            "model_attempts_max": 1, "job_attempts_max": 1, "workers": 0,
        }  # fmt: skip
        filled = json.dumps({"export": json.dumps({"city": "Oslo"})})
        llm.say(filled, failure(500, "away"))
        with served(tmp_path / "store", more) as server, talking(server) as client:
            enable(client, entities={"user": {"schema": SCHEMA, "custom_instructions": "Brief."}})
            added(client, "I live in Oslo")
            assert profile(client)["status"] == "pending"
            assert profile(client)["generation_count"] == 1, "it is begun once"
            memory = server.deployment.admin.memory()
            [waiting] = server.run(memory.events(event_type="PROFILE"))["results"]
            server.run(memory.wait(waiting["id"]))
            told = profile(client)
            assert (told["status"], told["profile"]) == ("succeeded", {"city": "Oslo"})
            [asked] = llm.requests
            assert "I live in Oslo" in asked.raw.decode()
            assert "Brief." in asked.raw.decode()
            made = trigger(client).json()
            server.run(memory.wait(made["job_id"]))
            assert client.get(made["status_url"]).json()["job"]["status"] == "failed"
            assert profile(client)["profile"] == {"city": "Oslo"}, "what was made stays"


@pytest.mark.parametrize("last", ["", "/"])
def test_a_name_may_end_like_the_route(client: httpx.Client, last: str) -> None:
    """Written as a part of the name, `%2Fprofile` belongs to it."""
    added(client, "I like tea", "ann/profile")
    added(client, "I like rum", "ann")
    found = client.get(f"/v2/entities/user/ann%2Fprofile{last}")
    assert (found.status_code, found.json()["name"]) == (200, "ann/profile")
    told = client.get(f"/v2/entities/user/ann%2fprofile/profile{last}").json()
    assert (told["entity_id"], told["status"]) == ("ann/profile", "not_enabled")
    assert client.get(f"/v2/entities/user/ann/profile{last}").json()["entity_id"] == "ann"
    for profiled in ("bob/profile", "bob"):
        assert client.get(f"/v2/entities/user/{profiled}/profile").status_code == 404
    gone = client.delete(f"/v2/entities/user/ann%2Fprofile{last}")
    assert gone.status_code == 200
    assert client.get(f"/v2/entities/user/ann%2Fprofile{last}").status_code == 404
    assert client.get("/v2/entities/user/ann").status_code == 200
