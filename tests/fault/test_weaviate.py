"""Weaviate around the contract: what fails, what is refused, and what a call costs."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from grpc import StatusCode

from holdfast.backends.weaviate.objects import class_name, object_id, tenant_name, words
from holdfast.backends.weaviate.vectors import WeaviateVectors, build
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
from holdfast.testing.contracts.vectors import having, near, point
from support.weaviate_wire import KEY, WeaviateWire
from support.wire_server import Answer


@pytest.fixture
def wire() -> Iterator[WeaviateWire]:
    with WeaviateWire() as made:
        yield made


def weaviate(wire: WeaviateWire, name: str = "first", **config: Any) -> WeaviateVectors:
    settings = {"api_key": KEY, "url": wire.url, "grpc_url": wire.grpc_url, **config}
    return build(Part(provider="weaviate", config=settings), name)


PATIENCE_S = 2.0
"""Of an index whose server is slow: long enough for busy machines, where all else is quick."""
REST: dict[str, tuple[Answer, type[HoldfastError]]] = {
    "key refused": (Answer({"message": f"bad {KEY}"}, 401), ConfigError),
    "no rights": (Answer({"message": "no"}, 403), ConfigError),
    "bad request": (Answer({}, 400), ConfigError),
    "too many": (Answer({}, 429), IndexUnavailableError),
    "broken": (Answer(b"<html>", 500), IndexUnavailableError),
    "cut": (Answer(cut=True), IndexUnavailableError),
    "garbage": (Answer(b"{]"), IndexUnavailableError),
    "another form": (Answer({"hello": "world"}), IndexUnavailableError),
    "a list": (Answer([1, 2]), IndexUnavailableError),
    "slow": (Answer({}, delay_s=4 * PATIENCE_S), IndexUnavailableError),
    "too old": (Answer({"version": "1.19.0"}), ConfigError),
}


@pytest.mark.parametrize("name", REST)
async def test_start_tells_what_is_wrong(wire: WeaviateWire, name: str) -> None:
    failure, kind = REST[name]
    index = weaviate(wire, timeout_s=PATIENCE_S if failure.delay_s else 10)
    wire.failures = [failure]
    with pytest.raises(kind) as caught:
        await index.open(SPACE)
    assert KEY not in str(caught.value)
    with pytest.raises(IndexUnavailableError, match="not open"):
        await near(index)
    await index.open(SPACE)
    assert await near(index) == []
    await index.close()


@pytest.mark.parametrize("name", [name for name in REST if name not in ("too old", "another form")])
async def test_the_schema_is_asked_for_with_care(wire: WeaviateWire, name: str) -> None:
    failure, kind = REST[name]
    index = weaviate(wire, timeout_s=PATIENCE_S if failure.delay_s else 10)
    wire.failures = [Answer({"version": wire.version}), failure]
    with pytest.raises(kind):
        await index.open(SPACE)
    await index.open(SPACE)
    await index.close()


GRPC: dict[str, tuple[StatusCode | None, float, type[HoldfastError]]] = {
    "key refused": (StatusCode.UNAUTHENTICATED, 0.0, ConfigError),
    "no rights": (StatusCode.PERMISSION_DENIED, 0.0, ConfigError),
    "bad request": (StatusCode.INVALID_ARGUMENT, 0.0, ConfigError),
    "too many": (StatusCode.RESOURCE_EXHAUSTED, 0.0, IndexUnavailableError),
    "broken": (StatusCode.INTERNAL, 0.0, IndexUnavailableError),
    "away": (StatusCode.UNAVAILABLE, 0.0, IndexUnavailableError),
    "slow": (None, 2 * PATIENCE_S, IndexUnavailableError),
}


@pytest.mark.parametrize("name", GRPC)
async def test_what_fails_is_told_as_what_it_is(wire: WeaviateWire, name: str) -> None:
    status, wait_s, kind = GRPC[name]
    hopeless = name in ("away", "slow")
    index = weaviate(wire, timeout_s=PATIENCE_S if hopeless else 10)
    await index.open(SPACE)
    await index.put(RED, [point("a")])
    calls = (
        lambda: near(index),
        lambda: having(index, 7),
        lambda: index.marks(RED, None, 5),
        lambda: index.count(RED),
        lambda: index.put(RED, [point("b")]),
        lambda: index.remove(RED, ["b"]),
    )
    for call in calls[:2] if hopeless else calls:
        wire.grpc_failures = [(status, wait_s)] * 4
        with pytest.raises(kind) as caught:
            await call()
        assert KEY not in str(caught.value)
        wire.grpc_failures = []
        assert "a" in [match.id for match in await near(index)]
    await index.close()


async def test_a_wrong_address_of_grpc_is_told_at_start(wire: WeaviateWire) -> None:
    index = weaviate(wire, grpc_url="http://127.0.0.1:9", timeout_s=PATIENCE_S)
    with pytest.raises(IndexUnavailableError):
        await index.open(SPACE)
    await index.close()


async def test_nobody_listens() -> None:
    part = Part(provider="weaviate", config={"url": "http://127.0.0.1:9"})
    index = build(part, "first")
    with pytest.raises(IndexUnavailableError, match="cannot be reached"):
        await index.open(SPACE)
    await index.close()


async def test_points_that_are_not_stored_are_told(wire: WeaviateWire) -> None:
    index = weaviate(wire)
    await index.open(SPACE)
    await index.put(RED, [point("a")])
    del wire.held["Holdfast_first"]
    for call in (lambda: index.put(RED, [point("b")]), lambda: near(index)):
        with pytest.raises(IndexUnavailableError):
            await call()
    wire.held["Holdfast_first"] = {}
    wire.refused = {str(object_id("c"))}
    with pytest.raises(IndexUnavailableError, match="did not store every point"):
        await index.put(RED, [point("b"), point("c")])
    await index.close()


async def test_a_class_of_somebody_else_is_refused(wire: WeaviateWire) -> None:
    index = weaviate(wire)
    await index.open(SPACE)
    kept = wire.classes["Holdfast_first"]
    theirs: list[dict[str, Any]] = [
        {"description": None},
        {"description": "mine"},
        {"description": "Holdfast index, form 2, 4 dimensions"},
        {"properties": kept["properties"][1:]},
        {"multiTenancyConfig": {"enabled": False}, "shardingConfig": SHARDING},
    ]
    for change in theirs:
        wire.classes["Holdfast_first"] = {**kept, **change}
        with pytest.raises(ConfigError, match="not made by"):
            await opened(wire)
    wire.classes["Holdfast_first"] = kept
    with pytest.raises(SpaceMismatchError, match="4 dimensions, not 5"):
        await opened(wire, Space(provider="tests", model="wide", dimensions=5))
    await index.close()


SHARDING = {
    "virtualPerPhysical": 128,
    "desiredCount": 1,
    "actualCount": 1,
    "desiredVirtualCount": 128,
    "actualVirtualCount": 128,
    "key": "_id",
    "strategy": "hash",
    "function": "murmur3",
}


async def opened(wire: WeaviateWire, space: Space = SPACE) -> None:
    index = weaviate(wire)
    try:
        await index.open(space)
    finally:
        await index.close()


async def test_a_class_is_made_once_by_many(wire: WeaviateWire) -> None:
    several = [weaviate(wire) for _ in range(4)]
    await asyncio.gather(*(each.open(SPACE) for each in several))
    assert list(wire.classes) == ["Holdfast_first"]
    await several[0].put(RED, [point("a")])
    assert [match.id for match in await near(several[1])] == ["a"]
    for each in several:
        await each.close()
    assert wire.problems == []


async def test_the_class_is_made_as_it_shall_be(wire: WeaviateWire) -> None:
    index = weaviate(wire, vector_index="flat", replication_factor=3)
    await index.open(SPACE)
    made = wire.classes["Holdfast_first"]
    assert made["replicationConfig"]["factor"] == 3
    assert made["invertedIndexConfig"]["bm25"] == {"b": 0.75, "k1": 0.9}
    assert made["invertedIndexConfig"]["stopwords"]["preset"] == "none"
    assert made["multiTenancyConfig"] == {
        "enabled": True,
        "autoTenantCreation": True,
        "autoTenantActivation": True,
    }
    (vector,) = made["vectorConfig"].values()
    assert vector["vectorIndexType"] == "flat"
    shown = {
        each["name"]: (each["tokenization"], each["indexFilterable"], each["indexSearchable"])
        for each in made["properties"]
    }
    hidden, filtered = ("field", False, False), ("field", True, False)
    assert shown == {
        "memory_id": hidden,
        "mark": hidden,
        "terms": ("whitespace", False, True),
        **dict.fromkeys(("user", "agent", "app", "run", "kinds"), filtered),
    }
    await index.close()


async def test_what_a_call_costs(wire: WeaviateWire) -> None:
    index = weaviate(wire)
    await index.open(SPACE)
    costs: list[tuple[Any, list[str]]] = [
        (lambda: index.put(RED, [point(f"m{n}") for n in range(900)]), ["BatchObjects"] * 2),
        (lambda: near(index), ["Search"]),
        (lambda: index.holders(RED, ALICE, [(1,), (2, 3), (4,)], 5), ["Search"] * 3),
        (lambda: index.marks(RED, None, 100), ["Search"]),
        (lambda: index.count(RED), ["Aggregate"]),
        (lambda: index.count(None), ["TenantsGet", "Aggregate"]),
        (lambda: index.remove(RED, ["m0"]), ["BatchDelete"]),
        (lambda: index.put(RED, []), []),
        (lambda: index.remove(RED, []), []),
        (lambda: near(index, limit=0), []),
        (lambda: near(index, direction=(0.0, 0.0, 0.0, 0.0)), []),
        (lambda: index.clear(RED), []),
    ]
    requests = len(wire.asked)
    for call, expected in costs:
        wire.calls.clear()
        await call()
        assert wire.calls == expected
    assert len(wire.asked) == requests + 1, "only the tenant is removed over REST"
    assert wire.problems == []
    await index.close()


async def test_wide_vectors_fit_into_messages(wire: WeaviateWire) -> None:
    index = weaviate(wire)
    wide = Space(provider="tests", model="wide", dimensions=4_096)
    await index.open(wide)
    base = point("a")
    vector = b"\0\0\x80\x3c" * 4_096  # 1/64 each: of length 1
    terms = bytes(range(1, 241)) * 10
    points = [
        type(base)(id=f"m{n}", entities=base.entities, vector=vector, terms=terms, mark=n)
        for n in range(501)
    ]
    await index.put(RED, points)
    assert await index.count(RED) == 501
    assert wire.problems == []
    await index.close()


def test_names_are_what_weaviate_takes_and_never_meet() -> None:
    collections = ["a", "A", "a-b", "a_b", "x" * 128, "x" * 129, "é", "_", "memories_b2"]
    names = [class_name(each) for each in collections]
    assert len({name.lower() for name in names}) == len(names)
    assert names[0] == "Holdfast_a"
    projects = ["a", "A", "p-a", "h-a", "ä", "a b", "x" * 60, "x" * 61, "\U0001f600" * 255]
    tenants = [tenant_name(Project(each)) for each in projects]
    assert len({tenant.lower() for tenant in tenants}) == len(tenants)
    assert all(len(tenant) <= 64 for tenant in tenants)
    assert words([0, 2**64 - 1, 171]) == "0000000000000000 ffffffffffffffff 00000000000000ab"
    assert str(object_id("m0")) == "7ee32ca3-2400-55a4-bd07-8a3bec3cdb7e"


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"url": None}, "url"),
        ({"url": "localhost:8080"}, r"config\.url: this is no address"),
        ({"url": "ftp://localhost"}, r"config\.url"),
        ({"url": "http://localhost:port"}, r"config\.url"),
        ({"url": "http://me:secret@localhost"}, r"config\.url"),
        ({"grpc_url": "localhost"}, r"config\.grpc_url"),
        ({"vector_index": "lsh"}, "vector_index"),
        ({"consistency": "some"}, "consistency"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"apikey": "x"}, "apikey"),
    ],
)
def test_settings_that_mean_nothing_are_refused(config: dict[str, Any], said: str) -> None:
    settings = {"url": "http://127.0.0.1:8080", **config}
    with pytest.raises(ConfigError, match=said) as caught:
        build(Part(provider="weaviate", config=settings), "first")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("config", "grpc"),
    [
        ({"url": "http://db:8080"}, ("db", 50051, False)),
        ({"url": "https://db"}, ("db", 443, True)),
        ({"url": "https://x.weaviate.cloud"}, ("grpc-x.weaviate.cloud", 443, True)),
        ({"url": "http://db", "grpc_url": "https://other:8443"}, ("other", 8443, True)),
        ({"url": "http://db", "grpc_url": "http://other"}, ("other", 50051, False)),
    ],
)
def test_where_grpc_is(config: dict[str, Any], grpc: tuple[str, int, bool]) -> None:
    from holdfast.backends.weaviate.vectors import WeaviateSettings

    assert WeaviateSettings(**config).grpc() == grpc


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "weaviate", None)
    with pytest.raises(MissingExtraError, match=r"holdfast\[weaviate\]"):
        build(Part(provider="weaviate", config={"url": "http://127.0.0.1:8080"}), "first")
