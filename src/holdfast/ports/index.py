"""Search: a probe, the hits it finds, and the index that finds them."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from holdfast.filters import Filter
from holdfast.model import Entity, Memory, Project, Struct
from holdfast.ports.records import EntityState, View

if TYPE_CHECKING:
    import numpy as np

    from holdfast.core.text import Query


class QueryEmbedding(Struct, frozen=True, kw_only=True):
    """A query in the embedding space.

    `pieces` [p, dimensions] and `spans` (character ranges of the query) are given by static
    embedders only, so that ranking can weight the words.
    """

    vector: np.ndarray
    pieces: np.ndarray | None = None
    spans: tuple[tuple[int, int], ...] = ()


class Probe(Struct, frozen=True, kw_only=True):
    """One search, ready for an index."""

    entities: tuple[Entity, ...]
    """Every memory that may be found belongs to one of these."""
    filter: Filter
    """What a memory must fulfil, beside being visible in `view`."""
    view: View
    query: Query
    embedding: QueryEmbedding | None
    """None while the embedder is away: keywords and times answer alone."""
    limit: int
    epoch: int | None = None
    """Of the spaces the embedding belongs to (`ports.spaces`); None if there is one for good."""
    explain: bool = True
    """Whether hits tell their parts."""
    fence: Filter | None = None
    """About entities only. Memories outside are not there: scores are what they were without."""


class Hit(Struct, frozen=True, kw_only=True):
    """A memory that answers a probe; score in 0..1, `parts` for people who ask why."""

    memory: Memory
    score: float
    parts: Mapping[str, float] = {}
    found_score: float | None = None  # the score before a reranker gave its own


class Found(Struct, frozen=True, kw_only=True):
    """What a search found, and what it had to do without."""

    hits: tuple[Hit, ...]
    degraded: tuple[str, ...] = ()
    """Names of the parts that were away: "index" when their engine did not answer."""


class Index(Protocol):
    """Finds memories; everything in it can be rebuilt from the records."""

    async def search(
        self, project: Project, probe: Probe, known: Sequence[EntityState] = ()
    ) -> Found:
        """The best `limit` memories that match and are visible, best first.

        Each at most once, with a score in 0..1. Equal scores within an entity come in order of
        event time, then of insertion. An unlisted turn may be left out for a fact that came from
        it; the fact then has the better place of the two. Sees every write that was committed
        before the call, through any process.

        `known`: how each entity of the probe stands, for a caller who looked within this search;
        what it does not say is looked up.

        Raises EntityTooLargeError before anything is read where an entity has too many memories;
        SpaceSwitched if the vectors to compare with are those of another epoch.
        """

    async def names(self, project: Project, entities: Sequence[Entity]) -> Container[int]:
        """Terms of the names of those who speak in these entities' memories.

        An index that does not know them answers with an empty set.
        """

    async def close(self) -> None:
        """Release memory and connections. Idempotent."""
