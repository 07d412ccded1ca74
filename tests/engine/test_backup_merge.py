"""Adding a backup to a store that is used, and to another project."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from holdfast.admin import AsyncAdmin
from holdfast.errors import ConflictError, KeyRingError, NotFoundError, ValidationError
from support.drawer import told
from support.sealed import RENEWED
from tests.engine.test_backups import config, fill, hold, small

__all__ = ["hold", "small"]


async def remembered(admin: AsyncAdmin, project: str, *users: str) -> list[Any]:
    """What is told of users; `entities` of one project are not those of another."""
    return (await told(admin.memory(project), *users))[:-1]


@pytest.mark.parametrize("sealed", [False, True])
async def test_a_project_gets_another_name(tmp_path: Path, *, sealed: bool) -> None:
    async with AsyncAdmin(config(tmp_path, sealed=sealed)) as admin:
        await fill(admin)
        await admin.backups.create()
        before = await remembered(admin, "default", "alice", "bob")
        merged = await admin.backups.merge(projects={"default": "new", "other": "third"})
        assert (merged.added, merged.known) == (9, 0)
        assert await remembered(admin, "new", "alice", "bob") == before
        assert await remembered(admin, "default", "alice", "bob") == before
        assert len((await remembered(admin, "third", "alice"))[0]["results"]) == 1
        again = await admin.backups.merge(projects={"default": "new"})
        assert (again.added, again.known) == (0, 8)
        assert await remembered(admin, "new", "alice", "bob") == before


@pytest.mark.parametrize("sealed", [False, True])
async def test_what_is_there_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, sealed: bool
) -> None:
    monkeypatch.setattr("holdfast.engine.merging._AT_ONCE", 2)
    async with AsyncAdmin(config(tmp_path, sealed=sealed)) as admin:
        memory = admin.memory()
        await fill(admin)
        await admin.backups.create()
        before = await remembered(admin, "default", "bob")
        [page, *_] = await remembered(admin, "default", "alice")
        changed, gone = page["results"][0]["id"], page["results"][1]["id"]
        await memory.update(changed, "I have three dogs.")
        past = await memory.history(changed)
        await memory.delete(gone)
        await memory.add("I like milk.", user_id="alice", infer=False)
        merged = await admin.backups.merge()
        assert (merged.added, merged.known) == (1, 8)
        assert merged.projects == {"default": "default", "other": "other"}
        assert (await memory.get(changed))["memory"] == "I have three dogs."
        assert await memory.history(changed) == past
        assert (await memory.get(gone))["memory"] == page["results"][1]["memory"]
        found = (await remembered(admin, "default", "alice"))[0]["results"]
        assert len(found) == len(page["results"]) + 1
        assert await remembered(admin, "default", "bob") == before
        hits = await memory.search(page["results"][1]["memory"], filters={"user_id": "alice"})
        assert gone in [hit["id"] for hit in hits["results"]]


async def test_into_a_store_of_its_own(tmp_path: Path) -> None:
    async with AsyncAdmin(config(tmp_path)) as admin:
        await fill(admin)
        await admin.backups.create()
        before = await remembered(admin, "default", "alice", "bob")
    async with AsyncAdmin(config(tmp_path, "other")) as admin:
        merged = await admin.backups.merge(projects={"default": "mine"}, only_empty=True)
        assert merged.added == 8
        assert await remembered(admin, "mine", "alice", "bob") == before
        assert (await remembered(admin, "other", "alice"))[0]["results"] == []
        with pytest.raises(ConflictError, match="not empty"):
            await admin.backups.merge(projects={"default": "more"}, only_empty=True)
        with pytest.raises(NotFoundError, match="no memories of the project"):
            await admin.backups.merge(projects={"nobody": "more"})
        with pytest.raises(ValidationError):
            await admin.backups.merge(projects={"default": " "})


OKAYS = [{"role": "user", "content": text} for text in ("ok", "Rome is far.", "ok", "OK", "ok")]
MOMENT = 1_700_000_000

KEYS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "two sealed stores": ({"sealed": True}, {"sealed": True}),
    "plain into sealed": ({}, {"sealed": True}),
    "plain into keyed": ({}, {"content_key": "one"}),
    "keyed into keyed": ({"content_key": "one"}, {"content_key": "another"}),
    "keyed into sealed": ({"content_key": "one"}, {"sealed": True}),
    "keyed into plain": ({"content_key": "one"}, {}),
}


def without_hashes(found: Any) -> Any:
    """What is told, but for the hashes, which are keyed."""
    if isinstance(found, dict):
        return {name: without_hashes(one) for name, one in found.items() if name != "hash"}
    return [without_hashes(one) for one in found] if isinstance(found, list) else found


async def turns_of(admin: AsyncAdmin, user: str) -> list[Any]:
    """The turns that each memory of a user came from."""
    memory = admin.memory()
    page = await memory.get_all(filters={"user_id": user}, top_k=1_000)
    found = [await memory.provenance(one["id"]) for one in page["results"]]
    return [[turn["turn_id"] for turn in one["sources"]] for one in found]


@pytest.mark.parametrize("keys", KEYS)
async def test_stores_of_other_content_keys_are_merged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keys: str
) -> None:
    """As if everything had been said here: found by its words, and known when it is said again."""
    monkeypatch.setattr("holdfast.engine.merging._AT_ONCE", 2)
    first, second = KEYS[keys]
    async with AsyncAdmin(config(tmp_path, **first)) as admin:
        memory = admin.memory()
        await memory.add(OKAYS[:1], user_id="alice", infer=False, timestamp=MOMENT)
        await fill(admin)
        # two more of what was said before, and of others several
        await memory.add(OKAYS, user_id="alice", infer=False, timestamp=MOMENT)
        await memory.add(OKAYS, user_id="bob", infer=False, timestamp=MOMENT)
        page = await memory.get_all(filters={"user_id": "alice"}, top_k=1)
        await memory.update(page["results"][0]["id"], "It was far.")
        made = await admin.backups.create()
        before = without_hashes(await remembered(admin, "default", "alice", "bob"))
        [alices, *_] = before
        sources = await turns_of(admin, "bob")
    async with AsyncAdmin(config(tmp_path, "other", **second)) as admin:
        memory = admin.memory()
        await memory.add(OKAYS[1], user_id="alice", infer=False, timestamp=MOMENT)
        merged = await admin.backups.merge(made.id)
        assert (merged.added, merged.known) == (18, 1)
        after = without_hashes(await remembered(admin, "default", "alice", "bob"))
        [mine, *_] = after
        assert mine["total"] == alices["total"]
        assert sorted(one["memory"] for one in mine["results"]) == sorted(
            one["memory"] for one in alices["results"]
        )
        bobs = slice(before.index(alices) + 1 + len(alices["results"]) + 3, None)
        assert after[bobs] == before[bobs]
        assert await turns_of(admin, "bob") == sources
        await memory.add(OKAYS, user_id="alice", infer=False, timestamp=MOMENT)
        listed = await memory.get_all(filters={"user_id": "alice"}, top_k=100)
        assert listed["total"] == alices["total"] + 1, "what was edited is said again, nothing else"
        again = await admin.backups.merge(made.id)
        assert (again.added, again.known) == (0, 19)
        hits = await memory.search("dogs", filters={"user_id": "bob"}, explain=True)
        assert hits["results"][0]["memory"].startswith("I have two dogs")


async def test_an_archive_of_another_keyring_says_so(tmp_path: Path, hold: Any) -> None:
    async with AsyncAdmin(config(tmp_path, sealed=True)) as admin:
        await fill(admin)
        made = await admin.backups.create()
    async with AsyncAdmin(config(tmp_path, "plain")) as admin:
        with pytest.raises(KeyRingError, match="sealed with the master key 'first'"):
            await admin.backups.merge(made.id)
    hold({"second": RENEWED["second"]})
    async with AsyncAdmin(config(tmp_path, "other", sealed=True)) as admin:
        with pytest.raises(KeyRingError, match="no master key 'first'"):
            await admin.backups.merge(made.id)
        assert (await admin.memory().get_all(filters={"user_id": "alice"}))["total"] == 0
    hold(RENEWED)  # one that holds both opens the archive, and seals anew
    async with AsyncAdmin(config(tmp_path, "other", sealed=True)) as admin:
        assert (await admin.backups.merge(made.id)).added == 9
        status = await admin.sealing.status()
        assert (status.master, status.old_master) == ("second", 0)
