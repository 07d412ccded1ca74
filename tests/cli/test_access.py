"""key and project: who may use a deployment."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from holdfast.admin import AsyncAdmin
from holdfast.core.access import Principal
from holdfast.directory import Delivery
from holdfast.errors import AuthenticationError

Done = Callable[..., str]
Told = Callable[..., Any]
Refused = Callable[..., str]
Run = Callable[..., Any]


def whose(key: str) -> Principal:
    """Whom a server on the same store takes a key for."""

    async def ask() -> Principal:
        async with AsyncAdmin() as admin:
            return await admin.recognise(key)

    return asyncio.run(ask())


def test_a_key_is_printed_once_and_works(run: Run, told: Told) -> None:
    result = run("key", "create", "--label", "laptop")
    assert result.exit_code == 0
    key = result.stdout.strip()
    assert "stored nowhere" in result.stderr
    assert whose(key).permissions == {"read", "write"}
    (listed,) = told("key", "list")["results"]
    assert listed["label"] == "laptop"
    assert listed["id"] in key
    secret = key.partition(listed["id"])[2]
    assert len(secret) > 20
    assert secret not in str(listed)


def test_a_key_for_certain_users_and_a_time(told: Told, done: Done) -> None:
    made = told(
        "key", "create", "--allow", "reader", "--user", "ann", "--user", "bob",
        "--expires", "2999-01-01",
    )  # fmt: skip
    principal = whose(made["key"])
    assert principal.permissions == {"read"}
    assert principal.fence.users == ("ann", "bob")
    assert made["expires_at"] == "2999-01-01T00:00:00+00:00"
    line = done("key", "list")
    assert "user=ann" in line
    assert made["key"] not in line


def test_the_user_of_the_environment_does_not_restrict_keys(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLDFAST_USER", "ann")
    assert whose(told("key", "create")["key"]).fence.is_open


def test_keys_are_rotated_and_revoked(told: Told, done: Done, refused: Refused) -> None:
    old = told("key", "create", "--allow", "admin")
    kept = told("key", "rotate", old["id"], "--grace", "3600")
    assert whose(old["key"]).permissions == whose(kept["key"]).permissions
    new = told("key", "rotate", kept["id"])
    assert done("key", "revoke", new["id"]) == f"Revoked {new['id']}.\n"
    for gone in (kept, new):
        with pytest.raises(AuthenticationError):
            whose(gone["key"])
    assert "NOT_FOUND" in refused(3, "key", "revoke", new["id"])
    assert "NOT_FOUND" in refused(3, "key", "rotate", "000000000000")
    assert len(told("key", "list")["results"]) == 3


def test_wrong_wishes_are_refused(refused: Refused, done: Done) -> None:
    assert "permissions" in refused(2, "key", "create", "--allow", "everything")
    assert "expires_at" in refused(2, "key", "create", "--expires", "soon")
    assert "NOT_FOUND" in refused(3, "key", "create", "--project", "nowhere")
    assert "NOT_FOUND" in refused(3, "key", "list", "--project", "nowhere")
    assert done("key", "list") == "No keys.\n"


def test_a_project_from_its_making_to_its_end(
    told: Told, done: Done, run: Run, refused: Refused, home: Path
) -> None:
    assert done("project", "create", "The shop", "--id", "shop") == "shop\n"
    assert [one["id"] for one in told("project", "list")["results"]] == ["default", "shop"]
    assert "The shop" in done("project", "list")
    key = told("key", "create", "--project", "shop")["key"]
    assert whose(key).project == "shop"
    assert told("key", "list")["results"] == []
    assert "CONFLICT" in refused(1, "project", "create", "Again", "--id", "shop")
    assert "--yes" in refused(2, "project", "delete", "shop")
    assert done("project", "delete", "shop", "--yes") == "Deleted shop.\n"
    assert "NOT_FOUND" in refused(3, "project", "delete", "shop", "--yes")
    assert "VALIDATION" in refused(2, "project", "delete", "default", "--yes")
    with pytest.raises(AuthenticationError):
        whose(key)


def test_groups_tell_what_they_can_do(done: Done, refused: Refused) -> None:
    assert "rotate" in done("key", "--help")
    assert "project" in done("--help")
    assert "USAGE" in refused(2, "key", "melt")
    assert "USAGE" in refused(2, "key", "revoke")


async def test_the_first_key_is_made_once(tmp_path: Path) -> None:
    def config(**server: Any) -> dict[str, Any]:
        return {"path": str(tmp_path), "server": server}

    async with AsyncAdmin(config(admin_key="a-long-admin-key-of-somebody")) as admin:
        assert await admin.first_key() is None
    async with AsyncAdmin(config(auth_disabled=True)) as admin:
        assert await admin.first_key() is None
    async with AsyncAdmin(config()) as admin, AsyncAdmin(config()) as other:
        await admin.create_key(permissions=("admin",), users=["ann"])
        await admin.create_key(permissions=("read", "write"))
        keys = await asyncio.gather(*(each.first_key() for each in (admin, other, admin)))
        (first,) = [key for key in keys if key is not None]
        assert (await other.recognise(first.secret)).is_root
        assert await admin.first_key() is None
        await admin.revoke_key(first.key.id)
        again = await other.first_key()
        assert again is not None
        assert (await admin.recognise(again.secret)).is_root


def test_a_webhook_is_set_up_and_its_secret_changed(
    told: Told, done: Done, run: Run, refused: Refused
) -> None:
    result = run("webhook", "create", "https://example.com/hook", "--event", "memory_add")
    assert result.exit_code == 0
    secret = result.stdout.strip()
    [listed] = told("webhook", "list")["results"]
    assert (listed["url"], listed["event_types"]) == ("https://example.com/hook", ["memory_add"])
    assert secret not in str(listed)
    changed = told("webhook", "rotate", listed["id"], "--grace", "60")
    assert changed["secret"] not in ("", secret)
    assert changed["old_secret_until"]
    assert "example.com" in done("webhook", "list")
    assert done("webhook", "deliveries", listed["id"]) == "No deliveries.\n"
    assert "NOT_FOUND" in refused(3, "webhook", "retry", listed["id"], "unknown")
    assert "state is unknown" in refused(2, "webhook", "deliveries", listed["id"], "--state", "x")
    assert "event_types" in refused(2, "webhook", "create", "https://e.com/", "--event", "x")
    assert "own network" in refused(2, "webhook", "create", "http://127.0.0.1/")
    assert done("webhook", "delete", listed["id"]) == f"Deleted {listed['id']}.\n"
    assert told("webhook", "list")["results"] == []


def test_a_dead_letter_is_sent_again(told: Told, done: Done) -> None:
    made = told("webhook", "create", "https://example.com/hook")

    async def fail() -> None:
        async with AsyncAdmin() as admin:
            parts = await admin._parts()
            await parts.directory.insert(
                Delivery(
                    id="dead", project=parts.project, webhook=made["id"], event="memory_add",
                    body={}, state="FAILED", attempts=10, run_after=0.0, answer=500,
                    error="no", created_at=0.0, completed_at=1.0,
                )
            )  # fmt: skip

    asyncio.run(fail())
    [dead] = told("webhook", "deliveries", made["id"], "--state", "failed")["results"]
    assert (dead["id"], dead["attempts"], dead["answer"]) == ("dead", 10, 500)
    assert "500" in done("webhook", "deliveries", made["id"])
    assert "sent again" in done("webhook", "retry", made["id"], "dead")
    [waiting] = told("webhook", "deliveries", made["id"])["results"]
    assert (waiting["state"], waiting["attempts"]) == ("PENDING", 0)
