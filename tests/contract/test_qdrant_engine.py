"""What we rely on in Qdrant's real engine: the same answers as plain arithmetic and the local mode,
also when graphs and sparse indexes are built."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import pytest
from qdrant_client import models

from holdfast.backends.qdrant.points import folded
from holdfast.backends.qdrant.vectors import build
from holdfast.config import Part
from holdfast.core.view import BM25_B, BM25_K1
from holdfast.model import ANY, Entity, Project, Space
from holdfast.ports import Point, Vectors
from holdfast.testing.contracts.values import BLUE, RED
from support.qdrant_engine import Engine
from support.qdrant_wire import QdrantWire

WIDE = Space(provider="tests", model="wide", dimensions=32)
AVERAGE = 12.0
USERS = [Entity("user", name) for name in ("alice", "bob", "carol")]
RUN = Entity("run", "r")
VOCABULARY = np.random.default_rng(5).integers(0, 2**64, 60, dtype=np.uint64)


def drawn(seed: int, rows: int) -> list[Point]:
    """Memories of three users, some in a run, some without a vector or words."""
    random = np.random.default_rng(seed)
    directions = random.normal(size=(rows, WIDE.dimensions)).astype("<f4")
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    rarity = 1.0 / np.arange(1, 1 + len(VOCABULARY))
    points = []
    for row in range(rows):
        words = random.choice(VOCABULARY, random.integers(0, 30), p=rarity / rarity.sum())
        owner = USERS[int(random.integers(0, 3))]
        points.append(
            Point(
                id=f"m{row}",
                entities=(owner, RUN) if row % 3 else (owner,),
                vector=directions[row].tobytes() if row % 11 else None,
                terms=words.astype("<u8").tobytes(),
                mark=row,
            )
        )
    return points


POINTS = drawn(1, 500)
ENTITIES = (*USERS, RUN, Entity("user", ANY), Entity("run", ANY))


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = Engine(tmp_path / "engine")
    yield made
    made.close()


@pytest.fixture
def wire(engine: Engine) -> Iterator[QdrantWire]:
    served = QdrantWire(engine)
    yield served
    served.close()


@pytest.fixture
async def pair(tmp_path: Path, wire: QdrantWire) -> AsyncIterator[tuple[Vectors, Vectors]]:
    """The engine, and the local mode, with the same memories in them."""
    common = {"terms_average": AVERAGE, "timeout_s": 60}
    # as little as the server takes before it builds graphs and plans searches through them
    server = {
        "url": wire.url,
        "indexing_threshold_kb": 1,
        "hnsw_full_scan_threshold_kb": 10,
        "hnsw_ef": 256,
    }
    real = build(Part("qdrant", {**common, **server}), "one")
    local = build(Part("qdrant", {**common, "path": ":memory:"}), "one")
    for each in (real, local):
        await each.open(WIDE)
        await each.put(RED, POINTS)
        await each.put(BLUE, drawn(2, 200))
    yield real, local
    for each in (real, local):
        await each.close()


def belongs(point: Point, entity: Entity) -> bool:
    return any(e.kind == entity.kind and entity.id in (ANY, e.id) for e in point.entities)


def share(point: Point, word: tuple[int, ...]) -> float:
    """BM25's share of a word, summed over its alternatives."""
    terms = np.frombuffer(point.terms, "<u8")
    norm = BM25_K1 * (1.0 - BM25_B + BM25_B * len(terms) / AVERAGE)
    counts = [int((terms == np.uint64(term)).sum()) for term in word]
    return sum(count / (count + norm) for count in counts)


WORDS = [(int(VOCABULARY[n]),) for n in (0, 1, 5, 20, 59)]
WORDS += [(int(VOCABULARY[0]), int(VOCABULARY[30])), tuple(map(int, VOCABULARY[3:9]))]


async def check(found: Vectors, project: Project = RED) -> None:
    """Every answer is what arithmetic says."""
    for entity in ENTITIES:
        own = [point for point in POINTS if belongs(point, entity)]
        for seed in range(3):
            await _check_nearest(found, project, entity, own, seed)
        for limit in (10, 1_000):
            told = await found.holders(project, entity, WORDS, limit)
            for word, each in zip(WORDS, told, strict=True):
                exact = sorted(-share(p, word) for p in own if share(p, word))
                shares = {p.id: share(p, word) for p in own}
                assert np.allclose(
                    [shares[match.id] for match in each.matches],
                    -np.array(exact[:limit]),
                    atol=1e-6,
                )
                assert each.rows == (len(exact) if len(exact) < limit else None)


async def _check_nearest(
    found: Vectors, project: Project, entity: Entity, own: list[Point], seed: int
) -> None:
    wanted = np.random.default_rng(100 + seed).normal(size=WIDE.dimensions).astype(np.float32)
    wanted /= np.linalg.norm(wanted)
    cosines = {p.id: float(np.frombuffer(p.vector, "<f4") @ wanted) for p in own if p.vector}
    best = sorted(cosines, key=lambda id_: -cosines[id_])[:10]
    matches = await found.nearest(project, entity, wanted, 10)
    assert [match.id for match in matches] == best
    assert np.allclose(
        [match.score for match in matches], [cosines[id_] for id_ in best], atol=1e-5
    )


async def test_the_engine_and_the_local_mode_answer_as_arithmetic_does(
    pair: tuple[Vectors, Vectors],
) -> None:
    for each in pair:
        await check(each)


async def test_the_answers_stay_when_graphs_are_built(
    pair: tuple[Vectors, Vectors], engine: Engine
) -> None:
    real, _ = pair
    engine.optimize("one")
    assert engine.of("one").shard.info().indexed_vectors_count > 0
    await check(real)
    await real.put(RED, [POINTS[0]])
    await check(real)


async def test_no_graph_over_all_is_built_but_one_for_each_tenant(
    pair: tuple[Vectors, Vectors], engine: Engine
) -> None:
    """Without a filter there is no graph to walk, and nothing is asked without one."""
    engine.optimize("one")
    held = engine.of("one")
    assert held.form.hnsw_config is not None
    assert (held.form.hnsw_config.m, held.form.hnsw_config.payload_m) == (0, 16)
    schema = held.shard.info().payload_schema
    assert set(schema) == {"project", "user", "agent", "app", "run"}


async def test_rarity_of_an_alternative_does_not_count(pair: tuple[Vectors, Vectors]) -> None:
    """One stem is in every memory, the other in one: which holds more of its stem comes first."""
    common, rare = 11, 12
    filler = list(range(100, 110))
    rows = [[common] * 3 + filler[:7] for _ in range(40)] + [[rare, *filler[:9]]]
    for each in pair:
        points = [
            Point(
                id=f"m{n}",
                entities=(USERS[0],),
                vector=None,
                terms=np.array(row, "<u8").tobytes(),
                mark=n,
            )
            for n, row in enumerate(rows)
        ]
        await each.clear(RED)
        await each.put(RED, points)
        ((found),) = await each.holders(RED, USERS[0], [(common, rare)], 41)
        assert found.matches[-1].id == "m40"
        assert len(found.matches) == 41


async def test_the_collection_weighs_words_by_rarity(
    pair: tuple[Vectors, Vectors], engine: Engine
) -> None:
    """Of two words with one weight in a question, the rarer decides: BM25 for a whole question,
    which other readers of the collection may ask."""
    often, seldom = (int(n) for n in folded(VOCABULARY[[0, 59]]))
    both = models.SparseVector(indices=sorted((often, seldom)), values=[1.0, 1.0])
    request = models.QueryRequest(query=both, using="terms", limit=500, with_payload=["id"])
    (hits,) = engine.query("one", [request])
    words = {p.id: np.frombuffer(p.terms, "<u8") for p in POINTS}
    first = hits[0]["payload"]["id"]
    assert VOCABULARY[59] in words[first]


async def test_scrolls_are_in_one_order_everywhere(pair: tuple[Vectors, Vectors]) -> None:
    pages = []
    for each in pair:
        found: list[tuple[str, int]] = []
        after: str | None = None
        while True:
            page, after = await each.marks(RED, after, 70)
            found += page
            if after is None:
                break
        pages.append(found)
    assert pages[0] == pages[1]
    assert dict(pages[0]) == {p.id: p.mark for p in POINTS}
