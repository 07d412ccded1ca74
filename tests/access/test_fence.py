"""What lies outside a fence is as if it did not exist: verb by verb, hint by hint."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast import AsyncMemory
from holdfast.admin import AsyncAdmin
from holdfast.core.cursor import decode_cursor, encode_cursor
from holdfast.core.extract import ExtractedFact, Extraction
from holdfast.core.fence import (
    OPEN,
    Fence,
    check_inside,
    covers_inside,
    fenced,
    inside,
    own_key,
)
from holdfast.core.reconcile import plan
from holdfast.errors import AccessError, HoldfastError, NotFoundError, ValidationError
from holdfast.filters import Everything, entity_choices, parse_filter
from holdfast.model import Entity, Job, Project, Scope
from holdfast.ports import Listing, PutJob, View

ANN = Fence(users=("ann",))
NOBODY = Fence(users=())
FENCES = [ANN, Fence(users=("ann", "eve")), Fence(users=("ann",), agents=("bot",)), NOBODY]
UNKNOWN = "0190a000-0000-7000-8000-000000000000"


async def say(memory: AsyncMemory, text: str, **more: Any) -> str:
    """The id of what was said."""
    return str((await memory.add(text, **more))["results"][0]["id"])


async def refusal(call: Any) -> tuple[type[HoldfastError], str]:
    """How a call was refused, ids left out."""
    with pytest.raises(HoldfastError) as caught:
        await call
    return type(caught.value), str(caught.value)


@pytest.fixture
async def all_of_it(admin: AsyncAdmin) -> AsyncMemory:
    """The whole project."""
    return admin.memory()


@pytest.fixture
async def ann(admin: AsyncAdmin) -> AsyncMemory:
    """What Ann's key sees of it."""
    return admin.memory(fence=ANN)


# ------------------------------------------------------------------------------- pure


def test_inside_means_inside_for_every_kind() -> None:
    both = Fence(users=("ann",), agents=("bot",))
    assert inside(OPEN, Scope())
    assert inside(both, Scope(user_id="ann", agent_id="bot", run_id="any"))
    for scope in (Scope(user_id="ann"), Scope(agent_id="bot"), Scope(user_id="b", agent_id="bot")):
        assert not inside(both, scope)
        with pytest.raises(AccessError):
            check_inside(both, scope)
    assert not inside(NOBODY, Scope(user_id="ann"))
    assert not inside(ANN, Scope())


def test_a_fenced_filter_is_narrower_whatever_was_asked() -> None:
    for written in ({"user_id": "bob"}, {"OR": [{"user_id": "bob"}, {"user_id": "*"}]}):
        tree = fenced(ANN, parse_filter(written, require_entity=True))
        covers = covers_inside(ANN, entity_choices(tree))
        assert covers
        assert {entity for cover in covers for entity in cover} <= {Entity("user", "ann")}


def test_a_search_for_another_kind_looks_at_the_fences_entities_only() -> None:
    tree = fenced(ANN, parse_filter({"agent_id": "bot"}, require_entity=True))
    assert covers_inside(OPEN, entity_choices(tree)) == entity_choices(tree)
    assert covers_inside(ANN, entity_choices(tree)) == [(Entity("user", "ann"),)]
    many = Fence(users=tuple(f"u{n}" for n in range(20)))
    assert covers_inside(many, [(Entity("agent", "bot"),)]) == entity_choices(many.filter())
    assert covers_inside(NOBODY, entity_choices(fenced(NOBODY, tree))) == [()]


def test_idempotency_keys_of_different_fences_never_meet() -> None:
    keys = [own_key(fence, "k") for fence in (OPEN, *FENCES)]
    assert len(set(keys)) == len(keys)
    assert own_key(ANN, own_key(NOBODY, "k")) != own_key(NOBODY, "k")
    assert own_key(ANN, "k") == own_key(Fence(users=("ann",)), "k")


def test_a_cursor_tells_nothing_and_is_good_in_its_project_only() -> None:
    red, key = Project("red"), b"key"
    cursors = [encode_cursor(number, red, key) for number in range(200)]
    assert [decode_cursor(each, red, key) for each in cursors] == list(range(200))
    assert sorted(cursors) != cursors
    assert len({each[:4] for each in cursors}) > 190, "near numbers give cursors that look alike"
    for project, other in ((Project("blue"), key), (red, b"other")):
        with pytest.raises(ValidationError, match="not one a listing gave out"):
            decode_cursor(cursors[7], project, other)


# ---------------------------------------------------------------------------- reading


@pytest.mark.parametrize("fence", FENCES)
async def test_nothing_outside_is_found_listed_or_counted(fence: Fence, admin: AsyncAdmin) -> None:
    whole, view = admin.memory(), admin.memory(fence=fence)
    await say(whole, "Bob likes tea", user_id="bob", agent_id="bot", metadata={"n": 1})
    await say(whole, "The bot likes tea", agent_id="bot")
    await say(whole, "Eva likes tea", user_id="eva")
    wanted = [{"user_id": "bob"}, {"agent_id": "bot"}, {"user_id": "*"}, {"agent_id": "*"}]
    wanted += [{"OR": [{"user_id": "ann"}, {"agent_id": "bot"}]}]
    wanted += [{"AND": [{"agent_id": "bot"}, {"NOT": [{"user_id": "ann"}]}]}]
    for filters in wanted:
        assert (await whole.get_all(filters=filters))["total"]
        assert await view.get_all(filters=filters) == {"results": [], "total": 0, "cursor": None}
        assert await view.count(filters) == 0
        found = await view.search("tea", filters=filters, threshold=0.0, explain=True)
        assert found == {"results": []}
    listed = await view.entities()
    assert (listed["results"], listed["total"], set(listed["totals"].values())) == ([], 0, {0})
    assert (await view.events())["results"] == []


async def test_what_is_inside_is_all_there(all_of_it: AsyncMemory, ann: AsyncMemory) -> None:
    one = await say(ann, "Ann likes tea", user_id="ann", agent_id="bot")
    await say(all_of_it, "Bob likes tea", user_id="bob", agent_id="bot")
    bot = {"agent_id": "bot"}
    assert [each["id"] for each in (await ann.get_all(filters=bot))["results"]] == [one]
    assert [each["id"] for each in (await ann.search("tea", filters=bot))["results"]] == [one]
    listed = await ann.entities()
    assert [(each["name"], each["total_memories"]) for each in listed["results"]] == [("ann", 1)]
    assert len(await ann.history(one)) == 1


@pytest.mark.parametrize("fence", [ANN, Fence(users=("ann",), agents=("bot",))])
async def test_a_score_does_not_tell_of_others(fence: Fence, admin: AsyncAdmin) -> None:
    """Word frequencies, sizes and neighbours are those of what is inside."""
    whole, view = admin.memory(), admin.memory(fence=fence)
    for text in ("Ann drinks tea", "Ann has a cat", "Ann went to Rome in May"):
        await say(whole, text, user_id="ann", agent_id="bot")

    async def scores() -> list[Any]:
        answers = []
        for filters in ({"user_id": "ann"}, {"agent_id": "bot"}, {"user_id": "*"}):
            found = await view.search("tea", filters=filters, threshold=0.0, explain=True)
            answers.append(
                [(h["memory"], h["score"], h["score_details"]) for h in found["results"]]
            )
        return answers

    alone = await scores()
    assert all(alone)
    for number in range(30):
        await say(whole, f"tea and a cat, {number}", user_id="bob", agent_id="bot")
        if not fence.agents:
            continue
        await say(whole, f"tea in Rome, {number}", user_id="ann", agent_id="other")
    assert await scores() == alone


async def test_what_is_outside_is_as_unknown_as_what_never_was(
    all_of_it: AsyncMemory, ann: AsyncMemory
) -> None:
    theirs = await say(all_of_it, "Bob's own", user_id="bob", idempotency_key="k")
    event = (await all_of_it.events())["results"][0]["id"]
    gone = await say(all_of_it, "Bob's deleted one", user_id="bob")
    await all_of_it.delete(gone)
    for id_ in (theirs, gone, UNKNOWN):
        assert await ann.get(id_) is None
        assert await ann.history(id_) == []
        calls = (ann.update(id_, "x"), ann.delete(id_), ann.update(id_, metadata={"a": 1}))
        for call in (*calls, ann.provenance(id_)):
            kind, text = await refusal(call)
            assert (kind, text.replace(id_, "ID")) == (
                NotFoundError,
                "Memory with id ID not found. `get_all` and `search` tell ids.",
            )
    told = set()
    for id_ in (event, UNKNOWN):
        for ask in (ann.event, ann.wait, ann.rerun):
            kind, text = await refusal(ask(id_))
            told.add((kind, text.replace(id_, "ID")))
    assert len(told) == 1
    assert (await all_of_it.get(theirs) or {})["memory"] == "Bob's own"
    assert len(await all_of_it.history(gone)) == 2


async def test_the_projects_counts_and_its_end_are_not_for_a_part_of_it(ann: AsyncMemory) -> None:
    for call in (ann.stats(), ann.reset()):
        assert (await refusal(call))[0] is AccessError


async def test_bytes_of_all_projects_are_told_in_no_view(admin: AsyncAdmin) -> None:
    assert "bytes" not in await admin.memory("other").stats()
    assert "bytes" not in await admin.memory().stats()


async def test_a_cursor_of_another_view_is_no_way_out(
    admin: AsyncAdmin, all_of_it: AsyncMemory, ann: AsyncMemory
) -> None:
    for number in range(6):
        await say(all_of_it, f"note {number}", user_id="ann" if number % 2 else "bob")
    page = await all_of_it.get_all(filters={"user_id": "*"}, top_k=2)
    rest = await ann.get_all(filters={"user_id": "*"}, top_k=9, cursor=page["cursor"])
    assert [each["memory"] for each in rest["results"]] == ["note 3", "note 1"]
    assert rest["total"] == 3
    other = admin.memory("other")
    with pytest.raises(ValidationError, match="not one a listing gave out"):
        await other.get_all(filters={"user_id": "*"}, cursor=page["cursor"])


# ---------------------------------------------------------------------------- writing


@pytest.mark.parametrize("fence", FENCES)
async def test_nothing_outside_can_be_written(fence: Fence, admin: AsyncAdmin) -> None:
    view = admin.memory(fence=fence)
    for who in ({"user_id": "bob"}, {"agent_id": "bot"}, {"user_id": "bob", "agent_id": "bot"}):
        for more in ({}, {"infer": False}, {"wait": False}, {"idempotency_key": "k"}):
            kind, text = await refusal(view.add("x", **who, **more))  # type: ignore[arg-type]
            assert kind is AccessError
            assert "bob" not in text
    assert (await admin.memory().stats())["turns"] == 0


async def test_metadata_gives_no_identity(ann: AsyncMemory, all_of_it: AsyncMemory) -> None:
    with pytest.warns(UserWarning, match="Identity keys"):
        await ann.add("mine", user_id="ann", metadata={"user_id": "bob", "n": 1})
    [kept] = (await all_of_it.get_all(filters={"user_id": "ann"}))["results"]
    assert kept["metadata"] == {"n": 1}
    assert await all_of_it.count({"user_id": "bob"}) == 0


async def test_delete_all_deletes_what_is_inside_only(
    all_of_it: AsyncMemory, ann: AsyncMemory
) -> None:
    await say(all_of_it, "Ann with bot", user_id="ann", agent_id="bot")
    theirs = await say(all_of_it, "Bob with bot", user_id="bob", agent_id="bot")
    gone = await say(all_of_it, "Bob's deleted one", user_id="bob", agent_id="bot")
    await all_of_it.delete(gone)
    assert (await ann.delete_all(user_id="bob"))["count"] == 0
    assert (await ann.delete_all(agent_id="bot"))["count"] == 1
    assert (await all_of_it.get(theirs) or {})["memory"] == "Bob with bot"
    texts = [event["old_memory"] for event in await all_of_it.history(gone)]
    assert texts == [None, "Bob's deleted one"], "the history of others was blanked"


async def test_idempotency_keys_of_others_are_not_met(
    all_of_it: AsyncMemory, ann: AsyncMemory
) -> None:
    theirs = await all_of_it.add("Bob's own", user_id="bob", idempotency_key="k")
    mine = await ann.add("Ann's own", user_id="ann", idempotency_key="k")
    assert mine["event_id"] != theirs["event_id"]
    again = await ann.add("Ann's own", user_id="ann", idempotency_key="k")
    assert again["results"] == mine["results"]
    assert [each["id"] for each in (await ann.events())["results"]] == [mine["event_id"]]


async def test_events_are_counted_inside_the_fence(
    all_of_it: AsyncMemory, ann: AsyncMemory
) -> None:
    for number in range(8):
        who = "ann" if number % 2 else "bob"
        await all_of_it.add(f"note {number}", user_id=who, idempotency_key=f"k{number}")
    pages = [(await ann.events(page=n, page_size=3))["results"] for n in (1, 2, 3)]
    told = [[each["results"][0]["memory"] for each in page] for page in pages]
    assert told == [["note 7", "note 5", "note 3"], ["note 1"], []]


async def test_a_failed_job_of_others_cannot_be_seen_or_run_again(
    all_of_it: AsyncMemory, ann: AsyncMemory
) -> None:
    parts = await all_of_it._ready()
    for who in ("ann", "bob"):
        scope = [who, None, None, None]
        job = Job(
            id=f"job of {who}", project=parts.project, kind="embed", state="FAILED", scope_key=who,
            payload={"scope": scope, "memories": []}, error=f"{who}'s", created_at=0.0,
        )  # fmt: skip
        await parts.records.commit(parts.project, [PutJob(job=job)])
    assert [each["error"] for each in (await ann.events(status="FAILED"))["results"]] == ["ann's"]
    for call in (ann.event, ann.wait, ann.rerun):
        assert (await refusal(call("job of bob")))[0] is NotFoundError
    assert (await all_of_it.event("job of bob"))["status"] == "FAILED"
    assert (await ann.rerun("job of ann"))["status"] == "PENDING"


async def test_a_job_ends_memories_of_its_own_scope_only(all_of_it: AsyncMemory) -> None:
    """So that `superseded_by`, and the new text in an ended memory's history, are of inside too."""
    for who in ({"user_id": "ann", "agent_id": "bot"}, {"user_id": "ann"}, {"user_id": "bob"}):
        await say(all_of_it, f"lives in Rome: {sorted(who)}", **who)
    scope = Scope(user_id="ann")
    parts = await all_of_it._ready()
    everything = Listing(filter=Everything(), view=View(now=parts.clock.now()), size=9)
    nearby = (await parts.records.page(parts.project, everything)).memories
    fact = ExtractedFact(
        turn=0, turn_id="t", role="user", actor_id=None, quote="", text="lives in Oslo",
        event_at=4e9, said_at=4e9, replaces=tuple(memory.id for memory in nearby),
    )  # fmt: skip
    [decision] = plan(Extraction(facts=(fact,)), nearby, scope=scope)
    assert decision.supersedes == tuple(m.id for m in nearby if m.scope == scope)
    assert len(decision.supersedes) == 1


# ------------------------------------------------------------------------------ faults


@pytest.mark.parametrize(
    "name",
    [
        "holdfast.engine.search.fenced",
        "holdfast.engine.read.fenced",
        "holdfast.engine.delete.fenced",
    ],
)
async def test_a_dropped_fence_is_seen(
    name: str, admin: AsyncAdmin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(name, lambda fence, wanted: wanted)
    monkeypatch.setattr("holdfast.engine.search.covers_inside", lambda fence, covers: covers)
    whole, view = admin.memory(), admin.memory(fence=ANN)
    theirs = await say(whole, "Bob likes tea", user_id="bob")
    bob = {"user_id": "bob"}
    if "search" in name:
        # the index has a fence of its own, which this fault does not touch
        assert (await view.search("tea", filters=bob, threshold=0.0))["results"] == []
        monkeypatch.setattr(
            "holdfast.backends.index.working_set.inside", lambda warm, fence, entity: warm
        )
        # another question: the answer to that one is remembered
        assert (await view.search("any tea", filters=bob, threshold=0.0))["results"]
    elif "read" in name:
        assert await view.count(bob) == 1
    else:
        with pytest.raises(
            NotFoundError
        ):  # it is looked for first, and that has a fence of its own
            await view.delete(theirs)
        monkeypatch.setattr("holdfast.engine.read.inside", lambda fence, scope: True)
        await view.delete(theirs)
        assert await whole.get(theirs) is None
