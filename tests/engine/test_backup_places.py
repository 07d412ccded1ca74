"""Where backups are kept: a folder and a bucket do the same, whole or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from holdfast.admin import AsyncAdmin
from holdfast.backends.backups import bucket as object_destination
from holdfast.config import Part
from holdfast.errors import BackupUnavailableError, ConfigError, NotFoundError
from holdfast.ports.destination import Destination, Stored
from holdfast.registry import make_destination
from support.drawer import told
from support.s3_wire import PAGE, Bucket, bucket


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    monkeypatch.setattr(object_destination, "_PART_BYTES", 5 << 20)
    with bucket() as made:
        yield made


def in_bucket(s3: Bucket, **more: Any) -> Part:
    keys = {"access_key_id": "id", "secret_access_key": "not-for-anybody", "region": "here"}
    place = {"url": "s3://bucket/deep/folder", "endpoint": s3.url, "allow_http": True}
    return Part("s3", {**place, **keys, "retries": 0, **more})


@pytest.fixture(params=["folder", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path, s3: Bucket) -> Destination:
    if request.param == "s3":
        return make_destination(in_bucket(s3))
    return make_destination(Part("folder", {"path": str(tmp_path / "deep" / "folder")}))


async def parts(*given: bytes) -> AsyncIterator[bytes]:
    for part in given:
        yield part


async def failing(*given: bytes) -> AsyncIterator[bytes]:
    for part in given:
        yield part
    raise RuntimeError("planted")


async def test_what_is_put_is_there(place: Destination) -> None:
    assert await place.listed() == []
    assert await place.put("one", parts(b"ab", b"", b"cdef")) == 6
    assert await place.size("one") == 6
    assert await place.read("one", 1, 3) == b"bcd"
    assert await place.read("one", 4, 100) == b"ef"
    assert await place.read("one", 6, 5) == b""
    assert await place.read("one", 2, 0) == b""
    await place.put("one", parts(b"xyz"))
    assert await place.read("one", 0, 10) == b"xyz"
    assert await place.listed() == [Stored(name="one", size=3)]
    await place.delete("one")
    await place.delete("one")
    assert await place.listed() == []
    await place.close()


async def test_many_and_large(place: Destination) -> None:
    names = [f"n{no:02}" for no in range(2 * PAGE + 1)]
    for name in names:
        await place.put(name, parts(name.encode()))
    assert [one.name for one in await place.listed()] == names
    large = os.urandom(1 << 20)
    assert await place.put("large", parts(*[large] * 12)) == 12 << 20
    assert await place.read("large", (11 << 20) + 5, 7) == large[5:12]
    await place.close()


async def test_what_fails_leaves_what_was_there(place: Destination) -> None:
    with pytest.raises(Exception, match="planted"):
        await place.put("one", failing(b"x" * (6 << 20), b"y" * (6 << 20)))
    assert await place.listed() == []
    await place.put("one", parts(b"before"))
    with pytest.raises(Exception, match="planted"):
        await place.put("one", failing(b"after"))
    assert await place.read("one", 0, 10) == b"before"
    assert [one.name for one in await place.listed()] == ["one"]
    await place.close()


async def test_what_is_not_there(place: Destination) -> None:
    for call in (place.size("no"), place.read("no", 0, 5)):
        with pytest.raises(NotFoundError):
            await call
    await place.close()


@pytest.mark.parametrize(("status", "match"), [(403, "refuses"), (500, "does not answer")])
async def test_a_bucket_that_does_not(s3: Bucket, status: int, match: str) -> None:
    place = make_destination(in_bucket(s3))
    await place.put("one", parts(b"x"))
    s3.status = status
    calls = (place.listed, lambda: place.size("one"), lambda: place.put("two", parts(b"y")))
    for call in calls:
        with pytest.raises(BackupUnavailableError, match=match) as caught:
            await call()
        assert "not-for-anybody" not in str(caught.value)


async def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    place = make_destination(Part("folder", {"path": str(tmp_path / "f")}))
    await place.put("before", parts(b"x"))
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BackupUnavailableError, match="is full"):
        await place.put("one", parts(b"x"))
    assert os.listdir(tmp_path / "f") == ["before"]


async def test_files_are_their_owners_alone(tmp_path: Path) -> None:
    place = make_destination(Part("folder", {"path": str(tmp_path / "f")}))
    await place.put("one", parts(b"x"))
    modes = [os.stat(tmp_path / name).st_mode & 0o777 for name in ("f", "f/one")]
    assert modes == [0o700, 0o600]


@pytest.mark.parametrize(
    "part",
    [
        Part("tape", {}),
        Part("folder", {}),
        Part("folder", {"path": "x", "url": "y"}),
        Part("s3", {"url": "nonsense"}),
        Part("s3", {"url": "s3://bucket", "account_key": "x"}),
        Part("gcs", {}),
    ],
)
def test_settings_that_cannot_be(part: Part) -> None:
    with pytest.raises(ConfigError, match=r"backup\."):
        make_destination(part)


async def test_a_drill_through_a_bucket(s3: Bucket, tmp_path: Path) -> None:
    part = in_bucket(s3)
    settings = {"workers": 0, "backup": {"provider": "s3", "config": part.config}}
    async with AsyncAdmin({**settings, "path": str(tmp_path / "store")}) as admin:
        for text in ("I like tea.", "I like rum."):
            await admin.memory().add(text, user_id="ann", infer=False)
        await admin.backups.create()
        made = await admin.backups.create()
        assert made.kind == "incremental"
        assert [one.whole for one in await admin.backups.listed()] == [True, True]
        before = await told(admin.memory(), "ann")
    assert all(name.startswith("deep/folder/") for name in s3.objects)
    other = AsyncAdmin({**settings, "path": str(tmp_path / "other")})
    await other.backups.restore()
    async with other as admin:
        assert await told(admin.memory(), "ann") == before
