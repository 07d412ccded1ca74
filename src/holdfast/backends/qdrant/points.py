"""Memories as Qdrant's points and back: ids, payloads, sparse vectors, filters. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final
from uuid import UUID, uuid5

import numpy as np
from numpy.typing import NDArray
from qdrant_client import models

from holdfast.core.points import vector_of
from holdfast.core.view import BM25_B, BM25_K1
from holdfast.errors import IndexUnavailableError
from holdfast.model import ANY, ENTITY_KINDS, Entity, Project
from holdfast.ports import Match, Point

DENSE: Final = "dense"
TERMS: Final = "terms"
"""Names of the two vectors of a point."""

PROJECT: Final = "project"
TENANT: Final = "user"
"""The key nearly all questions select by: points of a user are kept side by side."""
KEYS: Final[tuple[str, ...]] = (PROJECT, *ENTITY_KINDS)
"""Payload keys that are filtered by. "id" and "mark" beside them are only read."""

_POINTS: Final = UUID("5f0d1a44-9b0e-5d43-9a53-0f6e3c1c7f1e")
POINTS_MAX: Final = 1_000
"""Points in one request; the strict mode of servers and clouds bounds them."""
_WORD_BYTES: Final = 32
_NUMBER_BYTES: Final = 22
"""Bytes of one word and of one number of a vector as JSON, at most."""


def point_id(project: Project, memory_id: str) -> str:
    """The id of a memory's point: the same in every process, another in every project."""
    return str(uuid5(_POINTS, _joined(project, memory_id)))


def entity_key(project: Project, entity_id: str) -> str:
    """What a payload holds of an entity: one condition selects project and entity together."""
    return _joined(project, entity_id)


def _joined(project: Project, name: str) -> str:
    """Both in one text; the length tells where the first ends, whatever they hold."""
    return f"{len(project)}:{project}:{name}"


def structure(
    project: Project, point: Point, dimensions: int | None, average: float
) -> models.PointStruct:
    """A memory as a point. Raises SpaceMismatchError, ValidationError."""
    vectors: dict[str, Any] = {}
    dense = vector_of(point, dimensions)
    if dense is not None:
        vectors[DENSE] = dense.tolist()
    if point.terms:
        vectors[TERMS] = sparse(np.frombuffer(point.terms, dtype="<u8"), average)
    payload: dict[str, Any] = {"id": point.id, "mark": point.mark, PROJECT: project}
    for entity in point.entities:
        payload[entity.kind] = entity_key(project, entity.id)
    return models.PointStruct(id=point_id(project, point.id), vector=vectors, payload=payload)


def folded(terms: NDArray[np.uint64]) -> NDArray[np.uint32]:
    """Hashed words as Qdrant's 32-bit indices. Two words of a collection of a million different
    ones meet once in four thousand; a question then has a candidate too many."""
    return ((terms ^ (terms >> np.uint64(32))) & np.uint64(0xFFFFFFFF)).astype(np.uint32)


def sparse(terms: NDArray[np.uint64], average: float) -> models.SparseVector:
    """BM25's share of each word: count / (count + k1 * (1 - b + b * length / average)).

    The average is fixed, for that of an entity changes with every memory.
    """
    indices, counts = np.unique(folded(terms), return_counts=True)
    norm = BM25_K1 * (1.0 - BM25_B + BM25_B * len(terms) / average)
    shares = counts / (counts + norm)
    return models.SparseVector(indices=indices.tolist(), values=shares.tolist())


def question(alternatives: tuple[int, ...]) -> models.SparseVector:
    """A word of a question, given as its folded alternatives."""
    return models.SparseVector(indices=list(alternatives), values=[1.0] * len(alternatives))


def equal_weights(alternatives: tuple[int, ...]) -> models.SearchParams | None:
    """Takes rarity out of a question with alternatives; among holders of one it says nothing.

    How rare a word is, the ranking knows exactly, for all its alternatives together and for the
    entity. Over nobody's points (no id is wanted) all of them are equally rare.
    """
    if len(alternatives) < 2:
        return None
    nobody = models.Filter(must=[models.HasIdCondition(has_id=[])])
    return models.SearchParams(idf=models.IdfCorpusParams(corpus=nobody))


def words(terms: Sequence[Sequence[int]]) -> list[tuple[int, ...]]:
    """The folded alternatives of each word, in order, each once."""
    return [
        tuple(np.unique(folded(np.array(tuple(each), dtype=np.uint64))).tolist()) for each in terms
    ]


def of_project(project: Project) -> models.Filter:
    """Selects the points of a project."""
    return models.Filter(must=[_equal(PROJECT, project)])


def of_entity(project: Project, entity: Entity) -> models.Filter:
    """Selects the points of an entity; those that have one of its kind for the id "*"."""
    if entity.id != ANY:
        return models.Filter(must=[_equal(entity.kind, entity_key(project, entity.id))])
    absent = models.IsEmptyCondition(is_empty=models.PayloadField(key=entity.kind))
    return models.Filter(must=[_equal(PROJECT, project)], must_not=[absent])


def _equal(key: str, value: str) -> models.FieldCondition:
    return models.FieldCondition(key=key, match=models.MatchValue(value=value))


def batches(points: Iterable[Point], bytes_max: int) -> Iterator[list[Point]]:
    """Points in groups of at most POINTS_MAX, whose request has about `bytes_max` bytes at most;
    the last of an id counts."""
    group: list[Point] = []
    size = 0
    for point in {point.id: point for point in points}.values():
        own = _size(point)
        if group and (size + own > bytes_max or len(group) == POINTS_MAX):
            yield group
            group, size = [], 0
        group.append(point)
        size += own
    if group:
        yield group


def _size(point: Point) -> int:
    """Bytes of a point as JSON, at most. A character takes up to six, in an id and in each key."""
    names = len(point.id) + sum(len(entity.id) for entity in point.entities)
    numbers = len(point.vector or b"") // 4 * _NUMBER_BYTES
    return 512 + 6 * names + numbers + len(point.terms) // 8 * _WORD_BYTES


def matches(found: Iterable[models.ScoredPoint]) -> tuple[Match, ...]:
    """What was found, in its order. Raises IndexUnavailableError for points that are not ours."""
    return tuple(Match(id=_memory_id(each.payload), score=float(each.score)) for each in found)


def marks(found: Iterable[models.Record]) -> list[tuple[str, int]]:
    """(id, mark) of points. Raises IndexUnavailableError for points that are not ours."""
    return [(_memory_id(each.payload), _mark(each.payload)) for each in found]


def _memory_id(payload: Any) -> str:
    name = payload.get("id") if isinstance(payload, dict) else None
    if not isinstance(name, str):
        raise foreign()
    return name


def _mark(payload: Any) -> int:
    mark = payload.get("mark") if isinstance(payload, dict) else None
    if not isinstance(mark, int) or isinstance(mark, bool):
        raise foreign()
    return mark


def foreign() -> IndexUnavailableError:
    """The error for points that nobody of us has written."""
    return IndexUnavailableError(
        "The Qdrant collection holds points that are not Holdfast's.",
        hint="Rebuild the index: holdfast index rebuild.",
    )
