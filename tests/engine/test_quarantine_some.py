"""Deciding on some messages of what is held: the others are held on, under an id of their own."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from holdfast.admin import AsyncAdmin
from holdfast.errors import ConflictError, NotFoundError, ValidationError
from tests.engine.test_quarantine import ALICE, admin, held, texts

__all__ = ["admin"]

TALK = ["one", "two", "three", "four"]


async def waiting(admin: AsyncAdmin) -> tuple[str, list[str]]:
    [row] = await held(admin)
    return row.id, [one["text"] for one in row.messages]


async def test_some_are_let_in_and_the_others_are_held_on(admin: AsyncAdmin) -> None:
    hook = await admin.webhooks.create("reviewers", "https://example.com/x", ["memory_held"])
    memory = admin.memory()
    await memory.add(TALK, **ALICE, trust="untrusted", metadata={"from": "web"})
    [row] = await held(admin)
    answer = await admin.quarantine.approve([row.id], messages=[3, 1, 3])
    [done] = answer["results"]
    assert [one["memory"] for one in done["results"]] == ["one", "three"] == await texts(memory)
    rest, left = await waiting(admin)
    assert (done["rest"], left) == (rest, ["two", "four"])
    [kept] = await held(admin)
    assert (kept.created_at, kept.request) == (row.created_at, row.request)
    event = await memory.event(done["event_id"])
    assert event["approved"]["messages"] == [1, 3]
    assert event["approved"]["rest"] == rest
    told = [one.body["event_details"] for one in await admin.webhooks.deliveries(hook.id)]
    assert {(one["held_id"], one["messages"]) for one in told} == {(row.id, 4), (rest, 2)}

    assert await admin.quarantine.approve([row.id], messages=[1, 3]) == answer, "once more"
    for other in ([], [1], [2]):
        with pytest.raises(ConflictError, match="Other messages") as refused:
            await admin.quarantine.approve([row.id], messages=other)
        assert rest in refused.value.hint
    assert await texts(memory) == ["one", "three"]

    assert await admin.quarantine.reject([rest], messages=[1]) == {
        "count": 1, "left": 0, "rest": (await held(admin))[0].id,
    }  # fmt: skip
    last, left = await waiting(admin)
    assert left == ["four"]
    assert "rest" not in (await admin.quarantine.approve([last], messages=[1]))["results"][0]
    assert await texts(memory) == ["one", "three", "four"]
    rows = (await admin.audit.listed(size=1000)).rows
    decided = [row for row in reversed(rows) if row.action.startswith("quarantine.")]
    kinds = ("quarantine.approved", "quarantine.rejected")
    each = [(row.action, row.target, row.count) for row in decided if row.action in kinds]
    assert each == [(kinds[0], row.id, 2), (kinds[1], rest, 1), (kinds[0], last, 1)]


async def test_what_was_rejected_is_told_and_never_approved(admin: AsyncAdmin) -> None:
    await admin.memory().add(TALK, **ALICE, trust="untrusted")
    held_id, _ = await waiting(admin)
    answer = await admin.quarantine.reject([held_id], messages=[2, 4])
    for call in (admin.quarantine.approve, admin.quarantine.reject):
        for numbers in ([], [2, 4]):
            with pytest.raises(NotFoundError):
                await call([held_id], messages=numbers)
    [event] = (await admin.memory().events())["results"]
    told = {"id": held_id, "messages": [2, 4], "rest": answer["rest"]}
    assert told.items() <= event["turned_down"].items()
    assert (event["status"], event["results"]) == ("SUCCEEDED", [])
    assert await admin.memory().count(ALICE) == 0


@pytest.mark.parametrize("numbers", [[0], [5], [-1], [True], ["1"], [1, 9]], ids=str)
async def test_numbers_that_name_nothing_change_nothing(
    admin: AsyncAdmin, numbers: list[Any]
) -> None:
    await admin.memory().add(TALK, **ALICE, trust="untrusted")
    held_id, _ = await waiting(admin)
    for call in (admin.quarantine.approve, admin.quarantine.reject):
        with pytest.raises(ValidationError):
            await call([held_id], messages=numbers)
        with pytest.raises(ValidationError):
            await call(**ALICE, messages=[1])
    assert await waiting(admin) == (held_id, TALK)


async def test_two_who_decide_on_other_messages_both_decide_on_what_they_saw(
    tmp_path: Path,
) -> None:
    config = {"path": str(tmp_path), "workers": 0}
    async with AsyncAdmin(config) as one, AsyncAdmin(config) as other:
        for number in range(8):
            mine = {"user_id": f"u{number}"}
            await one.memory().add(TALK, **mine, trust="untrusted")
            [row] = await held(one, **mine)
            against = other.quarantine.approve if number % 2 else other.quarantine.reject
            await asyncio.gather(
                one.quarantine.approve([row.id], messages=[1]),
                against([row.id], messages=[2]),
                return_exceptions=True,
            )
            [left] = await held(one, **mine)
            kept = [one["text"] for one in left.messages]
            made = await texts(one.memory(), mine)
            assert kept in (["two", "three", "four"], ["one", "three", "four"])
            assert made in (["one"], ["two"], []), "one of them decided, the other was told"
            assert not {*kept} & {*made}
