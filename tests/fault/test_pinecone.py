"""Pinecone around the contract: what fails, what is refused, and what a call costs."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from holdfast.backends.pinecone.documents import (
    SPARSE_MAX,
    batches,
    document_id,
    folded,
    index_name,
    namespace,
    sparse,
)
from holdfast.backends.pinecone.vectors import PineconeVectors, build
from holdfast.config import Part
from holdfast.errors import (
    ConfigError,
    HoldfastError,
    IndexUnavailableError,
    MissingExtraError,
    SpaceMismatchError,
)
from holdfast.model import Project, Space
from holdfast.testing.contracts.values import ALICE, RED, SPACE
from holdfast.testing.contracts.vectors import EAST, having, near, point
from support.pinecone_wire import KEY, PineconeWire
from support.wire_server import Answer


@pytest.fixture
def wire() -> Iterator[PineconeWire]:
    with PineconeWire() as made:
        yield made


def pinecone(wire: PineconeWire, name: str = "first", **config: Any) -> PineconeVectors:
    settings = {"api_key": KEY, "url": wire.url, **config}
    return build(Part(provider="pinecone", config=settings), name)


PATIENCE_S = 2.0
"""Of an index whose server is slow: long enough for busy machines, where all else is quick."""
FAILURES: dict[str, tuple[Answer, type[HoldfastError], float | None]] = {
    "key refused": (Answer({"error": {"message": f"bad {KEY}"}}, 401), ConfigError, None),
    "no rights": (Answer({}, 403), ConfigError, None),
    "not paid": (Answer({}, 402), ConfigError, None),
    "bad request": (Answer({}, 400), ConfigError, None),
    "too large": (Answer({}, 413), ConfigError, None),
    "too many": (Answer({}, 429, {"retry-after": "7"}), IndexUnavailableError, 7.0),
    "too many, untold": (Answer({}, 429, {"retry-after": "soon"}), IndexUnavailableError, None),
    "in need of a pause": (Answer({}, 503, {"retry-after": "3"}), IndexUnavailableError, 3.0),
    "broken": (Answer(b"<html>", 500), IndexUnavailableError, None),
    "index gone": (
        Answer({"error": {"code": "NOT_FOUND", "message": "Index not found"}}, 404),
        IndexUnavailableError,
        None,
    ),
    "cut": (Answer(cut=True), IndexUnavailableError, None),
    "garbage": (Answer(b"{]"), IndexUnavailableError, None),
    "another form": (Answer({"matches": "many"}), IndexUnavailableError, None),
    "slow": (Answer({}, delay_s=4 * PATIENCE_S), IndexUnavailableError, None),
}


@pytest.mark.parametrize("name", FAILURES)
async def test_what_fails_is_told_as_what_it_is_and_not_tried_again(
    wire: PineconeWire, name: str
) -> None:
    failure, kind, retry_after_s = FAILURES[name]
    index = pinecone(wire, timeout_s=PATIENCE_S if failure.delay_s else 10)
    await index.open(SPACE)
    await index.put(RED, [point("a")])
    for call in (lambda: near(index), lambda: having(index, 7)):
        wire.failures, before = [failure], len(wire.asked)
        with pytest.raises(kind) as caught:
            await call()
        assert caught.value.retry_after_s == retry_after_s
        assert KEY not in str(caught.value)
        assert len(wire.asked) == before + 1, "it was tried again behind our back"
        wire.failures = []
        assert [match.id for match in await near(index)] == ["a"]
    await index.close()


@pytest.mark.parametrize("name", ["key refused", "too many", "cut", "garbage"])
async def test_start_tells_what_is_wrong(wire: PineconeWire, name: str) -> None:
    failure, kind, retry_after_s = FAILURES[name]
    index = pinecone(wire)
    wire.failures = [failure]
    with pytest.raises(kind) as caught:
        await index.open(SPACE)
    assert caught.value.retry_after_s == retry_after_s
    with pytest.raises(IndexUnavailableError, match="not open"):
        await near(index)
    await index.open(SPACE)
    await index.close()


async def test_nobody_listens() -> None:
    config = {"api_key": KEY, "url": "http://127.0.0.1:9"}
    index = build(Part(provider="pinecone", config=config), "first")
    with pytest.raises(IndexUnavailableError, match="cannot be reached"):
        await index.open(SPACE)
    await index.close()


async def test_an_index_of_somebody_else_is_refused(wire: PineconeWire) -> None:
    index = pinecone(wire)
    await index.open(SPACE)
    kept = wire.indexes["first"]
    theirs: list[tuple[dict[str, Any], str]] = [
        ({"tags": None}, "not made by"),
        ({"tags": {"made-by": "me"}}, "not made by"),
        ({"schema": {"fields": {"dense": kept["schema"]["fields"]["dense"]}}}, "not made by"),
        ({"tags": {**kept["tags"], "holdfast-terms-average": "5.0"}}, "terms_average"),
    ]
    for change, said in theirs:
        wire.indexes["first"] = {**kept, **change}
        with pytest.raises(ConfigError, match=said):
            await pinecone_open(wire)
    wire.indexes["first"] = kept
    with pytest.raises(SpaceMismatchError, match="4 dimensions, not 5"):
        await pinecone_open(wire, Space(provider="tests", model="wide", dimensions=5))
    await index.close()
    assert wire.problems == []


async def pinecone_open(wire: PineconeWire, space: Space = SPACE) -> None:
    index = pinecone(wire)
    try:
        await index.open(space)
    finally:
        await index.close()


async def test_a_new_index_is_waited_for_and_made_once(wire: PineconeWire) -> None:
    wire.unready = 2
    both = [pinecone(wire), pinecone(wire)]
    await asyncio.gather(*(each.open(SPACE) for each in both))
    assert len(wire.indexes) == 1
    await both[0].put(RED, [point("a")])
    assert [match.id for match in await near(both[1])] == ["a"]
    for each in both:
        await each.close()
    wire.unready = 10**6
    late = pinecone(wire, "late", create_timeout_s=0.3)
    with pytest.raises(IndexUnavailableError, match=r"within 0\.3 s"):
        await late.open(SPACE)
    await late.close()
    assert wire.problems == []


@pytest.mark.parametrize(
    ("config", "deployment"),
    [
        ({}, {"deployment_type": "managed", "cloud": "aws", "region": "us-east-1"}),
        (
            {"deployment": "pod", "environment": "us-east1-gcp", "shards": 2},
            {
                "deployment_type": "pod",
                "environment": "us-east1-gcp",
                "pod_type": "p1.x1",
                "replicas": 1,
                "shards": 2,
            },
        ),
        (
            {"deployment": "byoc", "environment": "mine"},
            {"deployment_type": "byoc", "environment": "mine"},
        ),
    ],
)
async def test_an_index_is_made_where_it_shall_be(
    wire: PineconeWire, config: dict[str, Any], deployment: dict[str, Any]
) -> None:
    index = pinecone(wire, **config)
    await index.open(SPACE)
    made = wire.indexes["first"]
    assert made["deployment"] == deployment
    assert made["schema"]["fields"] == {
        "dense": {"type": "dense_vector", "dimension": 4, "metric": "cosine"},
        "terms": {"type": "sparse_vector"},
    }
    await index.close()


async def test_what_a_call_costs(wire: PineconeWire) -> None:
    index = pinecone(wire)
    await index.open(SPACE)
    costs = [
        (lambda: index.put(RED, [point(f"m{n}") for n in range(900)]), 1),
        (lambda: near(index), 1),
        (lambda: index.holders(RED, ALICE, [(1,), (2, 3), (4,)], 5), 3),
        (lambda: index.marks(RED, None, 100), 2),
        (lambda: index.count(RED), 1),
        (lambda: index.remove(RED, [f"m{n}" for n in range(900)]), 1),
        (lambda: index.put(RED, []), 0),
        (lambda: index.remove(RED, []), 0),
        (lambda: near(index, limit=0), 0),
        (lambda: near(index, direction=(0.0, 0.0, 0.0, 0.0)), 0),
    ]
    for call, requests in costs:
        before = len(wire.asked)
        await call()
        assert len(wire.asked) - before == requests
    assert wire.problems == []
    await index.close()


async def test_large_points_go_in_parts_that_pinecone_takes(wire: PineconeWire) -> None:
    wide = Space(provider="tests", model="wide", dimensions=1_536)
    index = pinecone(wire)
    await index.open(wide)
    chance = np.random.default_rng(1)
    points = []
    for number in range(150):
        vector = chance.standard_normal(1_536).astype("<f4")
        terms = chance.integers(0, 2**63, 300, dtype=np.uint64)
        base = point(f"m{number}")
        points.append(
            type(base)(
                id=base.id,
                entities=base.entities,
                vector=(vector / np.linalg.norm(vector)).tobytes(),
                terms=terms.tobytes(),
                mark=1,
            )
        )
    await index.put(RED, points)
    assert await index.count(RED) == 150
    assert wire.problems == []
    sizes = [asked.size for asked in wire.asked if asked.path.endswith("upsert")]
    assert len(sizes) > 2
    assert min(sizes[:-1]) > 500_000, "parts are not needlessly small"
    await index.close()


def test_batches_hold_a_thousand_documents_at_most() -> None:
    documents = [{"_id": str(n), "dense": [1.0]} for n in range(2_500)]
    assert [len(batch) for batch in batches(documents)] == [1_000, 1_000, 500]


def test_long_texts_keep_the_terms_they_say_most() -> None:
    words = np.arange(1, 5_001, dtype="<u8")
    often = np.repeat(np.arange(1, 101, dtype="<u8"), 3)
    made = sparse(np.concatenate([words, often]).tobytes(), 200.0)
    assert made is not None
    assert len(made["indices"]) == SPARSE_MAX
    assert set(folded(often).tolist()) <= set(made["indices"])
    assert made["indices"] == sorted(made["indices"])


def test_names_are_what_pinecone_takes_and_never_meet() -> None:
    collections = ["a", "A", "a_b", "a-b", "x" * 60, "x" * 61, "é", "-", "memories-b2-eu-1"]
    names = [index_name(each) for each in collections]
    assert len(set(names)) == len(names)
    assert all(len(name) <= 45 and name.strip("-") == name for name in names)
    assert names[0] == "a"
    projects = ["a", "p-a", "h-a", "ä", "a b", "x" * 255, "\U0001f600" * 255]
    spaces = [namespace(Project(each)) for each in projects]
    assert len(set(spaces)) == len(spaces)
    assert all(each.isascii() and len(each) <= 260 for each in spaces)
    ids = ["a", "~a", "", "é" * 255, "0190aaaa-bbbb-7ccc-8ddd-eeeeeeeeeeee", document_id("é")]
    made = [document_id(each) for each in ids]
    assert len(set(made)) == len(made)
    assert made[4] == ids[4]


async def test_a_word_is_folded_the_same_when_it_is_asked_for(wire: PineconeWire) -> None:
    index = pinecone(wire)
    await index.open(SPACE)
    await index.put(RED, [point("a", EAST, [2**63 + 5, 11]), point("b", EAST, [2**63 + 6])])
    assert await having(index, 2**63 + 5) == ["a"]
    assert await having(index, 2**63 + 6) == ["b"]
    await index.close()


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"api_key": None}, "api_key"),
        ({"cloud": []}, "cloud"),
        ({"deployment": "pod"}, "environment"),
        ({"deployment": "cellar"}, "deployment"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"apikey": "x"}, "apikey"),
    ],
)
def test_settings_that_mean_nothing_are_refused(config: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        build(Part(provider="pinecone", config={"api_key": KEY, **config}), "first")


def test_the_key_may_stand_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PINECONE_API_KEY", KEY)
    assert build(Part(provider="pinecone"), "first").name == "pinecone:first"


def test_writes_are_found_later_unless_told_otherwise() -> None:
    assert build(Part(provider="pinecone", config={"api_key": KEY}), "first").settles_s == 60.0


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pinecone", None)
    with pytest.raises(MissingExtraError, match=r"holdfast\[pinecone\]"):
        build(Part(provider="pinecone", config={"api_key": KEY}), "first")
