"""The real TypeScript clients of Mem0, 3.x and 2.x, every method, against a running server."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from compat import typescript_environments as environments
from support.served import Served, served

pytestmark = [
    pytest.mark.compat,
    pytest.mark.timeout(900),
    pytest.mark.skipif(environments.missing() is not None, reason=str(environments.missing())),
]

Call = tuple[str, str, list[Any]]
"""Label, method, arguments."""

DRIVER = Path(__file__).parent / "ts" / "driver.cjs"
TEA = [{"role": "user", "content": "I like to drink tea"}]
WINE = [{"role": "user", "content": "I like to drink wine"}]
ANN = {"user_id": "ann"}
ODD = "a/b?c % al ice ünï🙂"
URL = "https://hooks.example.org/in"
SCHEMA = {"type": "object", "properties": {"drink": {"type": "string"}}}
FORM = {
    "type": "object",
    "properties": {"food_kinds": {"type": "array", "description": "What they eat."}},
}


def calls_of_3() -> list[Call]:
    """Every method of 3.x: options in camel case, ids of searches inside `filters`."""
    kept = {"infer": False, "expirationDate": "2099-01-01", "metadata": {"camelCase": 1}}
    return [
        ("ping", "ping", []),
        ("add", "add", [TEA, {"userId": "ann", **kept}]),
        ("add_more", "add", [WINE, {"userId": "ann", "infer": False}]),
        ("add_inferred", "add", [WINE, {"userId": "ann", "customInstructions": "Only drinks."}]),
        ("search", "search", ["What do I drink?", {"filters": ANN, "topK": 2}]),
        ("get_all", "getAll", [{"filters": ANN, "page": 1, "pageSize": 1}]),
        *_of_one_memory({"userId": "ann", "infer": False}),
        ("clear_date", "update", [{"$": "add_again.results.0.id"}, {"expirationDate": None}]),
        ("delete_linked", "delete", [{"$": "add_again.results.0.id"}, {"deleteLinked": True}]),
        ("users", "users", [{"page": 1, "pageSize": 10}]),
        ("delete_all", "deleteAll", [{"userId": "ann"}]),
        ("add_odd", "add", [TEA, {"userId": ODD, "infer": False}]),
        ("delete_users", "deleteUsers", [{"userId": ODD}]),
        *_of_the_project({"customInstructions": "Only drinks."}, "create_webhook.webhookId"),
        ("feedback_fact", "add", [TEA, {"userId": "eve", "infer": False}]),
        ("feedback", "feedback", [_feedback("memoryId", "feedback_fact.results.0.id")]),
        ("profile_off", "getProfile", [{"entityId": "eve"}]),
        ("profile_update", "updateProfileSettings", [{"enabled": True, "schema": FORM}]),
        ("profile_settings", "getProfileSettings", []),
        ("profile_made", "generateProfile", [{"entityId": "eve"}]),
        ("profile", "getProfile", [{"entityId": "eve"}]),
        ("profile_job", "getProfileJob", [{"$": "profile_made.statusUrl"}]),
        ("profile_sample", "sampleProfiles", [{"limit": 1}]),
        ("export", "createMemoryExport", [{"schema": SCHEMA, "filters": {"user_id": "eve"}}]),
        ("get_export", "getMemoryExport", [{"memoryExportId": {"$": "export.id"}}]),
        ("delete_user", "deleteUser", [{"entity_id": "eve", "entity_type": "user"}]),
        ("add_last", "add", [TEA, {"userId": "zoe", "infer": False}]),
        ("delete_everybody", "deleteUsers", []),
        ("users_at_last", "users", []),
    ]


def calls_of_2() -> list[Call]:
    """Every method of 2.x: options in snake case, ids at the top, v1 routes unless told."""
    v2 = {"api_version": "v2"}
    return [
        ("ping", "ping", []),
        ("add", "add", [TEA, {**ANN, "infer": False, "metadata": {"camelCase": 1}}]),
        ("add_more", "add", [WINE, {**ANN, "infer": False}]),
        ("add_inferred", "add", [WINE, dict(ANN)]),
        ("search", "search", ["What do I drink?", {**v2, "filters": ANN, "top_k": 2}]),
        ("search_v1", "search", ["What do I drink?", {**ANN, "limit": 2, "threshold": 0.1}]),
        ("get_all", "getAll", [{**v2, "filters": ANN, "page": 1, "page_size": 1}]),
        ("get_all_v1", "getAll", [dict(ANN)]),
        *_of_one_memory({**ANN, "infer": False}, "add.0.id", "add_more.0.id"),
        ("users", "users", []),
        ("delete_all", "deleteAll", [dict(ANN)]),
        ("add_odd", "add", [TEA, {"user_id": "a/b c ünï", "infer": False}]),
        ("delete_users", "deleteUsers", [{"user_id": "a/b c ünï"}]),
        *_of_the_project({"custom_instructions": "Only drinks."}, "create_webhook.webhook_id"),
        ("feedback_fact", "add", [TEA, {"user_id": "eve", "infer": False}]),
        ("feedback", "feedback", [_feedback("memory_id", "feedback_fact.0.id")]),
        ("export", "createMemoryExport", [{"schema": SCHEMA, "filters": {"user_id": "eve"}}]),
        ("get_export", "getMemoryExport", [{"memory_export_id": {"$": "export.id"}}]),
        ("delete_user", "deleteUser", [{"entity_id": "eve", "entity_type": "user"}]),
        ("add_last", "add", [TEA, {"user_id": "zoe", "infer": False}]),
        ("delete_everybody", "deleteUsers", []),
        ("users_at_last", "users", []),
    ]


def _of_one_memory(
    second: dict[str, Any], one: str = "add.results.0.id", other: str = "add_more.results.0.id"
) -> list[Call]:
    """`one` and `other` say where the ids are in what earlier calls gave."""
    this, that = {"$": one}, {"$": other}
    return [
        ("get", "get", [this]),
        ("update", "update", [this, {"text": "I like to drink coffee", "metadata": {"a": 2}}]),
        ("history", "history", [this]),
        ("batch_update", "batchUpdate", [[{"memoryId": this, "text": "I like to drink cocoa"}]]),
        ("batch_delete", "batchDelete", [[that]]),
        ("unknown", "get", ["0190f5fe-7c1e-7b5a-9d53-6d7f0a4f1c11"]),
        ("no_uuid", "get", ["12"]),
        ("delete", "delete", [this]),
        ("deleted", "get", [this]),
        ("add_again", "add", [TEA, second]),
    ]


def _of_the_project(settings: dict[str, Any], webhook_id: str) -> list[Call]:
    """`webhook_id` says where the id is in what making the webhook gave."""
    hook = {"url": URL, "name": "mine", "eventTypes": ["memory_add"]}
    made = {"webhookId": {"$": webhook_id}}
    return [
        ("update_project", "updateProject", [settings]),
        ("get_project", "getProject", [{"fields": ["custom_instructions"]}]),
        ("create_webhook", "createWebhook", [hook]),
        ("get_webhooks", "getWebhooks", []),
        ("update_webhook", "updateWebhook", [{**made, "name": "yours"}]),
        ("delete_webhook", "deleteWebhook", [made]),
    ]


def _feedback(name: str, fact: str) -> dict[str, Any]:
    return {name: {"$": fact}, "feedback": "POSITIVE"}


CALLS = {"3": calls_of_3(), "2": calls_of_2()}
REFUSED = {
    "unknown": "Memory not found",
    "no_uuid": "UUID",
    "deleted": "Memory not found",
}
"""Calls that must fail, and what the error says."""


def drive(generation: str, server: Served, calls: list[Call], key: str | None = None) -> Any:
    """What the client made of the calls: answers by label, and its public methods."""
    done = subprocess.run(
        ["node", str(DRIVER), str(environments.package_of(generation))],
        input=json.dumps({"host": server.url, "key": key or server.key, "calls": calls}),
        env={"PATH": os.environ["PATH"], "MEM0_TELEMETRY": "false"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    return json.loads(done.stdout)


@pytest.fixture(params=sorted(CALLS))
def driven(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Any]:
    """Generation and what came of all its calls, on a server of its own."""
    with served(tmp_path / "store") as server:
        return request.param, drive(request.param, server, CALLS[request.param])


def test_every_method_is_called_and_works(driven: tuple[str, Any]) -> None:
    generation, came = driven
    called = {method for _, method, _ in CALLS[generation]}
    assert set(came["methods"]) <= called, "methods that are not called"
    answers = came["answers"]
    errors = {label: each["error"] for label, each in answers.items() if "error" in each}
    failed = {label: error["message"] for label, error in errors.items() if label not in REFUSED}
    assert not failed
    for label in REFUSED.keys() & answers.keys():
        assert REFUSED[label] in errors[label]["message"]
    _check(generation, answers)


def test_a_profile_comes_back_with_the_names_of_its_form(tmp_path: Path) -> None:
    with served(tmp_path / "store") as server:
        answers = drive("3", server, calls_of_3())["answers"]
    value = {label: each.get("value") for label, each in answers.items()}
    assert value["profile_off"]["status"] == "not_enabled"
    assert value["profile_settings"]["entities"]["user"]["schema"] == FORM
    made = value["profile"]
    assert (made["status"], made["profile"]) == ("succeeded", {"food_kinds": []})
    assert value["profile_job"]["job"]["status"] == "succeeded"
    assert value["profile_sample"]["sampled"] == 1


def _check(generation: str, answers: Mapping[str, Any]) -> None:
    """The shapes that the specification of compatibility tells, as the client hands them on."""
    value = _snake({label: each.get("value") for label, each in answers.items()})
    bare = generation == "2"  # lists as they are, without {"results": ...}
    added = value["add"] if bare else value["add"]["results"]
    found = value["search"] if bare else value["search"]["results"]
    assert [each["event"] for each in added] == ["ADD"]
    assert found[0]["score"] > 0
    assert found[0]["memory"] == TEA[0]["content"]
    assert found[0]["metadata"]
    assert value["get_all"]["count"] == 3
    assert len(value["get_all"]["results"]) == 1
    assert value["get"]["memory"] == TEA[0]["content"]
    assert value["get"]["created_at"]
    assert value["update"]["memory"] == "I like to drink coffee"
    assert {each["event"] for each in value["history"]} == {"ADD", "UPDATE"}
    assert "1 memories" in value["batch_update"]["message"]
    assert "1 memories" in value["batch_delete"]["message"]
    assert value["users"]["results"][0]["name"] == "ann"
    assert value["get_project"]["custom_instructions"] == "Only drinks."
    assert value["create_webhook"]["webhook_id"] == value["get_webhooks"][0]["webhook_id"]
    assert value["feedback"]["feedback"] == "POSITIVE"
    assert value["export"]["id"]
    assert value["users_at_last"]["results"] == []


def _snake(value: Any) -> Any:
    """Keys in snake case, as they came: 3.x turns them into camel case."""
    if isinstance(value, list):
        return [_snake(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {re.sub("([A-Z])", r"_\1", key).lower(): _snake(each) for key, each in value.items()}


@pytest.mark.parametrize("generation", sorted(CALLS))
def test_refusals_are_what_the_client_expects(generation: str, tmp_path: Path) -> None:
    search: Call = ("search", "search", ["tea", {"filters": ANN, "api_version": "v2"}])
    with served(tmp_path / "store", key_limit_search="1/minute") as server:
        stranger = drive(generation, server, [search], key="hf_not-a-key")["answers"]
        limited = drive(generation, server, [search, ("again", *search[1:])])["answers"]
    assert stranger["search"]["error"]
    assert "value" in limited["search"]
    error = limited["again"]["error"]
    assert error["name"] == "RateLimitError"
    assert "search calls" in error["message"]
