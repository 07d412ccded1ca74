"""Adding a backup to a store that is used, and to another project."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from holdfast.admin import AsyncAdmin
from holdfast.errors import ConfigError, ConflictError, NotFoundError, ValidationError
from support.drawer import told
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


async def test_other_content_keys_do_not_meet(tmp_path: Path) -> None:
    """A sealed store keys contents by a key of its own: two have two."""
    async with AsyncAdmin(config(tmp_path, sealed=True)) as admin:
        await fill(admin)
        made = await admin.backups.create()
    async with AsyncAdmin(config(tmp_path, "other", sealed=True)) as admin:
        with pytest.raises(ConfigError, match="another content key"):
            await admin.backups.merge(made.id)
        assert (await remembered(admin, "default", "alice"))[0]["results"] == []
