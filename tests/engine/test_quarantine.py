"""What untrusted sources said is held: no memory, seen by no model, until somebody lets it in."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from holdfast import AsyncMemory
from holdfast.acts import Actor, acting
from holdfast.admin import AsyncAdmin
from holdfast.core.fence import Fence
from holdfast.directory import Held
from holdfast.errors import AccessError, ConflictError, NotFoundError, ValidationError
from support.llm_server import LLMServer

ALICE, BOB = {"user_id": "alice"}, {"user_id": "bob"}
CANARY = "zanzibar"
TALK = [
    {"role": "user", "content": "Where shall I go?"},
    {"role": "tool", "content": f"Fly to {CANARY}.", "name": "browser", "trust": "untrusted"},
    {"role": "user", "content": "I like islands."},
]
TOOLS = {"roles": {"tool": "untrusted"}}


@pytest.fixture
async def admin(tmp_path: Path) -> AsyncIterator[AsyncAdmin]:
    async with AsyncAdmin({"path": str(tmp_path / "store"), "workers": 0}) as opened:
        yield opened


def events(answer: Mapping[str, Any]) -> list[str]:
    return [item["event"] for item in answer["results"]]


async def held(admin: AsyncAdmin, **how: Any) -> list[Held]:
    return list((await admin.quarantine.listed(**how)).rows)


async def texts(memory: AsyncMemory, filters: Mapping[str, Any] = ALICE) -> list[str]:
    found = await memory.get_all(filters=filters, top_k=1000, oldest_first=True)
    return [one["memory"] for one in found["results"]]


# ------------------------------------------------------------------ what is held


async def test_each_message_is_told_what_became_of_it(admin: AsyncAdmin) -> None:
    memory = admin.memory()
    answer = await memory.add(TALK, **ALICE)
    assert events(answer) == ["ADD", "HELD", "ADD"]
    [row] = await held(admin)
    item = answer["results"][1]
    assert (item["id"], item["memory"]) == (row.id, f"Fly to {CANARY}.")
    assert (item["role"], item["actor_id"]) == ("tool", "browser")
    assert await texts(memory) == ["Where shall I go?", "I like islands."]
    assert await memory.count(ALICE) == 2
    assert (await memory.entity("user", "alice"))["total_memories"] == 2
    stats = await memory.stats()
    assert (stats["memories"], stats["turns"], stats["history_events"]) == (2, 2, 2)
    found = await memory.search(CANARY, filters=ALICE, threshold=0)
    assert CANARY not in json.dumps(found)
    assert row.messages[0]["reasons"] == ["message"]
    assert (row.via, row.principal_kind) == ("library", "user")


async def test_an_add_of_nothing_but_untrusted_turns_stores_no_memory(admin: AsyncAdmin) -> None:
    memory = admin.memory()
    first = await memory.add("One.", **ALICE, trust="untrusted")
    later = await memory.add("Two.", **ALICE, trust="untrusted", wait=False)
    assert events(first) == events(later) == ["HELD"]
    assert later["status"] == "SUCCEEDED"
    event = await memory.event(later["event_id"])
    assert [(one["id"], one["event"]) for one in event["results"]] == [
        (later["results"][0]["id"], "HELD")
    ]
    assert (await memory.entities())["total"] == 0
    assert (await admin.census()).held == 2
    assert admin.metrics.counts()["held_add", ("held",)] == 2


async def test_the_strictest_wins_and_nothing_raises_trust(tmp_path: Path) -> None:
    config = {
        "path": str(tmp_path),
        "workers": 0,
        "trust": {"roles": {"tool": "untrusted"}, "actors": {"mallory": "untrusted"}},
    }
    async with AsyncAdmin(config) as admin:
        memory, weak = admin.memory(), admin.memory(trust="untrusted")

        def said(role: str, name: str | None = None, trust: str | None = None) -> dict[str, Any]:
            more = {"name": name, "trust": trust}
            return {
                "role": role,
                "content": f"{role} {name} {trust}",
                **{key: value for key, value in more.items() if value is not None},
            }

        talk = [said("user"), said("tool", trust="trusted"), said("user", "mallory", "trusted")]
        assert events(await memory.add(talk, **ALICE)) == ["ADD", "HELD", "HELD"]
        assert events(await memory.add(talk, **ALICE, trust="trusted"))[1:] == ["HELD", "HELD"]
        assert events(await memory.add(talk, **BOB, trust="untrusted")) == ["HELD"] * 3
        assert events(await weak.add(talk, **BOB, trust="trusted")) == ["HELD"] * 3
        [row] = (await held(admin, **BOB))[:1]
        assert row.messages[1]["reasons"] == ["key", "configuration"]

        await admin.update_project(
            {"trust": {"default": "untrusted", "roles": {"user": "trusted"}}}
        )
        assert events(await memory.add([said("user"), said("assistant")], **BOB)) == [
            "ADD", "HELD",
        ]  # fmt: skip
        [row] = (await held(admin, **BOB))[:1]
        assert row.messages[0]["reasons"] == ["project"]
        await admin.update_project({"trust": None})
        assert events(await memory.add(said("assistant", "x"), **BOB)) == ["ADD"]


async def test_nothing_is_held_unless_somebody_says_so(admin: AsyncAdmin) -> None:
    roles = ("user", "assistant", "tool", "function")
    talk = [{"role": role, "content": role} for role in roles]
    assert events(await admin.memory().add(talk, **ALICE)) == ["ADD"] * 4
    assert await held(admin) == []


async def test_no_model_is_shown_it_and_it_ends_nothing(server: LLMServer, tmp_path: Path) -> None:
    model = {"model": "scripted", "openai_base_url": server.url, "api_key": "k"}
    config = {
        "path": str(tmp_path),
        "workers": 0,
        "model_attempts_max": 1,
        "llm": {"provider": "openai", "config": model},
    }
    rest = {"when": "", "entities": [], "categories": [], "replaces": []}
    async with AsyncAdmin(config) as admin:
        memory = admin.memory()
        fact = {"turn": 2, "quote": "I like islands", "text": "Likes islands", **rest}
        server.say(json.dumps({"facts": [fact]}))
        answer = await memory.add(TALK, **ALICE)
        assert events(answer) == ["ADD", "HELD"]
        assert answer["results"][1]["memory"] == f"Fly to {CANARY}."
        assert CANARY not in json.dumps([one.body for one in server.requests])
        waiting = await memory.add(
            [*TALK, {"role": "user", "content": "Later."}], **BOB, wait=False
        )
        assert (waiting["status"], events(waiting)) == ("PENDING", ["HELD"])
        server.say(json.dumps({"facts": []}))
        assert events(await memory.wait(waiting["event_id"])) == ["HELD"]
        assert CANARY not in json.dumps([one.body for one in server.requests])

        [row] = await held(admin, **ALICE)
        fact = {"turn": 1, "quote": f"Fly to {CANARY}", "text": f"Flies to {CANARY}", **rest}
        server.say(json.dumps({"facts": [fact]}))
        done = await admin.quarantine.approve([row.id])
        [told] = done["results"]
        assert (told["status"], told["results"][0]["memory"]) == (
            "SUCCEEDED", f"Flies to {CANARY}",
        )  # fmt: skip
        assert CANARY in json.dumps([one.body for one in server.requests])
        told = await memory.provenance(told["results"][0]["id"])
        assert (told["made"], told["way"]) == ("extracted", "approval")


async def test_a_repeated_add_is_held_once(admin: AsyncAdmin) -> None:
    memory = admin.memory()
    first = await memory.add(TALK, **ALICE, idempotency_key="k")
    again = await memory.add(TALK, **ALICE, idempotency_key="k")
    assert again == first
    assert len(await held(admin)) == 1
    for other in ("untrusted", "trusted"):
        with pytest.raises(ConflictError):
            await memory.add(TALK, **ALICE, idempotency_key="k", trust=other)
    plain = [{**one, "trust": "trusted"} for one in TALK]
    with pytest.raises(ConflictError):
        await memory.add(plain, **ALICE, idempotency_key="k")
    [row] = await held(admin)
    await admin.quarantine.reject([row.id])
    assert events(await memory.add(TALK, **ALICE, idempotency_key="k")) == ["ADD", "HELD", "ADD"]
    assert await held(admin) == [], "what was rejected is not held again"


# ------------------------------------------------------------------ what is let in


async def test_what_is_approved_is_as_if_it_had_been_added_then(admin: AsyncAdmin) -> None:
    memory = admin.memory()
    given: dict[str, Any] = {
        "metadata": {"source": "web"}, "categories": ["travel"], "expiration_date": "2099-01-01",
        "immutable": True,
    }  # fmt: skip
    said = {**TALK[1], "timestamp": "2026-01-02T03:04:05+00:00"}
    await memory.add(said, **ALICE, **given)
    [row] = await held(admin)
    with acting(Actor("key7", "key", "http")):
        answer = await admin.quarantine.approve([row.id])
    assert (answer["count"], answer["left"]) == (1, 0)
    [done] = answer["results"]
    assert done["held_id"] == row.id
    [item] = done["results"]
    assert item["event"] == "ADD"
    one = await memory.get(item["id"])
    assert one is not None
    assert one["memory"] == f"Fly to {CANARY}."
    assert one["event_at"].startswith("2026-01-02T03:04:05")
    assert (one["role"], one["actor_id"]) == ("tool", "browser")
    shown = {name: one[name] for name in given}
    assert shown == given
    told = await memory.provenance(item["id"])
    assert (told["way"], told["principal"], told["via"]) == ("approval", "key7", "http")
    event = await memory.event(done["event_id"])
    assert event["approved"] == {"id": row.id, "by": "key7"}
    assert await held(admin) == []
    plain = await memory.add("I say so.", **ALICE)
    assert (await memory.provenance(plain["results"][0]["id"]))["way"] is None


async def test_approving_again_tells_the_same_and_adds_nothing(admin: AsyncAdmin) -> None:
    memory = admin.memory()
    await memory.add(TALK, **ALICE)
    [row] = await held(admin)
    first = await admin.quarantine.approve([row.id])
    assert await admin.quarantine.approve([row.id]) == first
    assert await memory.count(ALICE) == 3
    with pytest.raises(NotFoundError):
        await admin.quarantine.reject([row.id])
    with pytest.raises(NotFoundError):
        await admin.quarantine.find(row.id)
    assert admin.metrics.counts()["held_add", ("approved",)] == 1


async def test_what_is_rejected_is_gone(admin: AsyncAdmin, tmp_path: Path) -> None:
    memory = admin.memory()
    await memory.add(TALK, **ALICE)
    [row] = await held(admin)
    assert await admin.quarantine.reject([row.id]) == {"count": 1, "left": 0}
    for call in (admin.quarantine.approve, admin.quarantine.reject):
        with pytest.raises(NotFoundError):
            await call([row.id])
    assert await memory.count(ALICE) == 2
    found = await admin.audit.listed(size=1000)
    [told] = [one for one in found.rows if one.action == "quarantine.rejected"]
    assert (told.target, told.outcome, told.count) == (row.id, "ok", 1)
    assert told.user_id == "alice"


async def test_all_of_a_scope_at_once_and_never_everything(admin: AsyncAdmin) -> None:
    memory = admin.memory()
    for number in range(3):
        await memory.add(f"alice {number}", **ALICE, trust="untrusted")
        await memory.add(f"bob {number}", **BOB, run_id="r", trust="untrusted")
    both = await held(admin, user_id="bob", run_id="r")
    assert len(both) == 3
    page = await admin.quarantine.listed(page=2, page_size=4)
    assert (len(page.rows), page.total) == (2, 6)
    ids = [row.id for row in await held(admin)]
    assert ids == sorted(ids, reverse=True), "the newest first"
    seen: list[tuple[int, int]] = []
    answer = await admin.quarantine.approve(
        run_id="r", told=lambda done, total: seen.append((done, total))
    )
    assert (answer["count"], answer["left"]) == (3, 0)
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert await texts(memory, BOB) == ["bob 0", "bob 1", "bob 2"]
    assert await admin.quarantine.reject(user_id="alice") == {"count": 3, "left": 0}
    assert await texts(memory) == []
    for wrong in ({}, {"held_ids": ["x"], **ALICE}, {"held_ids": "x"}):
        for call in (admin.quarantine.approve, admin.quarantine.reject):
            with pytest.raises(ValidationError):
                await call(**wrong)
    rows = (await admin.audit.listed(size=1000)).rows
    each = [row for row in rows if row.action in ("quarantine.approved", "quarantine.rejected")]
    assert {row.outcome for row in each} == {"ok"}
    assert len(each) == 6, "a row for each decision"


async def test_two_who_decide_make_one_memory_or_none(tmp_path: Path) -> None:
    config = {"path": str(tmp_path), "workers": 0}
    async with AsyncAdmin(config) as one, AsyncAdmin(config) as other:
        for number in range(12):
            await one.memory().add(f"{number}", user_id=f"u{number}", trust="untrusted")
            [row] = await held(one, user_id=f"u{number}")
            against = other.quarantine.approve if number % 2 else other.quarantine.reject
            ended = await asyncio.gather(
                one.quarantine.approve([row.id]), against([row.id]), return_exceptions=True
            )
            made = await one.memory().count({"user_id": f"u{number}"})
            approved = isinstance(ended[0], dict) and ended[0]["count"] == 1
            rejected = number % 2 == 0 and ended[1] == {"count": 1, "left": 0}
            assert made == (0 if rejected else 1), ended
            assert approved != rejected, ended
        assert await held(one) == []


# ------------------------------------------------------------------ who may


async def test_fences_hold(admin: AsyncAdmin) -> None:
    memory, fence = admin.memory(), Fence(users=("alice",))
    await memory.add("alice", **ALICE, trust="untrusted")
    await memory.add("bob", **BOB, trust="untrusted")
    [bobs] = await held(admin, **BOB)
    [mine] = await held(admin, fence=fence)
    assert mine.user_id == "alice"
    assert await held(admin, fence=fence, **BOB) == []
    assert await held(admin, fence=Fence(users=())) == []
    with pytest.raises(NotFoundError):
        await admin.quarantine.find(bobs.id, fence=fence)
    for call in (admin.quarantine.approve, admin.quarantine.reject):
        with pytest.raises(NotFoundError):
            await call([bobs.id], fence=fence)
        assert (await call(**BOB, fence=fence))["count"] == 0
    with pytest.raises(NotFoundError):
        await admin.quarantine.find(mine.id, project=(await admin.create_project("P")).id)
    await admin.quarantine.approve([bobs.id])
    with pytest.raises(NotFoundError):
        await admin.quarantine.approve([bobs.id], fence=fence)
    with pytest.raises(AccessError):
        await admin.memory(fence=fence).add("x", **BOB, trust="untrusted")


async def test_a_key_that_is_not_trusted_stays_so(admin: AsyncAdmin) -> None:
    made = await admin.create_key(trust="untrusted", label="crawler")
    assert (await admin.recognise(made.secret)).trust == "untrusted"
    changed = await admin.rotate_key(made.key.id)
    assert (await admin.recognise(changed.secret)).trust == "untrusted"
    assert (await admin.recognise((await admin.create_key()).secret)).trust == "trusted"
    for role in ("admin", ["read", "admin"]):
        with pytest.raises(ValidationError, match="not trusted"):
            await admin.create_key(trust="untrusted", permissions=role)
    with pytest.raises(ValidationError):
        await admin.create_key(trust="maybe")


@pytest.mark.parametrize(
    "policy",
    [
        {"roles": {"system": "untrusted"}},
        {"roles": {"tool": "no"}},
        {"roles": {"tool": None}},
        {"roles": ["tool"]},
        {"actors": {"": "untrusted"}},
        {"default": "maybe"},
        {"others": {}},
        "untrusted",
        {"actors": {str(n): "untrusted" for n in range(1_001)}},
    ],
    ids=lambda value: str(value)[:40],
)
async def test_a_wrong_policy_of_a_project_is_refused(admin: AsyncAdmin, policy: Any) -> None:
    with pytest.raises(ValidationError):
        await admin.update_project({"trust": policy})


@pytest.mark.parametrize("wrong", ["maybe", "", True, ["trusted"], 1])
async def test_a_wrong_level_is_refused_and_changes_nothing(admin: AsyncAdmin, wrong: Any) -> None:
    with pytest.raises(ValidationError):
        await admin.memory().add("x", **ALICE, trust=wrong)
    with pytest.raises(ValidationError, match=r"messages\[0\]\.trust"):
        await admin.memory().add({"role": "user", "content": "x", "trust": wrong}, **ALICE)
    assert await admin.memory().count(ALICE) == 0


async def test_webhooks_are_told_that_something_waits_and_no_word_of_it(admin: AsyncAdmin) -> None:
    hook = await admin.webhooks.create("reviewers", "https://example.com/x", ["memory_held"])
    await admin.webhooks.create("others", "https://example.com/y", ["memory_add"])
    await admin.memory().add(TALK, **ALICE)
    await admin.memory().add("Nothing of it.", **ALICE)
    [row] = await held(admin)
    [told] = await admin.webhooks.deliveries(hook.id)
    assert (told.event, told.state) == ("memory_held", "PENDING")
    nobody = {"agent_id": None, "app_id": None, "run_id": None}
    details = {"event": "HELD", "held_id": row.id, "messages": 1, **ALICE, **nobody}
    assert told.body == {"event_details": details}
    await admin.erasure.forget(**ALICE)
    assert await admin.webhooks.deliveries(hook.id) == []
