"""Points as Weaviate's objects, and back: names, ids, properties."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Final
from uuid import UUID, uuid5

import numpy as np

from holdfast.core.points import vector_of
from holdfast.model import ENTITY_KINDS, Entity, Json, Project
from holdfast.ports import Point

MEMORY: Final = "memory_id"
KINDS: Final = "kinds"
"""The kinds of entities a memory has: what "*" asks for."""
TERMS: Final = "terms"
MARK: Final = "mark"

FORM: Final = 1
RESULTS_MAX: Final = 10_000
"""Of one query: Weaviate's QUERY_MAXIMUM_RESULTS, unless its operator has changed it."""
OBJECTS_MAX: Final = 500
"""In one batch, or ids in one deletion."""
BYTES_MAX: Final = 3_500_000
"""Of one batch: gRPC's own bound on messages is 4 MB, and proxies may keep to it."""

_IDS: Final = UUID("5b1e0c3a-6e0b-4d5e-9c59-54f6f6d6c1a7")
_PLAIN_CLASS: Final = re.compile(r"^[a-z0-9_]{1,128}$")
_PLAIN_TENANT: Final = re.compile(r"^[a-z0-9_-]{1,60}$")


def class_name(collection: str) -> str:
    """A class name for each collection: letters, digits and underscores."""
    if _PLAIN_CLASS.match(collection):
        return f"Holdfast_{collection}"
    plain = re.sub(r"[^a-z0-9_]", "_", collection.lower())[:96]
    return f"Holdfast_{plain}_{_digest(collection)[:16]}_"


def tenant_name(project: Project) -> str:
    """A tenant for each project: readable where its name may be one."""
    return f"p-{project}" if _PLAIN_TENANT.match(project) else f"h-{_digest(project)}"


def object_id(memory_id: str) -> UUID:
    """The same for the same memory, through any process."""
    return uuid5(_IDS, memory_id)


def properties(point: Point) -> dict[str, Json]:
    """What is kept of a point beside its vector."""
    made: dict[str, Json] = {
        MEMORY: point.id,
        KINDS: [entity.kind for entity in point.entities],
        TERMS: words(np.frombuffer(point.terms, "<u8").tolist()),
        MARK: str(point.mark),  # numbers travel as floats
    }
    made.update({entity.kind: entity_key(entity) for entity in point.entities})
    return made


def vector(point: Point, dimensions: int) -> list[float] | None:
    """None for a point without one. Raises SpaceMismatchError, ValidationError."""
    found = vector_of(point, dimensions)
    return None if found is None else found.tolist()


def batches(
    points: Sequence[tuple[Point, list[float] | None]],
) -> Iterator[list[tuple[Point, list[float] | None]]]:
    """Parts that fit into one message each."""
    batch: list[tuple[Point, list[float] | None]] = []
    size = 0
    for point, vector in points:
        bytes_ = _bytes(point, vector)
        if batch and (len(batch) == OBJECTS_MAX or size + bytes_ > BYTES_MAX):
            yield batch
            batch, size = [], 0
        batch.append((point, vector))
        size += bytes_
    if batch:
        yield batch


def _bytes(point: Point, vector: list[float] | None) -> int:
    """At most so many bytes in a message: 17 for a term of 8."""
    return 1_024 + 4 * len(point.id) + 4 * len(vector or ()) + 17 * (len(point.terms) >> 3)


def words(terms: Sequence[int]) -> str:
    """Hashed terms as words of a text: 16 hex digits each, all 64 bits."""
    return " ".join(f"{term:016x}" for term in terms)


def entity_key(entity: Entity) -> str:
    """A digest of an id: Weaviate trims what it compares, and drops words like "the"."""
    return _digest(f"{entity.kind}:{entity.id}")


def memory_of(found: Mapping[str, Json]) -> str:
    """The id of the memory an object is about."""
    return str(found[MEMORY])


def described(dimensions: int) -> str:
    """The description of a class of ours."""
    return f"Holdfast index, form {FORM}, {dimensions} dimensions"


def dimensions_of(description: str | None) -> int | None:
    """Read it back; None if the class is not ours."""
    found = re.fullmatch(rf"Holdfast index, form {FORM}, (\d{{1,9}}) dimensions", description or "")
    return int(found.group(1)) if found else None


EXPECTED: Final = frozenset({MEMORY, KINDS, TERMS, MARK, *ENTITY_KINDS})
"""The properties of a class of ours."""


def _digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=24).hexdigest()
