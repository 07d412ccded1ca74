"""What rows of the audit tell, which acts leave them, and how long they are kept."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from holdfast import AsyncMemory, Memory
from holdfast.acts import Actor, acting
from holdfast.admin import AsyncAdmin
from holdfast.engine import auditing
from holdfast.errors import HoldfastError, NotFoundError, StoreUnavailableError
from holdfast.model import Project
from support import postgres
from support.sealed import written
from tests.engine.test_audit import ANN, UNKNOWN, rows


@pytest.fixture
async def admin(tmp_path: Path) -> AsyncIterator[AsyncAdmin]:
    async with AsyncAdmin({"path": str(tmp_path)}) as opened:
        yield opened


# ------------------------------------------------------------------------------ what rows tell


async def test_who_looked_at_whose_memories(admin: AsyncAdmin) -> None:
    memory = admin.memory()
    await memory.add("I live here", user_id="ann", agent_id="bot")
    await memory.add("So do I", user_id="bob")
    before = len(await rows(admin))
    added = await memory.add("I keep bees", user_id="ann", agent_id="bot")
    id_ = added["results"][0]["id"]
    await memory.search("bees", filters={"OR": [{"user_id": "ann"}, {"user_id": "bob"}]})
    await memory.get(id_)
    await memory.get_all(filters={"user_id": "*"})
    await memory.update(id_, "I keep hens")
    await memory.history(id_)
    await memory.delete(id_)
    new = (await rows(admin))[before:]
    found = [(r.action, r.user_id, r.agent_id, r.target, r.count) for r in new]
    assert sorted(found, key=lambda row: row[:2]) == sorted(
        [
            ("add", "ann", "bot", id_, 1),
            ("search", "ann", None, None, 3),
            ("search", "bob", None, None, 3),
            ("get", "ann", "bot", id_, 1),
            ("get_all", "*", None, None, 3),
            ("update", "ann", "bot", id_, 1),
            ("history", "ann", "bot", id_, 2),
            ("delete", "ann", "bot", id_, 1),
        ],
        key=lambda row: row[:2],
    )
    of_bob = [row.action for row in await rows(admin, user_id="bob")]
    assert sorted(of_bob) == ["add", "get_all", "search"], "those of anybody are his as well"
    written = [row.action for row in await rows(admin, sort="write")]
    assert written == ["add", "add", "add", "update", "delete"]


async def test_whoever_is_erased_is_not_named(admin: AsyncAdmin, tmp_path: Path) -> None:
    await admin.memory().add("I keep bees", user_id="ann-quetzal")
    await admin.memory().search("bees", filters={"user_id": "ann-quetzal"})
    assert {row.user_id for row in await rows(admin, action="search")} == {"ann-quetzal"}
    await admin.erasure.forget(user_id="ann-quetzal")
    [row] = await rows(admin, action="search")
    assert (row.user_id or "").startswith("~"), "a mark is left, and the chain is whole"
    assert [one.is_good for one in await admin.audit.verify()] == [True]
    asked = await rows(admin, action="search", user_id="ann-quetzal")
    assert [row.user_id for row in asked] == ["ann-quetzal"], "who knows the name may ask for it"
    with sqlite3.connect(tmp_path / "holdfast.db") as connection:
        everything = str(connection.execute("SELECT * FROM audit").fetchall())
    connection.close()
    assert "quetzal" not in everything


async def test_many_are_told_as_anybody(admin: AsyncAdmin) -> None:
    users = [f"u{number}" for number in range(40)]
    await admin.memory().search("tea", filters={"user_id": {"in": users}})
    assert [row.user_id for row in await rows(admin)] == ["*"]


CANARY = "canary7x"


async def test_nothing_of_what_was_said_is_in_it(admin: AsyncAdmin, tmp_path: Path) -> None:
    memory = admin.memory()
    added = await memory.add(
        [{"role": "user", "content": f"text {CANARY}", "name": "Ann"}],
        user_id="ann",
        metadata={CANARY: CANARY},
        categories=[f"category {CANARY}"],
    )
    id_ = added["results"][0]["id"]
    await memory.search(f"query {CANARY}", filters={"user_id": "ann", CANARY: CANARY})
    await memory.get_all(filters={"user_id": "ann", "metadata": {CANARY: {"ne": CANARY}}})
    await memory.update(id_, f"new {CANARY}", metadata={"k": CANARY})
    await admin.exports.give_feedback(id_, "POSITIVE", f"reason {CANARY}")
    await admin.exports.summary({"user_id": "ann"})
    await admin.update_project({"custom_instructions": f"instructions {CANARY}"})
    await memory.delete_all(user_id="ann", filters={"metadata": {"k": CANARY}})
    for wrong in (f"what {CANARY}?", f"{CANARY}\n", "x" * 5_000):
        with pytest.raises(HoldfastError):
            await memory.update(wrong, "x")
    assert len(await rows(admin)) >= 11
    with sqlite3.connect(tmp_path / "holdfast.db") as connection:
        everything = str(connection.execute("SELECT * FROM audit").fetchall())
    connection.close()
    assert CANARY not in everything
    assert "x" * 200 not in everything


# ------------------------------------------------------------------------------ modes


async def test_a_library_tells_of_changes_only_unless_told_otherwise(tmp_path: Path) -> None:
    async with AsyncMemory({"path": str(tmp_path)}) as memory:
        await memory.add("tea", user_id="ann")
        await memory.search("tea", filters=ANN)
        with pytest.raises(HoldfastError):
            await memory.delete(UNKNOWN)
    async with AsyncAdmin({"path": str(tmp_path)}) as admin:
        found = await rows(admin)
        told = [(row.action, row.outcome, row.count) for row in found]
        assert told == [("add", "ok", 1), ("delete", "failed", 0)]
        assert found[0].principal_kind == "user"
        assert found[0].via == "library"


def test_the_blocking_face_leaves_the_same(tmp_path: Path) -> None:
    with Memory({"path": str(tmp_path), "audit": "all"}) as memory:
        with acting(Actor("k1", "key")):
            memory.add("tea", user_id="ann")
        memory.search("tea", filters=ANN)

    async def look() -> list[tuple[str, str]]:
        async with AsyncAdmin({"path": str(tmp_path)}) as admin:
            return [(row.action, row.principal_kind) for row in await rows(admin)]

    assert asyncio.run(look()) == [("add", "key"), ("search", "user")]


async def test_off_leaves_nothing(tmp_path: Path) -> None:
    async with AsyncAdmin({"path": str(tmp_path), "audit": "off"}) as admin:
        await admin.memory().add("tea", user_id="ann")
        await admin.create_key()
        assert await rows(admin) == []
        assert list(await admin.audit.verify()) == []


async def test_durable_rows_are_there_before_the_answer(tmp_path: Path) -> None:
    async with AsyncAdmin({"path": str(tmp_path), "audit_reads": "durable"}) as admin:
        await admin.memory().search("tea", filters=ANN)
        with sqlite3.connect(tmp_path / "holdfast.db") as connection:
            assert connection.execute("SELECT action FROM audit").fetchall() == [("search",)]
        connection.close()


async def test_reads_are_written_together(
    admin: AsyncAdmin, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = await admin._parts()
    assert parts.audit is not None
    records = parts.audit._records
    commits: list[int] = []
    commit = type(records).commit

    async def counted(self: Any, project: Project, ops: Any) -> Any:
        commits.append(sum(len(op.rows) for op in ops))
        return await commit(self, project, ops)

    monkeypatch.setattr(type(records), "commit", counted)
    await asyncio.gather(*(admin.memory().search("tea", filters=ANN) for _ in range(50)))
    assert commits == [], "a search writes nothing on its own way"
    assert parts.audit.waiting == 50
    await parts.audit.flush()
    assert commits == [50]
    assert parts.audit.waiting == 0


async def test_what_waits_is_written_soon(
    admin: AsyncAdmin, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(auditing, "AUDIT_FLUSH_S", 0.0)
    await admin.memory().search("tea", filters=ANN)
    with sqlite3.connect(tmp_path / "holdfast.db") as connection:
        for _ in range(500):
            if connection.execute("SELECT action FROM audit").fetchall():
                break
            await asyncio.sleep(0.01)
        else:
            raise AssertionError("nothing was written")
    connection.close()


async def test_too_many_that_wait_are_waited_for(
    admin: AsyncAdmin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auditing, "AUDIT_BUFFERED_MAX", 3)
    for _ in range(3):
        await admin.memory().search("tea", filters=ANN)
    parts = await admin._parts()
    assert parts.audit is not None
    assert parts.audit.waiting == 0


# ------------------------------------------------------------------------------ faults


async def test_what_is_not_committed_leaves_no_row_of_success(
    admin: AsyncAdmin, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = await admin._parts()
    assert parts.audit is not None
    records = type(parts.audit._records)
    commit = records.run_commit

    async def fails(self: Any, project: Project, ops: Any) -> Any:
        raise StoreUnavailableError("A planted failure.")

    monkeypatch.setattr(records, "run_commit", fails)
    with pytest.raises(StoreUnavailableError):
        await admin.memory().add("tea", user_id="ann")
    monkeypatch.setattr(records, "run_commit", commit)
    found = await rows(admin)
    assert [(row.action, row.outcome, row.code) for row in found] == [
        ("add", "failed", "STORE_UNAVAILABLE")
    ]
    assert (await admin.memory().get_all(filters=ANN))["total"] == 0


async def test_rows_that_cannot_be_written_wait(
    admin: AsyncAdmin, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = await admin._parts()
    assert parts.audit is not None
    records = type(parts.audit._records)
    commit = records.run_commit

    async def fails(self: Any, project: Project, ops: Any) -> Any:
        raise StoreUnavailableError("A planted failure.")

    monkeypatch.setattr(records, "run_commit", fails)
    await admin.memory().search("tea", filters=ANN)
    with pytest.raises(StoreUnavailableError):
        await parts.audit.flush()
    assert parts.audit.waiting == 1
    monkeypatch.setattr(records, "run_commit", commit)
    assert [row.action for row in await rows(admin)] == ["search"]


async def test_a_store_that_becomes_sealed_goes_on_with_its_chain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with AsyncMemory({"path": str(tmp_path)}) as memory:
        await memory.add("tea", user_id="ann")
    monkeypatch.setenv("HOLDFAST_SEAL_KEYS", written())
    seal = {"provider": "environment", "config": {"variable": "HOLDFAST_SEAL_KEYS"}}
    async with AsyncAdmin({"path": str(tmp_path), "seal": seal}) as admin:
        [verdict] = await admin.audit.verify()
        assert (verdict.is_good, verdict.keyed) == (True, "sealed")
        await admin.memory().add("milk", user_id="ann")
        [verdict] = await admin.audit.verify()
        assert verdict.is_good
        assert [row.keyed for row in await rows(admin, action="add")] == ["store", "sealed"]


# ------------------------------------------------------------------------------ kept by rule


async def test_pruning_by_rule(tmp_path: Path) -> None:
    config = {"path": str(tmp_path), "audit": "writes", "audit_days": 30}
    async with AsyncAdmin(config) as admin:
        for number in range(4):
            await admin.memory().add(f"tea {number}", user_id="ann")
        assert await admin.audit.prune() == 0
        heads = await admin.audit.heads()
        told: list[tuple[int, int]] = []
        before = (await rows(admin, action="add"))[2].at
        count = await admin.audit.prune(before=before, told=lambda *step: told.append(step))
        assert count >= 2
        assert told[-1] == (count, count)
        [verdict] = await admin.audit.verify(anchors=heads)
        assert verdict.is_good
        assert verdict.first_no == count + 1


async def test_a_chain_that_was_meddled_with_is_not_pruned(tmp_path: Path) -> None:
    async with AsyncAdmin({"path": str(tmp_path), "audit": "writes"}) as admin:
        for number in range(3):
            await admin.memory().add(f"tea {number}", user_id="ann")
        with sqlite3.connect(tmp_path / "holdfast.db") as connection:
            connection.execute("UPDATE audit SET principal = 'x' WHERE no = 1")
        connection.close()
        with pytest.raises(HoldfastError, match="meddled with"):
            await admin.audit.prune(before="2100-01-01")
        assert len(await rows(admin, action="add")) == 3


async def test_an_export_is_what_was_there_when_it_began(admin: AsyncAdmin) -> None:
    for number in range(3):
        await admin.memory().add(f"tea {number}", user_id="ann")
    pages = await admin.audit.export(action="add")
    await admin.memory().add("more", user_id="ann")
    assert [row.no for page in [page async for page in pages] for row in page] == [1, 2, 3]


async def test_pages_follow_each_other(admin: AsyncAdmin) -> None:
    for number in range(5):
        await admin.memory().add(f"tea {number}", user_id="ann")
    first = await admin.audit.listed(action="add", size=2)
    second = await admin.audit.listed(action="add", size=2, cursor=first.cursor)
    last = await admin.audit.listed(action="add", size=2, cursor=second.cursor)
    assert [row.no for page in (first, second, last) for row in page.rows] == [5, 4, 3, 2, 1]
    assert last.cursor is None
    with pytest.raises(HoldfastError, match="outcome is unknown"):
        await admin.audit.listed(outcome="good")


async def test_a_restored_chain_goes_on_with_a_mark(tmp_path: Path) -> None:
    old = {"path": str(tmp_path / "old"), "audit": "writes"}
    async with AsyncAdmin(old) as admin:
        await admin.memory().add("tea", user_id="ann")
        await admin.backups.create(at=str(tmp_path / "kept"))
        await admin.memory().add("what came after", user_id="ann")
        later = await admin.audit.heads()
    new = {"path": str(tmp_path / "new"), "audit": "writes"}
    await AsyncAdmin(new).backups.restore(at=str(tmp_path / "kept"))
    async with AsyncAdmin(new) as admin:
        await admin.memory().add("milk", user_id="ann")
        told = [row.action for row in await rows(admin)]
        assert told == ["add", "backups.restored", "add"]
        [verdict] = await admin.audit.verify()
        assert verdict.is_good
        [verdict] = await admin.audit.verify(anchors=later)
        assert verdict.fault is not None, "what came after the backup is missed"
    async with AsyncAdmin(new) as admin:
        assert "backups.restored" not in [row.action for row in await rows(admin)][2:]


# ------------------------------------------------------------------------------ closing


@pytest.mark.parametrize("where", ["sqlite", "postgres"])
def test_a_memory_closed_without_a_loop_loses_no_row(tmp_path: Path, where: str) -> None:
    """Its loop has ended: what was noted a moment ago is written all the same."""
    config = {"path": str(tmp_path), "audit": "all"}
    with postgres.database() if where == "postgres" else nullcontext(None) as url:
        if url is not None:
            config["records"] = {"provider": "postgres", "config": {"url": url}}
        memory = AsyncMemory(config)

        async def work() -> None:
            await memory.search("bees", filters={"user_id": "ann"})

        asyncio.run(work())
        memory.close()
        memory.close()

        async def told() -> list[str]:
            async with AsyncAdmin(config) as admin:
                return [row.action for row in await rows(admin)]

        assert asyncio.run(told()) == ["search"]


async def test_a_memory_closed_inside_of_its_loop_loses_no_row(tmp_path: Path) -> None:
    memory = AsyncMemory({"path": str(tmp_path), "audit": "all"})
    await memory.search("bees", filters={"user_id": "ann"})
    memory.close()
    async with AsyncAdmin({"path": str(tmp_path)}) as admin:
        assert [row.action for row in await rows(admin)] == ["search"]


async def test_a_deletion_of_nothing_leaves_one_row(admin: AsyncAdmin) -> None:
    with pytest.raises(NotFoundError):
        await admin.memory().delete(UNKNOWN)
    [row] = await rows(admin)
    assert (row.action, row.outcome, row.code, row.target) == (
        "delete", "failed", "NOT_FOUND", UNKNOWN,
    )  # fmt: skip
