"""The index in pgvector answers like the reference in memory: same points, scores and counts."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from holdfast.backends.memory.vectors import Engine, MemoryVectors
from holdfast.model import ANY, ENTITY_KINDS, Entity, Project
from holdfast.ports import Match, Point, Vectors
from holdfast.testing.contracts.values import BLUE, RED, SPACE
from support.pgvector import opened

POOL = 6
"""Ids of each kind: few, so that points meet."""
TERMS = [0, 1, 2, 3, 2**63 - 1, 2**63, 2**64 - 1]


def chosen(rng: np.random.Generator, number: int) -> Point:
    """A point with some entities, some words, and mostly a vector."""
    kinds = [kind for kind in ENTITY_KINDS if rng.random() < 0.6] or ["user"]
    entities = tuple(Entity(kind, f"e{rng.integers(POOL)}") for kind in kinds)
    vector = rng.normal(size=4)
    vector /= np.linalg.norm(vector)
    words = rng.choice(len(TERMS), size=int(rng.integers(0, 12)))
    return Point(
        id=f"m{number}",
        entities=entities,
        vector=None if rng.random() < 0.1 else vector.astype("<f4").tobytes(),
        terms=struct.pack(f"<{len(words)}Q", *(TERMS[word] for word in words)),
        mark=int(rng.integers(0, 2**63)),
    )


def alike(found: list[Match], wanted: list[Match]) -> None:
    """The same scores, and the same ids where scores do not tie at the end of the page."""
    assert [m.score for m in found] == pytest.approx([m.score for m in wanted], abs=1e-6)
    sure = [match for match in wanted if match.score > wanted[-1].score + 1e-6]
    assert {match.id for match in sure} <= {match.id for match in found}


async def compared(
    rng: np.random.Generator, project: Project, found: Vectors, wanted: Vectors
) -> None:
    for kind in ENTITY_KINDS:
        for entity in (Entity(kind, f"e{rng.integers(POOL)}"), Entity(kind, ANY)):
            limit = int(rng.integers(1, 60))
            vector = rng.normal(size=4).astype(np.float32)
            vector /= np.linalg.norm(vector)
            alike(
                await found.nearest(project, entity, vector, limit),
                await wanted.nearest(project, entity, vector, limit),
            )
            asked = [
                tuple({TERMS[number] for number in rng.choice(len(TERMS), size=forms)})
                for forms in (1, 2, 3)
            ]
            words = await found.holders(project, entity, asked, limit)
            for word, expected in zip(
                words, await wanted.holders(project, entity, asked, limit), strict=True
            ):
                assert word.rows == expected.rows
                alike(list(word.matches), list(expected.matches))


@pytest.mark.parametrize("mode", ["auto", "exact"])
async def test_it_answers_like_the_reference(owner: str, mode: str) -> None:
    rng = np.random.default_rng(7)
    wanted = MemoryVectors(Engine(), "reference")
    await wanted.open(SPACE)
    async with opened(owner, mode=mode) as found:
        for _ in range(3):
            for project in (RED, BLUE):
                points = [chosen(rng, int(rng.integers(200))) for _ in range(150)]
                gone = [f"m{rng.integers(200)}" for _ in range(20)]
                for each in (found, wanted):
                    await each.put(project, points)
                    await each.remove(project, gone)
                await compared(rng, project, found, wanted)
                page, _ = await found.marks(project, None, 1_000)
                expected, _ = await wanted.marks(project, None, 1_000)
                assert page == expected
                assert await found.count(project) == await wanted.count(project)
