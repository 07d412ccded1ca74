"""A subject that is forgotten is nowhere: not in a row, a file, an index, a cache or a backup."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import LargeBinary, Text

from holdfast.admin import AsyncAdmin
from holdfast.backends.postgres.ddl import OWN
from holdfast.backends.schema import metadata
from holdfast.core.dossier import SECTIONS
from holdfast.core.erasure import COPIES, PLACES, unfenced
from holdfast.directory import Budget, Delivery, Spending, Webhook, Where
from holdfast.engine import copies, forget
from holdfast.engine.receipts import is_signed_by
from holdfast.engine.webhooks import feed
from holdfast.errors import ConflictError, StoreUnavailableError, ValidationError
from holdfast.model import Entity
from holdfast.testing.contracts.rows import sample
from support.llm_server import LLMServer
from support.sealed import written
from tests.engine.test_sealed import facts, traces

CANARY = "zanzibar"
NAME = "alice-quetzal"
ALICE = {"user_id": NAME}


def config(folder: Path, *, sealed: bool = False, **more: Any) -> dict[str, Any]:
    file = folder / "master.keys"
    if sealed and not file.exists():
        file.write_text(written())
        file.chmod(0o600)
    seal = {"seal": {"provider": "file", "config": {"path": str(file)}}} if sealed else {}
    return {"path": str(folder / "store"), "workers": 0, **seal, **more}


@asynccontextmanager
async def opened(folder: Path, **more: Any) -> AsyncIterator[AsyncAdmin]:
    async with AsyncAdmin(config(folder, **more)) as admin:
        yield admin


async def live(admin: AsyncAdmin, server: LLMServer) -> None:
    """Alice, in every place where something of a subject can be; and Bob."""
    memory = admin.memory()
    said = f"I keep a parrot in {CANARY}."
    server.say(facts({"turn": 1, "quote": said[2:-1], "text": f"The parrot is in {CANARY}"}))
    await memory.add(said, **ALICE, run_id="run-quetzal", metadata={"near": CANARY})
    one = await memory.add(f"Word for word {CANARY}", **ALICE, infer=False, idempotency_key=NAME)
    await memory.update(one["results"][0]["id"], f"Changed to {CANARY}4")
    other = await memory.add(f"Deleted {CANARY}", **ALICE, agent_id="helper", infer=False)
    await memory.delete(other["results"][0]["id"])
    server.say("no json", "no json either")  # the job fails, and keeps its payload
    await memory.add(f"A job that fails {CANARY}", **ALICE)
    await memory.add("I like tea.", user_id="bob", agent_id="helper", infer=False)
    await memory.search(f"Where is {CANARY}?", filters=ALICE)
    [kept] = (await memory.get_all(filters=ALICE, top_k=1))["results"]
    hook = await admin.webhooks.create(
        "m", "https://example.com/x", ["memory_add", "memory_delete"]
    )
    await admin.exports.give_feedback(kept["id"], "NEGATIVE", f"Not {CANARY}!")
    server.say(msgspec.json.encode({"notes": [CANARY]}).decode())
    schema = {"properties": {"notes": {"type": "array", "items": {"type": "string"}}}}
    await admin.exports.create(schema, ALICE, instructions=f"About {CANARY}")
    await admin.create_key(label="hers", users=[NAME])
    await admin.create_key(label="both", users=[NAME, "bob"])
    await memory.add(f"Held {CANARY}", **ALICE, metadata={"by": CANARY}, trust="untrusted")
    await memory.add(f"The last {CANARY}", **ALICE, infer=False)
    parts = await admin._parts(None)
    of_hers = sample(Budget, project=parts.project, subject=NAME)
    of_all = sample(Budget, project=parts.project, id="every")
    spent = sample(Spending, project=parts.project, budget="every", subject=NAME)
    await parts.directory.insert(of_hers, of_all, spent)
    await feed(parts, await parts.directory.select(Webhook, Where("id", hook.id)))


async def columns(admin: AsyncAdmin) -> dict[str, set[str]]:
    """Of each table, the columns in which Alice's name or her words stand."""
    found: dict[str, set[str]] = {}
    with closing(sqlite3.connect(Path(admin.config.path) / "holdfast.db")) as connection:
        for table in metadata.tables.values():
            for column in table.columns:
                like = f"{column.name} LIKE '%{CANARY}%' OR {column.name} LIKE '%quetzal%'"
                sql = f"SELECT count(*) FROM {table.name} WHERE {like}"
                if connection.execute(sql).fetchone()[0]:
                    found.setdefault(table.name, set()).add(column.name)
    return found


# ------------------------------------------------------------------ the list of copies


def test_every_table_and_column_is_placed() -> None:
    own = {"commits", "generations"}  # of Postgres: writers of this deployment, numbers
    assert all(any(name in statement for name in own) for statement in OWN)
    assert set(PLACES) == set(metadata.tables)
    for name, place in PLACES.items():
        texts = {
            column.name
            for column in metadata.tables[name].columns
            if isinstance(column.type, Text | LargeBinary)
        }
        assert set(place.personal) | set(place.plain) == texts, name
        assert not set(place.personal) & set(place.plain), name
        assert bool(place.personal) <= (place.fate in ("erased", "anonymised")), name


async def test_the_list_tells_where_a_subject_really_is(server: LLMServer, tmp_path: Path) -> None:
    model = {"model": "scripted", "openai_base_url": server.url, "api_key": "sk-test"}
    async with opened(tmp_path, llm={"provider": "openai", "config": model}) as admin:
        await live(admin, server)
        before = await columns(admin)
        assert {"memories", "messages", "history", "jobs", "usage", "entities"} <= set(before)
        assert {"sources", "feedback", "exports", "api_keys"} <= set(before)
        for table, names in before.items():
            assert names <= set(PLACES[table].personal), table
        await admin.erasure.forget(**ALICE)
        assert await columns(admin) == {}


def test_a_key_never_comes_to_see_everybody() -> None:
    assert unfenced(("a", "b"), "a") == ("b",)
    assert unfenced(("a",), "a") is None
    assert unfenced(None, "a") is None


# ------------------------------------------------------------------ forgetting


@pytest.mark.parametrize("sealed", [False, True])
async def test_nothing_is_left_of_her_and_all_of_him(
    server: LLMServer, tmp_path: Path, sealed: bool
) -> None:
    model = {"model": "scripted", "openai_base_url": server.url, "api_key": "sk-test"}
    llm = {"provider": "openai", "config": model}
    async with opened(tmp_path, sealed=sealed, llm=llm) as admin:
        await live(admin, server)
        found = await admin.erasure.inventory(**ALICE)
        zeros = {name for name, count in found.items() if not count}
        assert zeros == {"index"} | (set() if sealed else {"subject_keys"})
        assert set(found) | {"cache", "backups", "key_uses", "erasures"} == set(COPIES)
        await exported(admin, found)
        bobs = await admin.memory().get_all(filters={"user_id": "bob"})
        ended = await admin.erasure.forget(**ALICE)
        assert (ended.state, ended.subject, ended.remains) == ("DONE", None, {})
        assert ended.found == found
        assert not any((await admin.erasure.inventory(**ALICE)).values())
        assert await admin.memory().get_all(filters={"user_id": "bob"}) == bobs
        assert (await admin.memory().search(CANARY, filters=ALICE))["results"] == []
        assert [(key.label, key.users) for key in await admin.keys()] == [("both", ("bob",))]
        assert traces(tmp_path, CANARY) == traces(tmp_path, "quetzal") == []
        await admin.memory().add("I am back.", **ALICE, infer=False)
        assert (await admin.memory().get_all(filters=ALICE))["results"][0]["memory"] == "I am back."
    assert traces(tmp_path, CANARY) == []


async def exported(admin: AsyncAdmin, found: dict[str, int]) -> None:
    """All that an inventory counts is told, in both forms."""
    told: dict[str, list[str]] = {"json": [], "html": []}
    for form, pieces in told.items():
        pieces += [piece async for piece in admin.erasure.export(**ALICE, form=form)]
    document = msgspec.json.decode("".join(told["json"]))
    assert document["subject"]["id"] == NAME
    for name in SECTIONS:
        assert len(document[name]) == found[name], name
        if name != "usage":
            assert msgspec.json.encode(document[name]).count(CANARY.encode()) or name in (
                "deliveries",
                "api_keys",
                "budgets",
                "budget_periods",
            ), name
    assert {one["memory"] for one in document["memories"]} > {f"The last {CANARY}"}
    assert all("digest" not in key for key in document["api_keys"])
    page = "".join(told["html"])
    assert page.count("<h2>") == len(SECTIONS)
    assert f"Changed to {CANARY}4" in page
    with pytest.raises(ValidationError):
        await anext(admin.erasure.export(**ALICE, form="pdf"))


async def test_webhooks_are_told_that_it_is_gone_and_nothing_else(tmp_path: Path) -> None:
    async with opened(tmp_path) as admin:
        memory = admin.memory()
        types = ["memory_add", "memory_update", "memory_delete"]
        await admin.webhooks.create("mirror", "https://example.com/x", types)
        for user in ("alice", "bob"):
            await memory.add("I like tea.", user_id=user)
        [hers] = (await memory.get_all(filters={"user_id": "alice"}))["results"]
        await admin.erasure.forget(user_id="alice")
        parts = await admin._parts(None)
        told = await parts.directory.select(Delivery)
        about = [(one.event, one.body["event_details"]["id"] == hers["id"]) for one in told]
        assert about == [("memory_add", False), ("memory_delete", True)]


async def test_an_agent_or_a_run_is_forgotten_as_well(tmp_path: Path) -> None:
    async with opened(tmp_path) as admin:
        memory = admin.memory()
        await memory.add("Of both.", user_id="alice", agent_id="helper")
        await memory.add("Of her.", user_id="alice", run_id="r")
        await admin.erasure.forget(agent_id="helper")
        left = (await memory.get_all(filters={"user_id": "alice"}))["results"]
        assert [one["memory"] for one in left] == ["Of her."]
        await admin.erasure.forget(run_id="r")
        assert (await memory.get_all(filters={"user_id": "alice"}))["results"] == []
        for wrong in ({}, {"user_id": "a", "run_id": "r"}, {"user_id": "*"}):
            with pytest.raises(ValidationError):
                await admin.erasure.forget(**wrong)


async def test_two_projects_have_two_subjects_of_one_name(tmp_path: Path) -> None:
    async with opened(tmp_path) as admin:
        await admin.create_project("Blue", project_id="blue")
        for project in (None, "blue"):
            await admin.memory(project).add("I like tea.", user_id="alice")
        await admin.erasure.forget(user_id="alice", project="blue")
        assert len((await admin.memory().get_all(filters={"user_id": "alice"}))["results"]) == 1
        assert not (await admin.memory("blue").get_all(filters={"user_id": "alice"}))["results"]
        assert await admin.erasure.listed() == []


# ------------------------------------------------------------------ to its end, or not at all

STEPS = [
    (forget, "_memories"), (copies, "index_is_fed"), (copies, "erase"), (forget, "verify"),
    (forget, "signed"),
]  # fmt: skip


@pytest.mark.parametrize("step", range(len(STEPS)))
async def test_one_that_is_cut_off_is_gone_on_with(
    tmp_path: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, name = STEPS[step]
    async with opened(tmp_path, sealed=True) as admin:
        for text in ("One.", "Two.", "Three."):
            await admin.memory().add(text, **ALICE)
        with monkeypatch.context() as patch:
            patch.setattr(module, name, _away)
            with pytest.raises(StoreUnavailableError):
                await admin.erasure.forget(**ALICE)
        [begun] = await admin.erasure.listed()
        assert (begun.state, begun.receipt) == ("RUNNING", None)
        with pytest.raises(ConflictError):
            await admin.memory().add("Late.", **ALICE)
        await admin.memory().add("Of another.", user_id="bob")
    async with opened(tmp_path, sealed=True) as admin:
        [ended] = await admin.erasure.resume()
        assert (ended.id, ended.state) == (begun.id, "DONE")
        assert ended.found == begun.found
        assert not any((await admin.erasure.inventory(**ALICE)).values())
        assert await admin.erasure.resume() == []
        await admin.memory().add("Back.", **ALICE)
        assert traces(tmp_path, "quetzal") != []  # in the clear again, and found


async def _away(*_args: Any, **_more: Any) -> Any:
    raise StoreUnavailableError("away", hint="later")


async def test_what_is_left_is_told_and_no_receipt_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path) as admin:
        await admin.memory().add("One.", **ALICE)
        parts = await admin._parts(None)

        async def nothing(*_args: Any) -> int:
            return 0

        with monkeypatch.context() as patch:
            patch.setattr(type(parts.subjects), "erase", nothing)
            with pytest.raises(ConflictError, match="left something"):
                await admin.erasure.forget(**ALICE)
        [failed] = await admin.erasure.listed()
        assert (failed.state, failed.receipt) == ("FAILED", None)
        assert failed.remains["history"] == 2
        ended = await admin.erasure.forget(**ALICE)
        assert (ended.id, ended.state, ended.remains) == (failed.id, "DONE", {})


async def test_a_server_goes_on_with_what_was_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.limits.ERASURE_QUIET_S", 0.0)
    async with opened(tmp_path) as admin:
        await admin.memory().add("One.", **ALICE)
        parts = await admin._parts(None)
        begun = await forget.begin(parts, Entity("user", NAME))
        serving = asyncio.create_task(admin.erasure.serve())
        async with asyncio.timeout(20):
            while (await admin.erasure.status(begun.id)).state != "DONE":  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


# ------------------------------------------------------------------ receipts and backups


async def test_a_receipt_is_good_as_it_is_and_for_whom_it_is(tmp_path: Path) -> None:
    async with opened(tmp_path) as admin:
        await admin.memory().add("One.", **ALICE)
        receipt = (await admin.erasure.forget(**ALICE)).receipt
        public = await admin.erasure.public_key()
        assert public is not None
        assert is_signed_by(receipt, public)
        assert await admin.erasure.verify_receipt(receipt)
        assert await admin.erasure.verify_receipt(receipt, subject=ALICE)
        assert not await admin.erasure.verify_receipt(receipt, subject={"user_id": "bob"})
        assert NAME not in msgspec.json.encode(receipt).decode()
        for name, value in receipt.items():
            if name != "signature":
                changed = {**receipt, name: [value]}
                assert not await admin.erasure.verify_receipt(changed), name
                assert not is_signed_by(changed, public), name
        with pytest.raises(ValidationError):
            await admin.erasure.verify_receipt({"what": "erasure"})
    async with opened(tmp_path / "other") as other:
        assert not await other.erasure.verify_receipt(receipt)
        theirs = await other.erasure.public_key()
        assert not is_signed_by(receipt, theirs or "")
        with pytest.raises(ValidationError):
            await other.erasure.reapply([receipt])


async def test_receipts_without_cryptography_are_verified_by_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.core.signing.find_spec", lambda _name: None)
    async with opened(tmp_path) as admin:
        await admin.memory().add("One.", **ALICE)
        receipt = (await admin.erasure.forget(**ALICE)).receipt
        assert receipt["signature"]["algorithm"] == "hmac-sha256"
        assert await admin.erasure.public_key() is None
        assert await admin.erasure.verify_receipt(receipt)
        assert not await admin.erasure.verify_receipt({**receipt, "kind": "run"})
        with pytest.raises(ValidationError):
            is_signed_by(receipt, "AAAA")


async def test_an_archive_that_forgetting_did_not_know_of_is_made_to_forget(tmp_path: Path) -> None:
    """One in another place than the configured: the receipt is what a restore of it needs."""
    shelf = {"provider": "folder", "config": {"path": str(tmp_path / "elsewhere")}}
    async with opened(tmp_path) as admin:
        await admin.memory().add(f"I live in {CANARY}.", user_id=NAME)
    await AsyncAdmin({"path": str(tmp_path / "store"), "backup": shelf}).backups.create()
    async with opened(tmp_path) as admin:
        receipt = (await admin.erasure.forget(user_id=NAME)).receipt
        key = await admin.erasure.public_key()
    restored = {"path": str(tmp_path / "restored"), "backup": shelf}
    assert (await AsyncAdmin(restored).backups.restore()).memories == 1
    async with AsyncAdmin(restored) as admin:
        assert (await admin.memory().get_all(filters=ALICE))["results"]
        [again] = await admin.erasure.reapply([receipt], public_key=key)
        assert again.state == "DONE"
        assert (await admin.memory().get_all(filters=ALICE))["results"] == []


@pytest.mark.parametrize("sealed", [False, True])
async def test_an_older_backup_is_made_to_forget_as_well(tmp_path: Path, sealed: bool) -> None:
    async with opened(tmp_path, sealed=sealed) as admin:
        memory = admin.memory()
        for user in (NAME, "bob", "carol"):
            await memory.add(f"I live in {CANARY if user == NAME else user}.", user_id=user)
    shutil.copytree(tmp_path / "store", tmp_path / "backup")
    async with opened(tmp_path, sealed=sealed) as admin:
        receipts = [(await admin.erasure.forget(user_id=u)).receipt for u in (NAME, "carol")]
        await admin.memory().add("I am back.", user_id="carol")
        assert await admin.erasure.reapply(receipts) == []  # she came back by herself
        key = await admin.erasure.public_key()
    shutil.rmtree(tmp_path / "store")
    shutil.move(tmp_path / "backup", tmp_path / "store")
    async with opened(tmp_path, sealed=sealed) as admin:
        assert (await admin.memory().get_all(filters=ALICE))["results"]
        with pytest.raises(ValidationError):
            await admin.erasure.reapply(receipts)
        again = await admin.erasure.reapply(receipts, public_key=key)
        assert [one.state for one in again] == ["DONE", "DONE"]
        assert (await admin.memory().get_all(filters=ALICE))["results"] == []
        assert (await admin.memory().search("home", filters=ALICE))["results"] == []
        assert len((await admin.memory().get_all(filters={"user_id": "bob"}))["results"]) == 1
    assert traces(tmp_path, CANARY) == traces(tmp_path, "quetzal") == []


@pytest.mark.parametrize("sealed", [False, True])
async def test_an_archive_of_before_restores_nothing_of_her(tmp_path: Path, sealed: bool) -> None:
    backup = {"provider": "folder", "config": {"path": str(tmp_path / "backups")}}
    async with opened(tmp_path, sealed=sealed, backup=backup) as admin:
        for user in (NAME, "bob"):
            await admin.memory().add(f"I live in {CANARY}.", user_id=user)
        await admin.backups.create()
        await admin.erasure.forget(**ALICE)
    shutil.rmtree(tmp_path / "store")
    other = AsyncAdmin(config(tmp_path, sealed=sealed, backup=backup))
    await other.backups.restore()
    async with other:
        assert not any((await other.erasure.inventory(**ALICE)).values())
        assert (await other.memory().search(CANARY, filters=ALICE))["results"] == []
        assert len((await other.memory().get_all(filters={"user_id": "bob"}))["results"]) == 1


# ------------------------------------------------------------------ keys


async def test_rows_whose_key_was_destroyed_are_passed_over_where_that_is_on_record(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path, sealed=True) as admin:
        await admin.memory().add("One.", **ALICE, agent_id="helper")
        await admin.memory().add("Two.", user_id="bob", agent_id="helper")
    # as if her rows had come back from a backup, and her key had not
    database = tmp_path / "store" / "holdfast.db"
    with closing(sqlite3.connect(database)) as connection:
        kept = {
            table: connection.execute(f"SELECT * FROM {table}").fetchall()
            for table in ("memories", "messages", "sources", "history")
        }
    async with opened(tmp_path, sealed=True) as admin:
        await admin.erasure.forget(**ALICE)
    with closing(sqlite3.connect(database)) as connection:
        for table, rows in kept.items():
            marks = ",".join("?" * len(rows[0]))
            connection.executemany(f"INSERT OR IGNORE INTO {table} VALUES ({marks})", rows)
        connection.commit()
    async with opened(tmp_path, sealed=True) as admin:
        memory = admin.memory()
        assert (await memory.get_all(filters=ALICE))["results"] == []
        [bobs] = (await memory.get_all(filters={"agent_id": "helper"}))["results"]
        assert bobs["memory"] == "Two."
        found = await memory.search("One", filters={"agent_id": "helper"})
        assert [hit["memory"] for hit in found["results"]] == ["Two."]
        assert await memory.history(kept["memories"][0][1]) == []
    with closing(sqlite3.connect(database)) as connection:  # nothing is on record
        connection.execute("DELETE FROM erasures")
        connection.commit()
    async with opened(tmp_path, sealed=True) as admin:
        with pytest.raises(Exception, match="key that is not there"):
            await admin.memory().get_all(filters={"agent_id": "helper"})


async def test_another_process_does_not_seal_with_a_destroyed_key(tmp_path: Path) -> None:
    async with opened(tmp_path, sealed=True) as one, opened(tmp_path, sealed=True) as other:
        await one.memory().add("One.", **ALICE)
        await other.memory().add("Two.", **ALICE)  # it holds the key now
        await one.erasure.forget(**ALICE)
        await other.memory().add("Three.", **ALICE)
        for admin in (one, other):
            [found] = (await admin.memory().get_all(filters=ALICE))["results"]
            assert found["memory"] == "Three."
        with closing(sqlite3.connect(tmp_path / "store" / "holdfast.db")) as connection:
            sql = "SELECT id = ?, version, wrapped IS NULL FROM subject_keys WHERE kind = 'user'"
            keys = sorted(connection.execute(sql, (NAME,)).fetchall())
        assert keys == [(0, 1, 1), (1, 2, 0)]
