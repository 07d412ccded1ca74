"""What the reference store keeps of a memory, an entity and a job."""

from __future__ import annotations

from collections.abc import Mapping

from holdfast.model import IndexTerms, Job, Memory, Struct


class Row(Struct, frozen=True, kw_only=True):
    """A stored memory and what belongs to it."""

    no: int
    """Order of insertion."""
    memory: Memory
    identity: bytes
    terms: IndexTerms
    vector: bytes | None
    turns: frozenset[str]
    """Ids of the raw turns it came from."""
    quotes: Mapping[str, str]
    """The words quoted of them, by their ids."""
    generation: int
    """Of the commit that changed it last."""


class Written(Struct, frozen=True, kw_only=True):
    """When an entity was written to."""

    generation: int
    created_at: float
    updated_at: float


class Leased(Struct, frozen=True, kw_only=True):
    """A job and who works on it till when."""

    job: Job
    owner: str | None = None
    until: float = 0.0
