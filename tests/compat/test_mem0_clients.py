"""Real clients of Mem0, as programs in environments of their own, against a running server."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from compat import calls
from compat.environments import VERSIONS, python_of
from conftest import OFFLINE
from support.served import Served, served

pytestmark = [pytest.mark.compat, pytest.mark.timeout(1_200)]

NEWEST, MIDDLE, OLDEST = VERSIONS
TABLES = {NEWEST: calls.of_v2(), MIDDLE: calls.of_v1(), OLDEST: calls.of_v0()}
FACES = ("sync", "async")
DRIVER = Path(__file__).with_name("driver.py")
MEMORY_KEYS = {
    "id", "memory", "user_id", "agent_id", "app_id", "run_id", "session_id", "metadata",
    "categories", "expiration_date", "created_at", "updated_at", "structured_attributes",
    "replaced_by", "synthesized", "lifecycle_state",
}  # fmt: skip


def drive(
    version: str, face: str, server: Served, table: list[calls.Call], key: str | None = None
) -> Any:
    """What the client of this version says of these calls."""
    order = {"host": server.url, "key": key or server.key, "face": face, "calls": table}
    done = subprocess.run(
        [str(python_of(version)), "-W", "ignore", str(DRIVER)],
        input=json.dumps(order),
        env={"PYTHONPATH": OFFLINE, "MEM0_TELEMETRY": "False", "MEM0_DIR": "/nonexistent"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3_000:]
    return json.loads(done.stdout)


def value(answers: dict[str, Any], label: str) -> Any:
    """The answer to a call that must not have raised."""
    assert "value" in answers[label], (label, answers[label])
    return answers[label]["value"]


def raised(answers: dict[str, Any], label: str) -> str:
    """The name of what a call raised."""
    assert "raised" in answers[label], (label, answers[label])
    return str(answers[label]["raised"])


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("version", VERSIONS)
def test_every_method_of_a_client_works(server: Served, version: str, face: str) -> None:
    table = TABLES[version]
    told = drive(version, face, server, table)
    assert told["version"] == version
    answers = told["answers"]
    called = {method for _, method, _, _ in [*table, *calls.of_setup(), *calls.of_profiles()]}
    assert set(told["methods"]) - called - calls.REFUSED == set()
    expected = {"unknown", "no_uuid", "deleted", "delete_all_of_nobody", "chat", "search_odd"}
    assert {label for label in answers if "raised" in answers[label]} - expected == set()
    _check_common(answers)
    {NEWEST: _check_v2, MIDDLE: _check_v1, OLDEST: _check_v0}[version](answers)


@pytest.mark.parametrize("face", FACES)
def test_profiles_work(server: Served, face: str) -> None:
    answers = drive(NEWEST, face, server, calls.of_profiles())["answers"]
    assert {label for label in answers if "raised" in answers[label]} == {"profile_unknown"}
    assert value(answers, "profile_off")["status"] == "not_enabled"
    assert value(answers, "profile_settings")["enabled"] is False
    assert value(answers, "profile_update")["entities"]["user"]["custom_instructions"]
    made = value(answers, "profile")
    assert (made["status"], made["entity_type"], made["profile"]) == (
        "succeeded", "user", {"food": []}
    )  # fmt: skip
    assert value(answers, "profile_again")["replayed"] is True
    for label in ("profile_job", "profile_job_id"):
        assert value(answers, label)["job"]["status"] == "succeeded"
    assert value(answers, "profile_sample")["entity_ids"] == ["ann"]


def _check_common(answers: dict[str, Any]) -> None:
    [added] = value(answers, "add")["results"]
    shown = value(answers, "get")
    assert shown["id"] == added["id"]
    assert set(shown) >= MEMORY_KEYS
    assert (shown["memory"], shown["actor_id"]) == ("I like to drink tea", "Ann")
    assert value(answers, "update")["memory"] == "I like to drink coffee"
    assert value(answers, "update")["metadata"] == {"a": 2}
    events = [change["event"] for change in value(answers, "history")]
    assert events[0] == "ADD"
    assert set(events[1:]) == {"UPDATE"}
    assert [one["name"] for one in value(answers, "users")["results"]] == ["ann"]
    assert value(answers, "users")["total_users"] == 1
    assert value(answers, "batch_update") == {"message": "Successfully updated 1 memories"}
    assert value(answers, "batch_delete") == {"message": "Successfully deleted 1 memories"}
    assert value(answers, "delete") == {"message": "Memory deleted successfully!"}
    assert "event_id" in value(answers, "delete_all")
    assert "Delete in progress" in value(answers, "delete_all")["message"]
    assert raised(answers, "chat") == "NotImplementedError"
    for label, status, text in (
        ("unknown", "404", "Memory not found!"),
        ("deleted", "404", "Memory not found!"),
        ("no_uuid", "400", "memory_id should be a valid UUID"),
    ):
        raised(answers, label)
        told = answers[label]["text"]
        assert text in told or f"'{status} " in told, told  # some old clients tell the status only
    raised(answers, "delete_all_of_nobody")
    assert "deleted" in value(answers, "delete_odd")["message"]
    assert value(answers, "users_then")["count"] <= 1
    assert "reset" in value(answers, "reset")["message"]
    assert value(answers, "users_at_last")["results"] == []


def _check_v2(answers: dict[str, Any]) -> None:
    [added] = value(answers, "add")["results"]
    assert added["data"] == {"memory": "I like to drink tea"}
    assert added["event"] == "ADD"
    assert value(answers, "add")["status"] == "SUCCEEDED"
    for label in ("add_inferred", "add_options"):
        assert value(answers, label)["event_id"]
    page = value(answers, "get_all")
    assert (page["count"], len(page["results"]), page["previous"]) == (4, 2, None)
    assert "page=2" in page["next"]
    assert set(page["results"][0]) >= MEMORY_KEYS
    assert value(answers, "get_all_page")["results"] == []
    assert value(answers, "get_all_options")["count"] == 4
    assert value(answers, "update_time")["event_at"].startswith("2026-03-01")
    assert 1 <= len(value(answers, "search")["results"]) <= 2
    assert 0 <= value(answers, "search")["results"][0]["score"] <= 1
    assert raised(answers, "search_odd") == "ValidationError"
    assert value(answers, "get")["expiration_date"] is None  # it was cleared before
    assert value(answers, "delete_linked")["cascade_count"] == 0
    assert "event_id" in value(answers, "delete_by_filter")
    assert [one["user_id"] for one in value(answers, "left")["results"]] == ["bob"]
    assert raised(answers, "unknown") == "MemoryNotFoundError"
    assert raised(answers, "no_uuid") == "ValidationError"
    assert answers["no_uuid"]["error_code"] == "HTTP_400"


def _check_v1(answers: dict[str, Any]) -> None:
    assert value(answers, "add_more")["results"][0]["event"] == "ADD"
    assert value(answers, "add_inferred")["results"][0]["event_id"]
    page = value(answers, "get_all")
    assert (page["count"], len(page["results"])) == (3, 2)
    assert len(value(answers, "get_all_bare")["results"]) == 3
    assert len(value(answers, "get_all_filters")["results"]) == 3
    assert value(answers, "update_time")["event_at"].startswith("2026-03-01")
    assert value(answers, "search")["results"]
    assert "results" in value(answers, "search_filters")


def _check_v0(answers: dict[str, Any]) -> None:
    assert value(answers, "add_more")["results"][0]["event"] == "ADD"
    assert value(answers, "get_all")["count"] == 2
    assert isinstance(value(answers, "get_all_bare"), list)
    assert len(value(answers, "get_all_bare")) == 2
    assert len(value(answers, "get_all_v2")) == 2
    assert value(answers, "get_all_v2_page")["count"] == 2
    assert isinstance(value(answers, "search"), list)
    assert value(answers, "search")
    assert isinstance(value(answers, "search_v2"), list)


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("version", VERSIONS)
def test_every_method_that_sets_up(server: Served, version: str, face: str) -> None:
    answers = drive(version, face, server, calls.of_setup())["answers"]
    if version != NEWEST:  # these clients fail by themselves, after the server has answered
        assert "capture_client_event()" in answers.pop("feedback")["text"]
    assert {label: answer for label, answer in answers.items() if "raised" in answer} == {}


@pytest.mark.parametrize("version", VERSIONS)
def test_a_wrong_key_is_told_in_the_constructor(server: Served, version: str) -> None:
    for face in FACES:
        told = drive(version, face, server, [], key="wrong")
        assert told["raised"] == "ValueError"
        assert "API key" in told["text"]


@pytest.mark.parametrize("version", VERSIONS)
def test_reset_reaches_beyond_a_hundred_entities(server: Served, version: str) -> None:
    memory = server.deployment.admin.memory()
    for number in range(105):
        server.run(memory.add("here", user_id=f"user {number}", agent_id="bot"))
    table: list[calls.Call] = [("reset", "reset", [], {}), ("users", "users", [], {})]
    answers = drive(version, "sync", server, table)["answers"]
    assert "reset" in value(answers, "reset")["message"]
    assert value(answers, "users")["count"] == 0


@pytest.mark.parametrize("face", FACES)
def test_a_limit_says_when_to_go_on(tmp_path: Path, face: str) -> None:
    table: list[calls.Call] = [(f"users {n}", "users", [], {}) for n in range(4)]
    with served(tmp_path / "store", key_limit_read="3/minute") as server:
        answers = drive(NEWEST, face, server, table)["answers"]
    assert raised(answers, "users 3") == "RateLimitError"
    told = answers["users 3"]["debug_info"]
    assert 1 <= told["retry_after"] <= 60
    assert str(told["x_ratelimit_limit"]) == "3"
    assert str(told["x_ratelimit_remaining"]) == "0"
