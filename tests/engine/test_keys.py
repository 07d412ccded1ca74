"""API keys through the deployment's face: made, listed, rotated, revoked, expired, recognised."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from holdfast.admin import AsyncAdmin
from holdfast.clock import ManualClock
from holdfast.core import keys
from holdfast.core.fence import Fence
from holdfast.directory import ApiKey
from holdfast.engine import keys as keying
from holdfast.engine.keys import Recogniser
from holdfast.engine.parts import Parts
from holdfast.engine.uses import Uses, last_uses
from holdfast.errors import AuthenticationError, NotFoundError, ValidationError
from holdfast.limits import KEY_USE_S
from support.embedded import opened

ADMIN_KEY = "the-admin-key-of-these-tests"


@pytest.fixture
async def admin(tmp_path: Path) -> AsyncIterator[AsyncAdmin]:
    config = {"path": str(tmp_path / "store"), "workers": 0, "server": {"admin_key": ADMIN_KEY}}
    async with AsyncAdmin(config) as opened_:
        await opened_.create_project("Other", project_id="other")
        yield opened_


async def refused(admin: AsyncAdmin, key: str) -> str:
    with pytest.raises(AuthenticationError) as caught:
        await admin.recognise(key)
    return str(caught.value)


async def test_a_key_is_recognised_as_it_was_made(admin: AsyncAdmin) -> None:
    made = await admin.create_key(
        project="other", label="app", permissions=["reader"], users=["ann", "ann", " bob "]
    )
    who = await admin.recognise(made.secret)
    assert (who.id, who.project, who.kind) == (made.key.id, "other", "key")
    assert who.permissions == {"read"}
    assert who.fence == Fence(users=("ann", "bob"))


async def test_the_secret_is_told_once_and_stored_nowhere(
    admin: AsyncAdmin, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    made = await admin.create_key(label="app")
    await admin.recognise(made.secret)
    halves = keys.parsed(made.secret)
    assert halves is not None
    assert halves.secret not in repr(made) + repr(await admin.keys()) + caplog.text
    for path in (tmp_path / "store").rglob("*"):
        assert not path.is_file() or halves.secret.encode() not in path.read_bytes(), path


async def test_whatever_is_wrong_with_a_key_the_refusal_is_the_same(admin: AsyncAdmin) -> None:
    made = await admin.create_key()
    halves = keys.parsed(made.secret)
    assert halves is not None
    revoked, expired = (
        await admin.create_key(),
        await admin.create_key(expires_at=time.time() + 0.1),
    )
    await asyncio.sleep(0.2)
    await admin.revoke_key(revoked.key.id)
    wrong = [
        "", "x", ADMIN_KEY[:-1], ADMIN_KEY + " ", revoked.secret, expired.secret,
        keys.written(halves.id, "x" * 43), keys.written("0" * 12, halves.secret),
        made.key.digest, keys.written(halves.id, made.key.digest[:43]),
    ]  # fmt: skip
    assert len({await refused(admin, key) for key in wrong}) == 1


async def test_an_unknown_id_costs_the_same_comparison(
    admin: AsyncAdmin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted, not timed."""
    made = await admin.create_key()
    await admin.revoke_key((revoked := await admin.create_key()).key.id)
    calls: list[bool] = []
    honest = keys.proves

    def spy(secret: str, stored: str | None) -> bool:
        calls.append(stored is None)
        return honest(secret, stored)

    monkeypatch.setattr(keys, "proves", spy)
    for key in (made.secret[:-1] + "x", keys.written("0" * 12, "x" * 43), revoked.secret):
        await refused(admin, key)
    assert calls == [False, True, False]


async def test_rotation_with_grace_keeps_the_old_key_for_so_long(tmp_path: Path) -> None:
    clock = ManualClock()
    async with opened(tmp_path / "store.db", clock=clock) as parts:
        recognise = Recogniser(parts, "").principal
        request = keying.KeyRequest(
            label="app", permissions=("read",), fence=Fence(users=("ann",)), account="acc"
        )
        old = await keying.create(parts, request)
        new = await keying.rotate(parts, old.key.id, grace_s=60.0)
        assert new.key.id != old.key.id
        one, other = await recognise(old.secret), await recognise(new.secret)
        assert (one.permissions, one.fence, one.account) == (
            other.permissions,
            other.fence,
            other.account,
        )
        clock.advance(59.9)
        await recognise(old.secret)
        clock.advance(0.1)
        with pytest.raises(AuthenticationError):
            await recognise(old.secret)
        await recognise(new.secret)
        with pytest.raises(ValidationError, match="has expired"):
            await keying.rotate(parts, old.key.id, grace_s=60.0)


async def test_rotation_without_grace_ends_the_old_key_at_once(admin: AsyncAdmin) -> None:
    old = await admin.create_key()
    new = await admin.rotate_key(old.key.id)
    await refused(admin, old.secret)
    assert (await admin.recognise(new.secret)).id == new.key.id


async def test_rotation_never_prolongs(tmp_path: Path) -> None:
    clock = ManualClock()
    async with opened(tmp_path / "store.db", clock=clock) as parts:
        ends = clock.now() + 10
        request = keying.KeyRequest(label="", permissions=("read",), fence=Fence(), expires_at=ends)
        old = await keying.create(parts, request)
        new = await keying.rotate(parts, old.key.id, grace_s=1_000.0)
        assert new.key.expires_at == ends
        assert {key.ends_at for key in await keying.listed(parts)} == {ends}


async def test_a_key_belongs_to_its_project(admin: AsyncAdmin) -> None:
    made = await admin.create_key(project="other")
    for call in (admin.revoke_key, admin.rotate_key):
        with pytest.raises(NotFoundError):
            await call(made.key.id)
    assert [key.id for key in await admin.keys(project="other")] == [made.key.id]
    assert await admin.keys() == []
    with pytest.raises(NotFoundError):
        await admin.create_key(project="nowhere")
    await admin.recognise(made.secret)


async def test_a_revoked_key_is_gone_for_good(admin: AsyncAdmin) -> None:
    made = await admin.create_key()
    await admin.recognise(made.secret)
    await admin.revoke_key(made.key.id)
    await refused(admin, made.secret)
    for call in (admin.revoke_key, admin.rotate_key):
        with pytest.raises(NotFoundError):
            await call(made.key.id)
    [kept] = await admin.keys()
    assert kept.revoked_at is not None


async def test_keys_of_a_deleted_project_open_nothing(admin: AsyncAdmin) -> None:
    made = await admin.create_key(project="other")
    await admin.delete_project("other")
    await refused(admin, made.secret)


async def test_who_runs_the_deployment(admin: AsyncAdmin) -> None:
    """The admin key, and an unrestricted admin key of the first project; nobody else."""
    assert (await admin.recognise(ADMIN_KEY)).is_root
    for more, root in (
        ({"permissions": ["admin"]}, True),
        ({"permissions": ["writer"]}, False),
        ({"permissions": ["admin"], "users": ["ann"]}, False),
        ({"permissions": ["admin"], "users": []}, False),
        ({"permissions": ["admin"], "project": "other"}, False),
    ):
        made = await admin.create_key(**more)  # type: ignore[arg-type]
        assert (await admin.recognise(made.secret)).is_root == root, more


@pytest.mark.parametrize(
    "wrong",
    [
        {"permissions": []}, {"permissions": ["root"]}, {"permissions": ["read", "everything"]},
        {"users": "ann"}, {"users": ["*"]}, {"users": [""]}, {"agents": [None]},
        {"expires_at": "tomorrow"}, {"label": "x" * 257},
    ],
    ids=lambda wrong: str(wrong)[:40],
)  # fmt: skip
async def test_a_key_that_makes_no_sense_is_not_made(
    wrong: dict[str, Any], admin: AsyncAdmin
) -> None:
    with pytest.raises(ValidationError):
        await admin.create_key(**wrong)
    assert await admin.keys() == []


# --------------------------------------------------------------------- several processes


async def test_a_key_revoked_through_one_process_is_refused_by_the_other(tmp_path: Path) -> None:
    """At once: the next call asks the store whether anything changed."""
    config = {"path": str(tmp_path / "store"), "workers": 0}
    async with AsyncAdmin(config) as one, AsyncAdmin(config) as other:
        made = await one.create_key()
        assert (await other.recognise(made.secret)).id == made.key.id
        await other.recognise(made.secret)
        await one.revoke_key(made.key.id)
        await refused(other, made.secret)
        again = await other.create_key()
        assert (await one.recognise(again.secret)).id == again.key.id


async def test_what_was_looked_up_is_not_looked_up_again_until_something_changes(
    admin: AsyncAdmin, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await admin.create_key()
    parts = await admin._parts()
    kind = type(parts.directory)
    asked: list[object] = []
    honest = kind.select

    async def select(self: Any, *given: Any, **more: Any) -> Any:
        if given[0] is ApiKey:  # an add looks for what was set for its project
            asked.append(given)
        return await honest(self, *given, **more)

    monkeypatch.setattr(kind, "select", select)
    for _ in range(5):
        await admin.recognise(made.secret)
        await refused(admin, keys.written("0" * 12, "x" * 43))
    assert len(asked) == 2
    await admin.memory().add("a memory changes nothing here", user_id="ann")
    await admin.recognise(made.secret)
    assert len(asked) == 2
    await admin.set_member("a@b.c", "READER")
    await admin.recognise(made.secret)
    assert len(asked) == 3


async def test_a_lookup_overtaken_by_a_change_is_not_remembered(
    admin: AsyncAdmin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read before a revocation must not be believed after it."""
    made = await admin.create_key()
    parts = await admin._parts()
    kind, honest = type(parts.directory), type(parts.directory).select
    revoked = False

    async def select(self: Any, *given: Any, **more: Any) -> Any:
        nonlocal revoked
        found = await honest(self, *given, **more)
        if not revoked:
            revoked = True
            await admin.revoke_key(made.key.id)
            await refused(admin, made.secret)  # another caller, who has seen the change
        return found

    monkeypatch.setattr(kind, "select", select)
    await admin.recognise(made.secret)  # had been asked before
    await refused(admin, made.secret)


async def test_a_key_changed_again_in_its_grace_gives_one_that_does_not_end(
    tmp_path: Path,
) -> None:
    clock = ManualClock()
    async with opened(tmp_path / "store.db", clock=clock) as parts:
        recognise = Recogniser(parts, "").principal
        request = keying.KeyRequest(label="app", permissions=("read",), fence=Fence())
        old = await keying.create(parts, request)
        await keying.rotate(parts, old.key.id, grace_s=60.0)
        again = await keying.rotate(parts, old.key.id, grace_s=1_000.0)
        assert again.key.ends_at is None
        clock.advance(60.0)  # and what was said first of the old one's end stays
        with pytest.raises(AuthenticationError):
            await recognise(old.secret)
        await recognise(again.secret)


async def test_uses_of_keys_are_written_now_and_then(tmp_path: Path) -> None:
    clock = ManualClock()
    async with opened(tmp_path / "store.db", clock=clock) as parts:
        recogniser = Recogniser(parts, "")
        request = keying.KeyRequest(label="app", permissions=("read",), fence=Fence())
        made, idle = [await keying.create(parts, request) for _ in range(2)]
        stamp, writes = await parts.directory.stamp(), _writes(parts)

        async def used() -> float | None:
            for _ in range(3):
                await recogniser.principal(made.secret)
            assert len(writes) == known
            await recogniser.uses.write()
            return (await last_uses(parts, [made.key, idle.key])).get(made.key.id)

        known, first = 0, clock.now()
        assert await used() == first
        known = len(writes)
        assert known <= 2  # an update that finds nothing, and a row
        clock.advance(KEY_USE_S - 1)
        assert await used() == first
        assert len(writes) == known
        clock.advance(1)
        assert await used() == first + KEY_USE_S
        assert len(writes) == known + 1
        assert await parts.directory.stamp() == stamp  # nobody has to look keys up again
        assert idle.key.id not in await last_uses(parts, [idle.key])


async def test_what_another_process_saw_later_stays(tmp_path: Path) -> None:
    clock = ManualClock()
    async with opened(tmp_path / "store.db", clock=clock) as parts:
        request = keying.KeyRequest(label="app", permissions=("read",), fence=Fence())
        key = (await keying.create(parts, request)).key
        here, there = Uses(parts), Uses(parts)
        here.note(key, clock.now())
        there.note(key, clock.now() + 5)
        await there.write()
        await here.write()
        assert await last_uses(parts, [key]) == {key.id: clock.now() + 5}


async def test_uses_are_written_when_the_deployment_ends(tmp_path: Path) -> None:
    config = {"path": str(tmp_path / "store"), "workers": 0}
    async with AsyncAdmin(config) as admin:
        made = await admin.create_key()
        await admin.recognise(made.secret)
    async with AsyncAdmin(config) as admin:
        assert made.key.id in await admin.key_uses(await admin.keys())


def _writes(parts: Parts) -> list[Any]:
    """Filled with every write of the store from now on."""
    asked: list[Any] = []
    records: Any = parts.records
    write = records.write

    async def noted(project: Any, work: Any, **more: Any) -> Any:
        asked.append(work)
        return await write(project, work, **more)

    records.write = noted
    return asked
