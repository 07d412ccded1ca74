"""What an external index keeps of a memory, made from what the records have."""

from __future__ import annotations

from hashlib import blake2b

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
