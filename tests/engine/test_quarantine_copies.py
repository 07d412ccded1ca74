"""What is held in every copy of it: sealed, redacted, archived, exported, erased, too old."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from holdfast.admin import AsyncAdmin
from holdfast.clock import ManualClock
from holdfast.core.erasure import mark_of
from holdfast.core.forgotten import Erased, Forgotten
from holdfast.core.seal import PREFIX
from holdfast.directory import Erasure, Held
from holdfast.engine import retention
from holdfast.errors import ConflictError, NotFoundError
from holdfast.model import Entity
from holdfast.testing.contracts.rows import sample
from support.sealed import MASTER, written
from tests.engine.test_quarantine import ALICE, BOB, CANARY, TALK, events, held, texts
from tests.engine.test_sealed import traces


def config(folder: Path, name: str = "store", **more: Any) -> dict[str, Any]:
    """A sealed store, with backups beside it."""
    file = folder / "keys"
    if not file.exists():
        file.touch(mode=0o600)
        file.write_text(written(MASTER))
    return {
        "path": str(folder / name),
        "workers": 0,
        "seal": {"provider": "file", "config": {"path": str(file)}},
        "backup": {"provider": "folder", "config": {"path": str(folder / "backups")}},
        **more,
    }


def stored(folder: Path) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(folder / "store" / "holdfast.db")) as connection:
        return connection.execute("SELECT messages, request FROM held").fetchall()


async def test_it_is_sealed_with_the_key_of_its_subject(tmp_path: Path) -> None:
    async with AsyncAdmin(config(tmp_path)) as admin:
        await admin.memory().add(TALK[1], **ALICE, metadata={"near": CANARY})
        [row] = await held(admin)
        assert row.messages[0]["text"] == f"Fly to {CANARY}."
        [columns] = stored(tmp_path)
        assert all(text.startswith(PREFIX) for text in columns)
        await admin.sealing.rotate_keys()
        assert stored(tmp_path) != [columns], "sealed anew"
        assert await held(admin) == [row]
        parts = await admin._parts(None)
        mark = mark_of(parts.records.subjects_id, parts.project, Entity("user", "alice"))
        await parts.directory.insert(sample(Erasure, project=parts.project, mark=mark))
        await parts.subjects.forget(parts.project, Entity("user", "alice"), mark)
    async with AsyncAdmin(config(tmp_path)) as admin:
        assert await held(admin) == [], "without her key nobody reads it"
    assert traces(tmp_path, CANARY) == []


async def test_a_store_that_was_plain_seals_it(tmp_path: Path) -> None:
    plain = {"path": str(tmp_path / "store"), "workers": 0}
    async with AsyncAdmin(plain) as admin:
        await admin.memory().add(TALK, **ALICE)
        await admin.memory().add(TALK, agent_id="helper")
    assert CANARY in str(stored(tmp_path))
    async with AsyncAdmin(config(tmp_path)) as admin:
        await admin.sealing.run()
        assert (await admin.sealing.status()).plain == 0
        assert {row.messages[0]["text"] for row in await held(admin)} == {f"Fly to {CANARY}."}
    assert traces(tmp_path, CANARY) == []


async def test_it_goes_with_all_that_a_user_has(tmp_path: Path) -> None:
    async with AsyncAdmin(config(tmp_path)) as admin:
        memory = admin.memory()
        for whose in (ALICE, BOB, {**ALICE, "run_id": "r"}):
            await memory.add(TALK, **whose)
        await memory.delete_all(run_id="r")
        assert [row.run_id for row in await held(admin)] == [None, None]
        await memory.delete_all(**ALICE)
        assert [row.user_id for row in await held(admin)] == ["bob"]
        other = admin.memory((await admin.create_project("P")).id)
        await other.add(TALK, **ALICE)
        await memory.reset()
        assert await held(admin) == []
        [row] = await held(admin, project=(await admin.projects())[-1].id)
        await admin.delete_project(row.project)
        assert (await admin.census()).held == 0


async def test_forgetting_takes_it_and_no_approval_brings_it_back(tmp_path: Path) -> None:
    async with AsyncAdmin(config(tmp_path)) as admin:
        memory = admin.memory()
        await memory.add(TALK, **ALICE)
        [row] = await held(admin)
        assert (await admin.erasure.inventory(**ALICE))["held"] == 1
        told = json.loads("".join([piece async for piece in admin.erasure.export(**ALICE)]))
        assert told["held"][0]["messages"][0]["text"] == f"Fly to {CANARY}."
        assert CANARY not in json.dumps(told["memories"])
        parts = await admin._parts(None)
        mark = mark_of(parts.records.subjects_id, row.project, Entity("user", "alice"))
        running = sample(Erasure, project=row.project, subject="alice", mark=mark, state="RUNNING")
        await parts.subjects.begin(running)
        with pytest.raises(ConflictError):
            await admin.quarantine.approve([row.id])
        with pytest.raises(ConflictError):
            await memory.add(TALK[1], **ALICE)
        ended = await admin.erasure.forget(**ALICE)
        assert (ended.state, ended.remains) == ("DONE", {})
        with pytest.raises(NotFoundError):
            await admin.quarantine.approve([row.id])
        assert await held(admin) == []
    assert traces(tmp_path, CANARY) == []


async def test_a_backup_has_it_and_what_was_forgotten_is_not_restored(tmp_path: Path) -> None:
    async with AsyncAdmin(config(tmp_path)) as admin:
        await admin.memory().add(TALK, **ALICE)
        await admin.memory().add(TALK, **BOB)
        before = await held(admin)
        await admin.backups.create()
        await admin.erasure.forget(**BOB)
    restored = AsyncAdmin(config(tmp_path, "again"))
    await restored.backups.restore("latest")
    async with restored as admin:
        [row] = await held(admin)
        assert row == next(one for one in before if one.user_id == "alice")
        await admin.quarantine.approve([row.id])
        assert len(await texts(admin.memory())) == 3


def test_rows_of_an_archive_are_left_out_for_the_forgotten() -> None:
    columns = Held.__struct_fields__
    rows = [
        [getattr(sample(Held, id=user, user_id=user), name) for name in columns]
        for user in ("ann", "bob")
    ]
    forgotten = Forgotten([Erased("red", "user", "ann", 2.0)], archived_at=1.0)
    assert forgotten.kept("held", columns, rows) == rows[1:]


async def test_what_is_too_old_is_removed_by_a_rule(tmp_path: Path) -> None:
    async with AsyncAdmin(config(tmp_path)) as admin:
        await admin.memory().add(TALK, **ALICE)
        await admin.retention.set({"held": 30})
        assert await admin.retention.run() == {"held": 0}
        parts = await admin._parts(None)
        later = replace(parts, clock=ManualClock(parts.clock.now() + 31 * 86_400.0))
        assert await retention.due(later) == await retention.run(later) == {"held": 1}
        assert await held(admin) == []
        assert admin.metrics.counts()["held_add", ("expired",)] == 1
        assert len(await texts(admin.memory())) == 2


async def test_personal_data_is_taken_out_of_it(tmp_path: Path) -> None:
    redaction = {"provider": "patterns", "config": {"where": ["storage"]}}
    plain = {"path": str(tmp_path / "store"), "workers": 0, "redaction": redaction}
    mail = "canary.bob@example.com"
    async with AsyncAdmin(plain) as admin:
        memory = admin.memory()
        answer = await memory.add(f"Write to {mail}.", **ALICE, trust="untrusted")
        assert events(answer) == ["HELD"]
        assert mail not in str(stored(tmp_path)) + json.dumps(answer)
        [row] = await held(admin)
        await admin.quarantine.approve([row.id])
        assert await texts(memory) == ["Write to <EMAIL_1>."]
    assert traces(tmp_path, mail) == []
