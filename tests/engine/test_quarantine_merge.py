"""What is held, in backups that are added to a store, and between instances on Postgres."""

from __future__ import annotations

import asyncio
from pathlib import Path

from holdfast.admin import AsyncAdmin
from support import postgres
from tests.engine.test_quarantine import ALICE, BOB, TALK, held, texts
from tests.engine.test_quarantine_copies import config


async def test_a_merged_backup_brings_what_was_held_and_not_what_was_approved(
    tmp_path: Path,
) -> None:
    async with AsyncAdmin(config(tmp_path)) as admin:
        for whose in (ALICE, BOB, {"agent_id": "helper"}):
            await admin.memory().add(TALK, **whose)
        await admin.backups.create()
        before = await held(admin)
        await admin.quarantine.approve(user_id="alice")
        await admin.quarantine.reject(user_id="bob")
        merged = await admin.backups.merge()
        assert (merged.held, merged.added) == (0, 0), "rejections are remembered as approvals are"
        assert await held(admin) == [row for row in before if row.agent_id == "helper"]
        assert (await admin.backups.merge(projects={"default": "new"})).held == 3
        assert {row.project for row in await held(admin, project="new")} == {"new"}
        done = await admin.quarantine.approve(user_id="alice", project="new")
        assert done["count"] == 1
        assert len(await texts(admin.memory("new"))) == len(await texts(admin.memory())) == 3


async def test_a_merged_backup_does_not_undo_a_decision_on_some_messages(tmp_path: Path) -> None:
    async with AsyncAdmin(config(tmp_path)) as admin:
        await admin.memory().add(["one", "two", "three"], **ALICE, trust="untrusted")
        await admin.backups.create()
        [row] = await held(admin)
        answer = await admin.quarantine.approve([row.id], messages=[2])
        await admin.quarantine.reject([answer["results"][0]["rest"]], messages=[1])
        [left] = await held(admin)
        assert [one["text"] for one in left.messages] == ["three"]
        assert (await admin.backups.merge()).held == 0
        assert await held(admin) == [left]
        assert await texts(admin.memory()) == ["two"]


async def test_instances_on_postgres_decide_once(tmp_path: Path) -> None:
    with postgres.database() as url:
        where = {"provider": "postgres", "config": {"url": url}}
        settings = {"path": str(tmp_path), "workers": 0, "records": where}
        async with AsyncAdmin(settings) as one, AsyncAdmin(settings) as other:
            for number in range(8):
                mine = {"user_id": f"u{number}"}
                await one.memory().add("tea", **mine, trust="untrusted")
                [row] = await held(other, **mine)
                against = other.quarantine.approve if number % 2 else other.quarantine.reject
                ended = await asyncio.gather(
                    one.quarantine.approve([row.id]), against([row.id]), return_exceptions=True
                )
                rejected = number % 2 == 0 and ended[1] == {"count": 1, "left": 0}
                assert await one.memory().count(mine) == (0 if rejected else 1), ended
            assert (await one.census()).held == 0
