"""What an external index keeps of a memory, made from what the records have."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from holdfast.errors import SpaceMismatchError, ValidationError
from holdfast.model import ENTITY_KINDS, Entity
from holdfast.ports import Point


def point_of(
    id_: str,
    entity_ids: tuple[str | None, str | None, str | None, str | None],
    vector: bytes | None,
    terms: bytes,
) -> Point:
    """The point of a memory; `entity_ids` in the order of ENTITY_KINDS.

    Its mark is 63 bits of a hash of what it keeps, so that it says nothing but whether it changed.
    """
    named = zip(ENTITY_KINDS, entity_ids, strict=True)
    entities = tuple(Entity(kind, name) for kind, name in named if name is not None)
    digest = blake2b(digest_size=8)
    for part in (*(f"{e.kind}\x00{e.id}".encode() for e in entities), vector or b"", terms):
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    mark = int.from_bytes(digest.digest(), "little") >> 1
    return Point(id=id_, entities=entities, vector=vector, terms=terms, mark=mark)


def vector_of(point: Point, dimensions: int | None) -> NDArray[np.float32] | None:
    """float32 [dimensions]; None for a point without a vector, or with zeros, which point nowhere.

    `dimensions` is None where any length will do. Raises what `direction` does.
    """
    if point.vector is None:
        return None
    if len(point.vector) % 4:
        raise _other_length(len(point.vector) / 4, dimensions)
    return direction(np.frombuffer(point.vector, "<f4"), dimensions)


def direction(vector: NDArray[np.float32], dimensions: int | None) -> NDArray[np.float32] | None:
    """A vector that can be compared; None for one of zeros.

    Raises SpaceMismatchError for another length, ValidationError for numbers that are none.
    """
    if dimensions is not None and len(vector) != dimensions:
        raise _other_length(len(vector), dimensions)
    return vector if finite(vector).any() else None


def finite(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """The vector. Raises ValidationError if one of its numbers is none."""
    if not np.isfinite(vector).all():
        raise ValidationError("A vector has a number that is not finite.")
    return vector


def _other_length(length: float, dimensions: int | None) -> SpaceMismatchError:
    return SpaceMismatchError(
        f"A vector has {length:g} dimensions; the collection holds those of {dimensions}.",
        hint="Rebuild the index for this embedder.",
    )
