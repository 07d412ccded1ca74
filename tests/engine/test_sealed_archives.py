"""Archives of a sealed store hold no plaintext: not as they lie in a folder or a bucket, not with
the archive's own key taken off, not where one is laid out to be verified or merged."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from holdfast.admin import AsyncAdmin
from holdfast.clock import SystemClock
from holdfast.config import load_config
from holdfast.engine.archives import KEYS_SUFFIX, open_archive
from holdfast.registry import make_shelf
from support.llm_server import LLMServer
from support.s3_wire import Bucket, bucket
from tests.engine.test_backup_places import in_bucket
from tests.engine.test_sealed import CANARY, administer, config, keys, live, traces

__all__ = ["keys"]


@pytest.fixture
def s3() -> Iterator[Bucket]:
    with bucket() as made:
        yield made


@pytest.fixture(params=["folder", "s3"])
def backup(request: pytest.FixtureRequest, tmp_path: Path, s3: Bucket) -> dict[str, Any]:
    """Where backups are kept, as a configuration names it."""
    if request.param == "folder":
        return {"provider": "folder", "config": {"path": str(tmp_path / "backups")}}
    part = in_bucket(s3)
    return {"provider": part.provider, "config": dict(part.config)}


def settings(tmp_path: Path, keys: Path | None, server: LLMServer, backup: Any) -> dict[str, Any]:
    scripted = {"model": "scripted", "openai_base_url": server.url, "api_key": "sk-test"}
    more = {"llm": {"provider": "openai", "config": scripted}, "backup": backup}
    return config(tmp_path, keys, model_attempts_max=1, job_attempts_max=1, **more)


def stored(tmp_path: Path, s3: Bucket) -> list[str]:
    """The files and objects in which the canary stands."""
    return [
        *traces(tmp_path),
        *(name for name, held in s3.objects.items() if CANARY.encode() in held.lower()),
    ]


async def rows(given: dict[str, Any]) -> list[str]:
    """Every row of every archive, and of the keys beside them, with the archive's own key off."""
    shelf = make_shelf(load_config(given).config, SystemClock())
    found: list[str] = []
    try:
        for one in await shelf.destination.listed():
            archive = await open_archive(shelf.destination, one.name, shelf.ring, shelf.codecs)
            assert archive.manifest.chunks, one.name
            for chunk in archive.manifest.chunks:
                found += [repr(row) for row in await archive.rows(chunk)]
    finally:
        await shelf.close()
    return found


async def lived(given: dict[str, Any], server: LLMServer) -> list[Any]:
    """A life with a full archive, and two that have what changed since."""
    made = []
    async with AsyncAdmin(given) as admin:
        await live(admin.memory(), server)
        made.append(await admin.backups.create())
        await administer(admin, server)
        made.append(await admin.backups.create())
        await admin.memory().delete_all(user_id="bob")
        await admin.memory().add(f"Back from {CANARY}", user_id="alice", infer=False)
        made.append(await admin.backups.create())
    return made


async def test_no_canary_is_in_an_archive(
    tmp_path: Path,
    keys: Path,
    server: LLMServer,
    s3: Bucket,
    backup: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = settings(tmp_path, keys, server, backup)
    made = await lived(given, server)
    assert [one.kind for one in made] == ["full", "incremental", "incremental"]
    names = [one.name for one in (tmp_path / "backups").glob("*")] or list(s3.objects)
    assert len(names) == 4
    assert any(name.endswith(KEYS_SUFFIX) for name in names)
    assert stored(tmp_path, s3) == []
    told = await rows(given)
    assert len(told) > 100
    assert [row for row in told if CANARY in row.lower()] == []

    laid_out = tmp_path / "laid-out"
    laid_out.mkdir()
    monkeypatch.setattr(tempfile, "TemporaryDirectory", Kept(laid_out))
    await AsyncAdmin(given).backups.verify()
    other = {**given, "path": str(tmp_path / "other")}
    await AsyncAdmin(other).backups.restore(made[1].id)
    async with AsyncAdmin(other) as admin:
        merged = await admin.backups.merge(made[2].id, projects={"default": "second"})
        assert merged.added
        found = await admin.memory("second").search("back from", filters={"user_id": "alice"})
        assert any(CANARY in hit["memory"] for hit in found["results"])
    assert len(list(laid_out.rglob("holdfast.db"))) == 2, "what is laid out was not looked at"
    assert stored(tmp_path, s3) == []


class Kept:
    """In place of temporary folders: such as stay."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.made = 0

    def __call__(self, **_: object) -> Kept:
        return self

    def __enter__(self) -> str:
        self.made += 1
        place = self.folder / str(self.made)
        place.mkdir()
        return str(place)

    def __exit__(self, *_: object) -> None:
        """It stays."""


async def test_a_plain_archive_has_canaries(
    tmp_path: Path, server: LLMServer, s3: Bucket, backup: dict[str, Any]
) -> None:
    """The search for canaries finds them where there are some."""
    given = settings(tmp_path, None, server, backup)
    async with AsyncAdmin(given) as admin:
        await live(admin.memory(), server)
        await admin.backups.create()
    assert any(CANARY in row.lower() for row in await rows(given))
