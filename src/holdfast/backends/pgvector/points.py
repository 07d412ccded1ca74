"""Points as parameters of a statement: one array a column, numbers in Postgres's binary form.

Lists of numbers would be packed one by one; an array of numpy goes over as it is.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from psycopg.abc import AdaptContext
from psycopg.adapt import Dumper
from psycopg.pq import Format

from holdfast.core.points import vector_of
from holdfast.model import ENTITY_KINDS, Entity, Project
from holdfast.ports import Point

_HEAD: Final = struct.Struct("!5i")
"""Of an array: dimensions, whether there are nulls, type, length, number of the first."""


@dataclass(frozen=True, slots=True)
class Reals:
    """float32 [n], as `real[]`."""

    values: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Longs:
    """int64 [n], as `bigint[]`."""

    values: NDArray[np.int64]


class _RealsDumper(Dumper):
    format = Format.BINARY
    oid = 1021

    def dump(self, obj: Reals) -> bytes:
        return _packed(obj.values, 700, ">f4")


class _LongsDumper(Dumper):
    format = Format.BINARY
    oid = 1016

    def dump(self, obj: Longs) -> bytes:
        return _packed(obj.values, 20, ">i8")


def register(context: AdaptContext) -> None:
    """Teach a connection or cursor to send `Reals` and `Longs`."""
    for kind, dumper in ((Reals, _RealsDumper), (Longs, _LongsDumper)):
        context.adapters.register_dumper(kind, dumper)


def _packed(values: NDArray[Any], oid: int, kind: str) -> bytes:
    elements = np.empty(len(values), dtype=[("size", ">i4"), ("value", kind)])
    elements["size"] = np.dtype(kind).itemsize
    elements["value"] = values
    return _HEAD.pack(1, 0, oid, len(values), 1) + elements.tobytes()


def entity_key(id_: str) -> str:
    """An entity's id as it is stored: 128 bits, in hexadecimal, of its SHA-256.

    As long for every id: an index of Postgres does not take long texts. In SQL:
    `encode(substr(sha256('alice'), 1, 16), 'hex')::uuid`.
    """
    return sha256(id_.encode()).hexdigest()[:32]


def parameters(project: Project, points: Sequence[Point], dimensions: int) -> dict[str, Any]:
    """What `Statements.put` takes. Of points with one id the last counts; in the order of their
    ids, so that two writers wait for each other and never both.

    Raises SpaceMismatchError, ValidationError.
    """
    last = {point.id: point for point in points}
    ordered = [last[id_] for id_ in sorted(last)]
    keys = [{entity.kind: entity_key(entity.id) for entity in p.entities} for p in ordered]
    return {
        "project": project,
        "ids": [point.id for point in ordered],
        **{f"{kind}_ids": [own.get(kind) for own in keys] for kind in ENTITY_KINDS},
        "lengths": [len(point.terms) >> 3 for point in ordered],
        "marks": Longs(np.array([point.mark for point in ordered], np.int64)),
        **_vectors(ordered, dimensions),
        **_words(ordered),
    }


def _vectors(points: Sequence[Point], dimensions: int) -> dict[str, Any]:
    """All vectors, one behind the other, and where each begins; 0 for none."""
    begins: list[int] = []
    vectors: list[NDArray[np.float32]] = []
    for point in points:
        told = vector_of(point, dimensions)
        begins.append(0 if told is None else len(vectors) * dimensions + 1)
        if told is not None:
            vectors.append(told)
    flat = np.concatenate(vectors) if vectors else np.empty(0, np.float32)
    return {"begins": begins, "vectors": Reals(flat), "dimensions": dimensions}


def _words(points: Sequence[Point]) -> dict[str, Any]:
    """The distinct words of all points with how often each occurs, and where those of one point
    begin and end."""
    found = [np.unique(np.frombuffer(p.terms, "<u8"), return_counts=True) for p in points]
    ends = np.cumsum([0, *(len(terms) for terms, _ in found)])
    terms = np.concatenate([terms for terms, _ in found]) if found else np.empty(0, "<u8")
    times = np.concatenate([times for _, times in found]) if found else np.empty(0, np.int64)
    return {
        "firsts": [int(start) + 1 for start, _ in pairwise(ends)],
        "lasts": [int(end) for _, end in pairwise(ends)],
        # the bits of an unsigned number, read as a signed one
        "terms": Longs(terms.astype("<u8").view("<i8")),
        "times": Longs(times.astype(np.int64)),
    }


def signed(term: int) -> int:
    """A hashed word as Postgres keeps it: the same 64 bits, with a sign."""
    return term - 2**64 if term >= 2**63 else term


def column(entity: Entity) -> str:
    """The column that holds the entity's key."""
    return f"{entity.kind}_id"
