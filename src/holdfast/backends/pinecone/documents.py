"""Points as Pinecone's documents, and back: ids, namespaces, sparse vectors, filters."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Final

import numpy as np

from holdfast.core.points import vector_of
from holdfast.core.view import BM25_B, BM25_K1
from holdfast.model import ANY, Entity, Json, Project
from holdfast.ports import Point

DENSE: Final = "dense"
TERMS: Final = "terms"
HAS_VECTOR: Final = "has_vector"
"""Every document must have a dense vector: this tells those that mean something."""
MARK: Final = "mark"
ID: Final = "memory_id"
"""The memory's id, of those that cannot be an id in Pinecone."""

DOCUMENTS_MAX: Final = 1_000
BYTES_MAX: Final = 1_900_000
"""Of one request; Pinecone takes 2 MB."""
SPARSE_MAX: Final = 2_048
"""Entries of one sparse vector; of a longer text the terms it says most often are kept."""
TOP_K_MAX: Final = 10_000

_FLOAT_BYTES: Final = 24
_INDEX_BYTES: Final = 12
_PLAIN_ID: Final = re.compile(r"^[0-9A-Za-z][0-9A-Za-z_.:-]{0,254}$")
_PLAIN_PROJECT: Final = re.compile(r"^[0-9A-Za-z_-]{1,255}$")
_SPREAD: Final = 0x9E3779B97F4A7C15


def document_id(memory_id: str) -> str:
    """The memory's id if it is plain ASCII, else a digest of it that no plain id equals."""
    return memory_id if _PLAIN_ID.match(memory_id) else f"~{_digest(memory_id)}"


def namespace(project: Project) -> str:
    """A namespace for each project: readable where its name may be one."""
    return f"p-{project}" if _PLAIN_PROJECT.match(project) else f"h-{_digest(project)}"


def index_name(collection: str) -> str:
    """Small letters, digits and hyphens, 45 at most, different for each collection."""
    plain = re.sub(r"[^a-z0-9-]", "-", collection.lower()).strip("-")
    if plain == collection and len(plain) <= 45:
        return plain
    return f"{plain[:32].strip('-') or 'holdfast'}-{_digest(collection)[:12]}"


def document(point: Point, dimensions: int, terms_average: float) -> dict[str, Json]:
    """The document of a point. Raises SpaceMismatchError, ValidationError."""
    vector = vector_of(point, dimensions)
    made: dict[str, Json] = {
        "_id": document_id(point.id),
        DENSE: ([1.0] + [0.0] * (dimensions - 1)) if vector is None else vector.tolist(),
        HAS_VECTOR: vector is not None,
        MARK: str(point.mark),  # its numbers are floats
    }
    if made["_id"] != point.id:
        made[ID] = point.id
    made.update({entity.kind: entity.id for entity in point.entities})
    if terms := sparse(point.terms, terms_average):
        made[TERMS] = terms
    return made


def sparse(terms: bytes, terms_average: float) -> dict[str, Json] | None:
    """BM25's share of each term as a sparse vector; None without terms.

    The average length of a text is a constant, since the score of a stored text cannot follow it.
    """
    found = np.frombuffer(terms, "<u8")
    if not len(found):
        return None
    indices, counts = np.unique(folded(found), return_counts=True)
    if len(indices) > SPARSE_MAX:
        most = np.sort(np.argsort(-counts, kind="stable")[:SPARSE_MAX])
        indices, counts = indices[most], counts[most]
    length = BM25_K1 * (1.0 - BM25_B + BM25_B * len(found) / terms_average)
    return {"indices": indices.tolist(), "values": (counts / (counts + length)).tolist()}


def folded(terms: np.ndarray) -> np.ndarray:
    """uint64 terms as the 32 bits Pinecone has for them.

    Two of 100,000 different terms meet with a chance of 2e-5 each: a text is then found for a word
    that it does not have, which ranking puts right.
    """
    return (terms * np.uint64(_SPREAD)) >> np.uint64(32)


def word(alternatives: Sequence[int]) -> dict[str, Json]:
    """The sparse vector that asks for any of a word's terms."""
    indices = np.unique(folded(np.array(alternatives, dtype=np.uint64)))
    return {"indices": indices.tolist(), "values": [1.0] * len(indices)}


def belongs(entity: Entity) -> dict[str, Json]:
    """The filter for the documents of an entity."""
    return {entity.kind: {"$exists": True} if entity.id == ANY else {"$eq": entity.id}}


def memory_id(found: str, fields: Mapping[str, Json]) -> str:
    """The id of the memory that a document is about."""
    return str(fields.get(ID) or found)


def batches(documents: Sequence[dict[str, Json]]) -> Iterator[list[dict[str, Json]]]:
    """Parts that fit into one request each."""
    batch: list[dict[str, Json]] = []
    size = 0
    for each in documents:
        bytes_ = _bytes(each)
        if batch and (len(batch) == DOCUMENTS_MAX or size + bytes_ > BYTES_MAX):
            yield batch
            batch, size = [], 0
        batch.append(each)
        size += bytes_
    if batch:
        yield batch


def _bytes(made: Mapping[str, Json]) -> int:
    """At most so many bytes as JSON."""
    terms = made.get(TERMS) or {"indices": ()}
    texts = [value for value in made.values() if isinstance(value, str)]
    return (
        256
        + len(made[DENSE]) * _FLOAT_BYTES
        + len(terms["indices"]) * (_INDEX_BYTES + _FLOAT_BYTES)
        + sum(6 * len(text) for text in texts)
    )


def _digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=32).hexdigest()
