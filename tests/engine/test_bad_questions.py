"""Bad input to asking calls, odd times and numbers, and whatever else: refused or right."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast import AsyncMemory, Memory, limits
from holdfast.errors import (
    ConflictError,
    FilterError,
    HoldfastError,
    UnsupportedError,
    ValidationError,
)
from holdfast.testing.hostile import REFUSED, STORABLE
from support.refusals import ALICE, GOOD_IDS, INFINITY, KEY, NAN, SECRET, Refusals, first_id, said

FAR_WEST, FAR_EAST = timezone(-timedelta(hours=14)), timezone(timedelta(hours=14))


def nested(levels: int, tree: Any) -> Any:
    for _ in range(levels):
        tree = {"AND": [tree]}
    return tree


def self_containing(breadth: int) -> dict[str, Any]:
    tree: dict[str, Any] = {"user_id": "alice"}
    tree["OR"] = [tree] * breadth
    return tree


BAD_FILTERS: list[tuple[str, Any]] = [
    ("none", None),
    ("empty", {}),
    ("list", [ALICE]),
    ("text", f"user_id={SECRET}"),
    ("no-entity", {"category": SECRET}),
    ("only-not", {"NOT": [ALICE]}),
    ("or-without", {"OR": [ALICE, {"a": SECRET}]}),
    ("not-equal", {"user_id": {"ne": SECRET}}),
    ("null-entity", {"user_id": None}),
    ("unknown-operator", ALICE | {"a": {"regex": SECRET}}),
    ("mongo-operator", ALICE | {"a": {"$where": SECRET}}),
    ("entity-operator", {"user_id": {"gt": SECRET}}),
    ("number-operator", ALICE | {"a": {5: SECRET}}),
    ("no-operator", ALICE | {"a": {}}),
    ("empty-and", ALICE | {"AND": []}),
    ("and-number", ALICE | {"AND": 5}),
    ("and-text", ALICE | {"AND": [SECRET]}),
    ("or-mapping", ALICE | {"OR": {"a": SECRET}}),
    ("lower-case", {"and": [ALICE]}),
    ("number-key", ALICE | {5: SECRET}),
    ("deep", nested(limits.FILTER_DEPTH_MAX + 1, ALICE)),
    ("very-deep", nested(100_000, ALICE)),
    ("cycle", self_containing(1)),
    ("wide-cycle", self_containing(40)),
    ("wide", {"AND": [ALICE] * (limits.FILTER_NODES_MAX + 1)}),
    ("long-list", ALICE | {"a": {"in": list(range(limits.FILTER_LIST_MAX + 1))}}),
    ("in-text", ALICE | {"a": {"in": SECRET}}),
    ("nan", ALICE | {"a": NAN}),
    ("nan-compared", ALICE | {"a": {"gt": NAN}}),
    ("endless-number", ALICE | {"a": 10**400}),
    ("bytes", ALICE | {"a": SECRET.encode()}),
    ("object", ALICE | {"a": object()}),
    ("no-date", ALICE | {"created_at": {"gt": f"soon {SECRET}"}}),
    ("nan-date", ALICE | {"created_at": {"gt": NAN}}),
    ("milliseconds", ALICE | {"event_at": {"gt": 1_700_000_000_000}}),
    ("long-key", ALICE | {SECRET + "x" * 40_000: 1}),
    ("long-value", ALICE | {"a": SECRET + "x" * 40_000}),
    *((f"refused-{n}", ALICE | {"a": SECRET + text}) for n, text in enumerate(REFUSED)),
    *((f"key-{n}", ALICE | {SECRET + text: 1}) for n, text in enumerate(REFUSED)),
]


class TestFilters:
    @pytest.mark.parametrize(
        "filters", [pytest.param(filters, id=name) for name, filters in BAD_FILTERS]
    )
    def test_that_cannot_be_understood(self, filters: Any, refused: Refusals) -> None:
        refused(FilterError, "search", "tea", filters=filters)
        refused(FilterError, "get_all", filters=filters)
        refused(FilterError, "count", filters)


NO_TIMES = [
    "", f"someday {SECRET}", "2026-02-30", "2026-13-01", "25:00", NAN, INFINITY, 1e300, 10**400,
    -62_135_596_801, 253_402_300_800, True, [], {}, b"2026-01-01",
    "9999-12-31T23:59:59-14:00", datetime(9999, 12, 31, 23, tzinfo=FAR_WEST),
    datetime(1, 1, 1, tzinfo=FAR_EAST),
]  # fmt: skip


class TestTimes:
    @pytest.mark.parametrize("when", NO_TIMES, ids=lambda when: ascii(when)[:30])
    def test_that_are_none(self, when: Any, shared: Memory, refused: Refusals) -> None:
        refused(ValidationError, "add", "fine", timestamp=when, **ALICE)
        refused(ValidationError, "add", said(content="x", timestamp=when), **ALICE)
        refused(ValidationError, "add", "fine", expiration_date=when, **ALICE)
        refused(ValidationError, "search", "tea", filters=ALICE, reference_date=when)
        refused(ValidationError, "search", "tea", filters=ALICE, as_of=when)
        refused(ValidationError, "get_all", filters=ALICE, as_of=when)
        refused(ValidationError, "update", first_id(shared), timestamp=when)
        refused(ValidationError, "update", first_id(shared), expiration_date=when)

    @pytest.mark.parametrize(
        "when", ["0001-01-01", "9999-12-31T23:59:59", date.max, date.min, 0, -1.5], ids=str
    )
    def test_as_far_as_calendars_go(self, when: Any, shared: Memory) -> None:
        told = shared.add("The end of time.", user_id="calendar", timestamp=when)
        assert shared.get(told["results"][0]["id"]) is not None
        for query in ("last week", "what happens next year?", "2 days ago", "on 12 July"):
            shared.search(query, filters={"user_id": "calendar"}, reference_date=when)
            shared.search(query, filters={"user_id": "calendar"}, as_of=when)
        shared.delete_all(user_id="calendar")


NO_COUNTS = [0, -1, 1_001, 10**30, True, 1.5, NAN, "5", None, [5]]


class TestNumbersAndFlags:
    @pytest.mark.parametrize("count", NO_COUNTS, ids=str)
    def test_counts(self, count: Any, refused: Refusals) -> None:
        refused(ValidationError, "search", "tea", filters=ALICE, top_k=count)
        refused(ValidationError, "get_all", filters=ALICE, top_k=count)
        refused(ValidationError, "entities", page_size=count)
        refused(ValidationError, "events", page_size=count)
        if count is not None:  # "not given"
            refused(ValidationError, "search", "tea", filters=ALICE, limit=count)
            refused(ValidationError, "get_all", filters=ALICE, limit=count)
        if count != 1_001:
            refused(ValidationError, "entities", page=count)
            refused(ValidationError, "events", page=count)

    @pytest.mark.parametrize("least", [NAN, INFINITY, -0.1, 1.1, -(10**400), True, "0.5", []])
    def test_thresholds(self, least: Any, refused: Refusals) -> None:
        refused(ValidationError, "search", "tea", filters=ALICE, threshold=least)

    @pytest.mark.parametrize("seconds", [NAN, INFINITY, -1, 10**400, True, "5", []], ids=ascii)
    def test_times_to_wait(self, seconds: Any, shared: Memory, refused: Refusals) -> None:
        event = shared.events()["results"][0]["id"]
        refused(ValidationError, "wait", event, timeout_s=seconds)
        assert shared.wait(event, timeout_s=0)["status"] == "SUCCEEDED"

    @pytest.mark.parametrize("flag", [None, 0, 1, "yes", NAN, []], ids=ascii)
    def test_flags(self, flag: Any, refused: Refusals) -> None:
        refused(ValidationError, "add", "fine", infer=flag, **ALICE)
        refused(ValidationError, "add", "fine", wait=flag, **ALICE)
        for name in ("rerank", "explain", "show_expired", "show_superseded"):
            refused(ValidationError, "search", "tea", filters=ALICE, **{name: flag})
        refused(ValidationError, "get_all", filters=ALICE, show_expired=flag)


class TestTheRest:
    @pytest.mark.parametrize(
        "cursor",
        ["", " ", SECRET, "AAAA", "x" * 100_000, "bjE6LTE", "bjE6bmFu", "bjE6" + "OTk5" * 9, "é",
         "a\x00", "\ud800", 5, b"bjE6MQ", []],
        ids=lambda cursor: ascii(cursor)[:20],
    )  # fmt: skip
    def test_cursors_made_up(self, cursor: Any, refused: Refusals) -> None:
        refused(ValidationError, "get_all", filters=ALICE, cursor=cursor)

    def test_a_known_key_with_another_content(self, shared: Memory, refused: Refusals) -> None:
        refused(ConflictError, "add", SECRET, idempotency_key=KEY, **ALICE)
        refused(ConflictError, "add", "I like tea.", idempotency_key=KEY, user_id="bob")
        refused(ConflictError, "add", "I like tea.", idempotency_key=f" {KEY} ", **ALICE)
        before = shared.count(ALICE)
        again = shared.add("I like tea.", idempotency_key=KEY, metadata={"n": 1}, **ALICE)
        assert again["results"][0]["memory"] == "I like tea."
        assert shared.count(ALICE) == before

    @pytest.mark.parametrize("key", GOOD_IDS, ids=ascii)
    def test_keys_of_any_other_text_work(self, key: str, shared: Memory) -> None:
        first = shared.add("Once.", user_id="keys", idempotency_key=key)
        assert shared.add("Once.", user_id="keys", idempotency_key=key) == first
        assert shared.delete_all(user_id="keys")["count"] == 1

    def test_names_of_states_and_kinds(self, refused: Refusals) -> None:
        for state in ("DONE", "", 5, ["FAILED"], {SECRET: 1}):
            refused(ValidationError, "events", status=state)
        for kind in ("semantic", "", 5, ["procedural_memory"]):
            refused(ValidationError, "add", "fine", memory_type=kind, **ALICE)
        refused(ValidationError, "add", "fine", memory_type="procedural_memory", **ALICE)
        refused(UnsupportedError, "add", "fine", memory_type="procedural_memory", agent_id="a")
        refused(UnsupportedError, "chat", SECRET)

    def test_an_update_of_nothing(self, shared: Memory, refused: Refusals) -> None:
        refused(ValidationError, "update", first_id(shared))

    def test_a_job_that_did_not_fail_does_not_run_again(
        self, shared: Memory, refused: Refusals
    ) -> None:
        refused(ValidationError, "rerun", shared.events()["results"][0]["id"])


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.binary(max_size=9)
    | st.text(max_size=9) | st.characters(categories=["Cs"]) | st.sampled_from(STORABLE[:40]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.text(max_size=5)
        | st.sampled_from(
            ["role", "content", "type", "text", "name", "timestamp", "user_id", "AND", "OR", "NOT",
             "in", "gt", "metadata", "created_at", "categories", "*"]
        )
        | st.integers(),
        inner,
        max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


def refusal(call: Callable[..., Any], **named: Any) -> HoldfastError | None:
    """What a call was refused with, if it was."""
    try:
        call(**named)
    except HoldfastError as error:
        return error
    return None


@given(value=ANYTHING, name=st.sampled_from(["messages", "metadata", "timestamp", "categories",
       "user_id", "idempotency_key", "expiration_date", "prompt", "memory_type"]))  # fmt: skip
@settings(max_examples=300)
@pytest.mark.filterwarnings("ignore:Identity keys:UserWarning")
def test_whatever_is_added_is_kept_or_refused(value: Any, name: str, shared: Memory) -> None:
    before = (shared.count(ALICE), shared.stats()["memories"])
    call: dict[str, Any] = {
        "messages": "fine",
        "user_id": "anything",
        "run_id": "fuzz",
        name: value,
    }
    error = refusal(shared.add, **call)
    kept = shared.delete_all(run_id="fuzz")["count"]
    assert (error is None) == (kept > 0)
    assert error is None or error.hint
    assert (shared.count(ALICE), shared.stats()["memories"]) == before


@given(value=ANYTHING, name=st.sampled_from(["query", "filters", "inner", "top_k", "threshold",
       "as_of", "reference_date", "cursor"]))  # fmt: skip
@settings(max_examples=300)
def test_whatever_is_asked_is_answered_or_refused(value: Any, name: str, shared: Memory) -> None:
    call: dict[str, Any] = {"query": "tea", "filters": ALICE, name: value}
    if name == "inner":
        call = {"query": "tea", "filters": {"user_id": "alice", "x": call.pop("inner")}}
    if name == "cursor":
        del call["query"]
    error = refusal(shared.get_all if name == "cursor" else shared.search, **call)
    assert error is None or error.hint


async def test_waiting_for_a_job_that_cannot_run_ends(tmp_path: Path) -> None:
    """A number that is none must not become a wait without an end."""
    nowhere = {"model": "m", "openai_base_url": "http://127.0.0.1:9/v1", "api_key": "k"}
    config = {
        "path": str(tmp_path), "workers": 0, "model_timeout_s": 0.5, "model_attempts_max": 1,
        "llm": {"provider": "openai", "config": nowhere},
    }  # fmt: skip
    async with AsyncMemory(config) as memory:
        event = (await memory.add("fine", user_id="alice", wait=False))["event_id"]
        with pytest.raises(ValidationError):
            await asyncio.wait_for(memory.wait(event, timeout_s=NAN), 10)
        assert (await memory.wait(event, timeout_s=0.1))["status"] == "PENDING"
