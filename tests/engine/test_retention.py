"""What is older than a project's rules allow is removed for good."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, get_args

import pytest

from holdfast.admin import AsyncAdmin
from holdfast.clock import ManualClock
from holdfast.config.retention import Rule
from holdfast.core.retention import RULES
from holdfast.engine import retention as engine
from holdfast.engine.parts import Parts
from holdfast.errors import ConfigError, ValidationError
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


async def test_rules_of_the_configuration_hold_in_every_project(tmp_path: Path) -> None:
    """A project's own rule holds where it is shorter; taking it away takes nothing else."""
    config = {"path": str(tmp_path), "workers": 0, "retention": {"turns": 90, "jobs": 7}}
    async with AsyncAdmin(config) as admin:
        await admin.create_project("Other", project_id="other")
        assert await admin.retention.rules() == {"turns": 90.0, "jobs": 7.0}
        kept = await admin.retention.set({"turns": 30, "jobs": 60}, project="other")
        assert kept == await admin.retention.rules(project="other") == {"turns": 30, "jobs": 7}
        assert await admin.retention.rules() == {"turns": 90.0, "jobs": 7.0}
        kept = await admin.retention.set({"turns": None, "jobs": None}, project="other")
        assert kept == {"turns": 90.0, "jobs": 7.0}
        parts = await admin._parts(None)
        assert set(await engine.projects_with_rules(parts)) == {"default", "other"}
        for project in ("default", "other"):
            await admin.memory(project).add("It goes.", **ALICE)
            there = replace(await admin._parts(project), clock=(await later(admin, 91)).clock)
            assert (await engine.run(there))["turns"] == 1
    async with AsyncAdmin({"path": str(tmp_path), "workers": 0}) as admin:
        assert await admin.retention.rules() == {}, "it is kept nowhere else"
        assert list(await engine.projects_with_rules(await admin._parts(None))) == []


@pytest.mark.parametrize("wrong", [{"colours": 1}, {"turns": -1}, {"turns": 1e9}, ["turns"], 5])
def test_wrong_rules_of_a_configuration_are_refused(tmp_path: Path, wrong: Any) -> None:
    with pytest.raises(ConfigError, match="retention"):
        AsyncAdmin({"path": str(tmp_path), "retention": wrong})


def test_the_configuration_knows_every_rule() -> None:
    assert set(get_args(Rule)) == set(RULES)
