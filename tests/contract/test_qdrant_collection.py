"""How the collection in Qdrant is made, checked, and kept as the settings say; what a call asks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from qdrant_client import models

from holdfast.backends.qdrant.vectors import build
from holdfast.config import Part
from holdfast.errors import ConfigError, SpaceMismatchError
from holdfast.model import ANY, Entity, Space
from holdfast.ports import Vectors
from holdfast.testing.contracts.values import ALICE, RED, SPACE
from holdfast.testing.contracts.vectors import marks, near, point
from support.qdrant_engine import Engine
from support.qdrant_wire import Asked, Fault, QdrantWire

INDEXES = ["PUT /index"] * 5


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[QdrantWire]:
    engine = Engine(tmp_path)
    served = QdrantWire(engine)
    yield served
    served.close()
    engine.close()


async def opened(wire: QdrantWire, **config: Any) -> Vectors:
    """A handle that is open; the requests it took are kept."""
    made = build(Part("qdrant", {"url": wire.url, "timeout_s": 20, **config}), "one")
    wire.requests.clear()
    try:
        await made.open(SPACE)
    except BaseException:
        await made.close()
        raise
    return made


async def reopened(wire: QdrantWire, **config: Any) -> list[Asked]:
    """What another process with these settings asks."""
    await (await opened(wire, **config)).close()
    return wire.requests


@pytest.fixture
async def vectors(wire: QdrantWire) -> AsyncIterator[Vectors]:
    made = await opened(wire)
    await made.put(RED, [point("a", terms=[7, 8])])
    wire.requests.clear()
    yield made
    await made.close()


async def test_a_collection_is_made_as_it_should_be(wire: QdrantWire) -> None:
    settings = {
        "quantisation": "scalar",
        "default_segment_number": 2,
        "indexing_threshold_kb": 5_000,
        "memmap_threshold_kb": 6_000,
        "hnsw_full_scan_threshold_kb": 7_000,
        "shard_number": 3,
        "replication_factor": 2,
        "write_consistency_factor": 2,
        "vectors_on_disk": True,
    }
    asked = await reopened(wire, **settings)
    assert wire.paths() == ["GET /", "PUT /", "GET /", *INDEXES]
    assert asked[1].body == {
        "vectors": {"dense": {"size": 4, "distance": "Cosine", "on_disk": True}},
        "sparse_vectors": {"terms": {"modifier": "idf"}},
        "hnsw_config": {
            "m": 0,
            "payload_m": 16,
            "ef_construct": 100,
            "full_scan_threshold": 7_000,
            "on_disk": False,
        },
        "optimizers_config": {
            "default_segment_number": 2,
            "indexing_threshold": 5_000,
            "memmap_threshold": 6_000,
        },
        "quantization_config": {"scalar": {"type": "int8", "always_ram": True}},
        "on_disk_payload": True,
        "shard_number": 3,
        "replication_factor": 2,
        "write_consistency_factor": 2,
        "metadata": {"holdfast": {"format": 1, "terms_average": 200.0}},
    }
    indexes = {each.body["field_name"]: each.body["field_schema"] for each in asked[3:]}
    assert set(indexes) == {"project", "user", "agent", "app", "run"}
    assert all(schema["type"] == "keyword" for schema in indexes.values())
    assert [key for key, schema in indexes.items() if schema.get("is_tenant")] == ["user"]


async def test_a_known_collection_takes_one_request(wire: QdrantWire, vectors: Vectors) -> None:
    await reopened(wire)
    assert wire.paths() == ["GET /"]


async def test_several_may_open_it_at_once(wire: QdrantWire) -> None:
    handles = [build(Part("qdrant", {"url": wire.url, "timeout_s": 60}), "one") for _ in range(6)]
    await asyncio.gather(*(each.open(SPACE) for each in handles))
    await handles[0].put(RED, [point("a")])
    for each in handles:
        assert await marks(each) == {"a": 1}
        await each.close()
    assert set(wire.engine.of("one").indexes) == {"project", "user", "agent", "app", "run"}


async def test_what_a_dying_process_left_undone_is_done(wire: QdrantWire, vectors: Vectors) -> None:
    for key in ("user", "run"):
        del wire.engine.of("one").indexes[key]
    await reopened(wire)
    assert wire.paths() == ["GET /", "PUT /index", "PUT /index"]
    wire.engine.drop("one")
    wire.fail(
        Fault(answer=True), Fault(answer=True), Fault(answer=True), Fault(answer=True), Fault(500)
    )
    made = build(Part("qdrant", {"url": wire.url, "timeout_s": 20}), "one")
    with pytest.raises(Exception, match="HTTP 500"):
        await made.open(SPACE)
    await made.open(SPACE)
    assert len(wire.engine.of("one").indexes) == 5
    await made.close()


def stranger(**changes: Any) -> models.CreateCollection:
    """A collection that is ours but for some changes."""
    ours = models.CreateCollection(
        vectors={"dense": models.VectorParams(size=4, distance=models.Distance.COSINE)},
        sparse_vectors={"terms": models.SparseVectorParams(modifier=models.Modifier.IDF)},
        hnsw_config=models.HnswConfigDiff(m=0, payload_m=16),
        metadata={"holdfast": {"format": 1, "terms_average": 200.0}},
    )
    return ours.model_copy(update=changes)


VECTOR = models.VectorParams(size=4, distance=models.Distance.COSINE)
STRANGERS = {
    "another dense vector": {"vectors": {"text": VECTOR}},
    "one more dense vector": {"vectors": {"dense": VECTOR, "image": VECTOR}},
    "another sparse vector": {
        "sparse_vectors": {"bm25": models.SparseVectorParams(modifier=models.Modifier.IDF)}
    },
    "metadata of another program": {"metadata": {"owner": "somebody"}},
    "another format": {"metadata": {"holdfast": {"format": 2, "terms_average": 200.0}}},
    "a marker of another kind": {"metadata": {"holdfast": "yes"}},
}


@pytest.mark.parametrize("changes", STRANGERS.values(), ids=list(STRANGERS))
async def test_a_collection_of_somebody_else_is_left_alone(
    wire: QdrantWire, changes: dict[str, Any]
) -> None:
    wire.engine.create("one", stranger(**changes))
    with pytest.raises(ConfigError, match=r"somebody else|another version"):
        await opened(wire)
    assert wire.paths() == ["GET /"]
    assert wire.engine.of("one").indexes == {}


@pytest.mark.parametrize(
    "told",
    [
        {"vectors": {"size": 4, "distance": "Cosine"}},
        {"vectors": {"dense": {"size": 4, "distance": "Dot"}}},
        {"sparse_vectors": {"terms": {}}},
        {"sparse_vectors": None},
    ],
    ids=["a nameless vector", "another distance", "no modifier", "no words"],
)
async def test_a_collection_of_another_kind_is_left_alone(
    wire: QdrantWire, monkeypatch: pytest.MonkeyPatch, told: dict[str, Any]
) -> None:
    await reopened(wire)
    answer = wire.answer

    def other(asked: Asked) -> Any:
        result = answer(asked)
        result["config"]["params"] |= told
        return result

    monkeypatch.setattr(wire, "answer", other)
    with pytest.raises(ConfigError, match="somebody else"):
        await opened(wire)
    assert wire.paths() == ["GET /"]


async def test_what_cannot_be_changed_is_refused(wire: QdrantWire, vectors: Vectors) -> None:
    with pytest.raises(ConfigError, match="terms_average"):
        await opened(wire, terms_average=50)
    with pytest.raises(ConfigError, match="shard_number"):
        await opened(wire, shard_number=4)
    made = build(Part("qdrant", {"url": wire.url, "timeout_s": 20}), "one")
    with pytest.raises(SpaceMismatchError, match="4 numbers, not 5"):
        await made.open(Space(provider="tests", model="wide", dimensions=5))
    await made.close()
    assert "PATCH /" not in wire.paths()


async def test_an_old_server_keeps_no_metadata(wire: QdrantWire, vectors: Vectors) -> None:
    wire.metadata = False
    again = await opened(wire)
    assert await marks(again) == {"a": 1}
    await again.close()


CHANGES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "links": ({"hnsw_links": 32}, {"hnsw_config": {"payload_m": 32}}),
    "segments": (
        {"default_segment_number": 4},
        {"optimizers_config": {"default_segment_number": 4}},
    ),
    "replicas": (
        {"replication_factor": 2, "write_consistency_factor": 2},
        {"params": {"replication_factor": 2, "write_consistency_factor": 2}},
    ),
    "payload": ({"payload_on_disk": False}, {"params": {"on_disk_payload": False}}),
    "vectors": ({"vectors_on_disk": True}, {"vectors": {"dense": {"on_disk": True}}}),
    "quantisation": (
        {"quantisation": "binary"},
        {"quantization_config": {"binary": {"always_ram": True}}},
    ),
}


@pytest.mark.parametrize(("settings", "wanted"), CHANGES.values(), ids=list(CHANGES))
async def test_changed_settings_are_given_to_the_collection_once(
    wire: QdrantWire, vectors: Vectors, settings: dict[str, Any], wanted: dict[str, Any]
) -> None:
    asked = await reopened(wire, **settings)
    assert wire.paths() == ["GET /", "PATCH /"]
    (part,) = wanted
    assert set(asked[1].body) == {part}
    assert wanted[part].items() <= asked[1].body[part].items()
    await reopened(wire, **settings)
    assert wire.paths() == ["GET /"], "the change was not seen"
    if "quantisation" in settings:
        asked = await reopened(wire)
        assert asked[1].body == {"quantization_config": "Disabled"}


async def test_each_call_is_one_request(wire: QdrantWire, vectors: Vectors) -> None:
    calls = {
        "POST /points/query": near(vectors),
        "POST /points/query/batch": vectors.holders(RED, ALICE, [(n,) for n in range(40)], 9),
        "PUT /points": vectors.put(RED, [point(f"m{n}") for n in range(300)]),
        "POST /points/delete": vectors.remove(RED, [f"m{n}" for n in range(290)]),
        "POST /points/scroll": vectors.marks(RED, None, 100),
        "POST /points/count": vectors.count(RED),
    }
    for path, call in calls.items():
        wire.requests.clear()
        await call
        assert wire.paths() == [path]
    wire.requests.clear()
    await vectors.put(RED, [])
    await vectors.remove(RED, [])
    assert await vectors.holders(RED, ALICE, [(), ()], 9) != []
    assert wire.requests == []


async def test_a_question_of_very_many_words_takes_several(
    wire: QdrantWire, vectors: Vectors
) -> None:
    found = await vectors.holders(RED, ALICE, [(n % 205,) for n in range(500)], 9)
    assert [n % 205 for n, each in enumerate(found) if each.matches] == [7, 8] * 2 + [7, 8]
    assert [len(each.body["searches"]) for each in wire.requests] == [100, 100, 5]


async def test_requests_are_bounded_in_bytes(wire: QdrantWire) -> None:
    made = await opened(wire, batch_bytes_max=65_536)
    wire.requests.clear()
    points = [point(f"m{n}", terms=range(100)) for n in range(60)]
    await made.put(RED, [*points, point("m0", terms=[1], mark=9)])
    sizes = [int(each.headers["content-length"]) for each in wire.requests]
    assert len(sizes) > 1
    assert max(sizes) <= 65_536
    assert (await marks(made))["m0"] == 9
    assert await made.count(None) == 60
    await made.close()


async def test_requests_are_bounded_in_points(wire: QdrantWire, vectors: Vectors) -> None:
    await vectors.put(RED, [point(f"m{n}", None, []) for n in range(2_001)])
    assert [len(each.body["points"]) for each in wire.requests] == [1_000, 1_000, 1]
    wire.requests.clear()
    await vectors.remove(RED, [f"m{n}" for n in range(2_001)])
    assert [len(each.body["points"]) for each in wire.requests] == [1_000, 1_000, 1]
    assert await marks(vectors) == {"a": 1}


async def test_writes_are_waited_for_and_reads_agree_as_configured(wire: QdrantWire) -> None:
    made = await opened(
        wire,
        write_ordering="strong",
        read_consistency="majority",
        replication_factor=3,
        exact=True,
        hnsw_ef=64,
        quantisation="scalar",
        oversampling=2.0,
    )
    assert made.settles_s == 1.0
    wire.requests.clear()
    await made.put(RED, [point("a")])
    await made.remove(RED, ["b"])
    await made.clear(RED)
    for each in wire.requests:
        assert each.params == {"wait": "true", "ordering": "strong"}
    wire.requests.clear()
    await near(made)
    await made.holders(RED, ALICE, [(1,)], 3)
    await made.marks(RED, None, 3)
    assert [each.params for each in wire.requests] == [{"consistency": "majority"}] * 3
    assert wire.requests[0].body["params"] == {
        "hnsw_ef": 64,
        "exact": True,
        "quantization": {"rescore": True, "oversampling": 2.0},
    }
    await made.close()


async def test_no_question_goes_without_its_project(wire: QdrantWire, vectors: Vectors) -> None:
    for entity in (ALICE, Entity("run", ANY)):
        await near(vectors, entity)
        await vectors.holders(RED, entity, [(1,), (2, 3)], 3)
    await vectors.marks(RED, None, 3)
    await vectors.count(RED)
    await vectors.clear(RED)
    for asked in wire.requests:
        body = asked.body
        for question in body.get("searches", [body]):
            (condition,) = question["filter"]["must"]
            assert "red" in condition["match"]["value"]
