"""What is older than a project's rules allow is removed for good."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from holdfast.admin import AsyncAdmin
from holdfast.clock import ManualClock
from holdfast.engine import retention as engine
from holdfast.engine.parts import Parts
from holdfast.errors import ValidationError
from tests.engine.test_sealed import traces

DAY_S = 86_400.0
ALICE = {"user_id": "alice"}


async def later(admin: AsyncAdmin, days: float) -> Parts:
    """The parts, so many days from now."""
    parts = await admin._parts(None)
    return replace(parts, clock=ManualClock(parts.clock.now() + days * DAY_S))


async def test_nothing_goes_without_a_rule_and_all_of_its_age_with_one(tmp_path: Path) -> None:
    async with AsyncAdmin({"path": str(tmp_path), "workers": 0}) as admin:
        memory = admin.memory()
        await memory.add("I said zanzibar.", **ALICE)
        await memory.add("For a while quetzal.", **ALICE, expiration_date="2999-01-01")
        assert await engine.run(await later(admin, 40_000)) == {}
        assert await admin.retention.set({"turns": 90}) == {"turns": 90.0}
        assert await admin.retention.due() == await admin.retention.run() == {"turns": 0}
        assert await engine.due(await later(admin, 91)) == {"turns": 2}
        assert len((await memory.get_all(filters=ALICE))["results"]) == 2
        assert await engine.run(await later(admin, 91)) == {"turns": 2}
        assert (await memory.get_all(filters=ALICE))["results"] == []
        assert await admin.retention.set({"turns": None, "history": 1}) == {"history": 1.0}
        assert (await engine.run(await later(admin, 93)))["history"] == 4
    assert traces(tmp_path, "zanzibar") == traces(tmp_path, "quetzal") == []


async def test_what_has_expired_is_removed_after_a_grace(tmp_path: Path) -> None:
    async with AsyncAdmin({"path": str(tmp_path), "workers": 0}) as admin:
        memory = admin.memory()
        await memory.add("zanzibar", **ALICE, expiration_date="2027-01-10")
        await memory.add("It stays.", **ALICE)
        await admin.retention.set({"expired": 2})
        parts = await admin._parts(None)
        for day, left in (("11", 2), ("12", 2), ("13", 1)):
            at = datetime.fromisoformat(f"2027-01-{day}T12:00:00+00:00")
            await engine.run(replace(parts, clock=ManualClock(at.timestamp())))
            every: Any = await memory.get_all(filters=ALICE, show_expired=True)
            assert len(every["results"]) == left, day
    assert traces(tmp_path, "zanzibar") == []


async def test_exports_jobs_and_usage_have_rules_too(tmp_path: Path) -> None:
    async with AsyncAdmin({"path": str(tmp_path), "workers": 0}) as admin:
        await admin.memory().add("I like tea.", **ALICE)
        schema = {"properties": {"notes": {"type": "array", "items": {"type": "string"}}}}
        await admin.exports.create(schema, ALICE)
        await admin.memory().delete_all(user_id="nobody")
        await admin.retention.set({"exports": 1, "jobs": 1, "usage": 1})
        done = await engine.run(await later(admin, 2))
        assert done["exports"] == 1
        assert done["jobs"] >= 1
        assert not any((await engine.due(await later(admin, 2))).values())


@pytest.mark.parametrize(
    "wrong", [{"memories": 3}, {"turns": -1}, {"turns": "soon"}, {"turns": 1e9}, ["turns"]]
)
async def test_a_wrong_rule_changes_nothing(tmp_path: Path, wrong: Any) -> None:
    async with AsyncAdmin({"path": str(tmp_path), "workers": 0}) as admin:
        with pytest.raises(ValidationError):
            await admin.retention.set(wrong)
        assert await admin.retention.rules() == {}


async def test_a_server_keeps_every_project_to_its_rules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.limits.RETENTION_POLL_S", 0.01)
    async with AsyncAdmin({"path": str(tmp_path), "workers": 0}) as admin:
        await admin.create_project("Blue", project_id="blue")
        for project in (None, "blue"):
            await admin.memory(project).add("I like tea.", **ALICE)
        await admin.retention.set({"turns": 0}, project="blue")
        serving = asyncio.create_task(admin.retention.serve())
        async with asyncio.timeout(20):
            blue = admin.memory("blue")
            while (await blue.get_all(filters=ALICE))["results"]:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        assert len((await admin.memory().get_all(filters=ALICE))["results"]) == 1
