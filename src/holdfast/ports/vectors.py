"""An external engine that gives candidates: a vector database, seen as narrowly as may be.

It keeps of each memory what it takes to find it again: the ids of its entities, its vector, its
hashed index terms. No text. What it finds are ids, which the records turn into memories, so that a
stale or wiped engine costs recall for a moment and never tells anything wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from holdfast.model import Entity, OnProgress, Project, Space, Struct

if TYPE_CHECKING:
    import numpy as np


class Point(Struct, frozen=True, kw_only=True):
    """What an engine keeps of one memory."""

    id: str
    """Of the memory: any text of up to 255 characters, mostly a UUID."""
    entities: tuple[Entity, ...]
    """Those the memory belongs to, one a kind at most; none is "*"."""
    vector: bytes | None
    """float32 little-endian, L2-normalised or all zeros; None while there is none yet."""
    terms: bytes
    """uint64 little-endian, one per occurrence: the hashed words of the text (`IndexTerms`)."""
    mark: int
    """0 <= mark < 2**63: changes whenever one of the above does; what a verification compares."""


class Match(Struct, frozen=True, kw_only=True):
    """A memory that an engine found; a higher score is a better one of the same list."""

    id: str
    score: float


class TermMatches(Struct, frozen=True, kw_only=True):
    """Memories that have one word of a question, those that say most of it first."""

    matches: tuple[Match, ...]
    rows: int | None = None
    """How many of the entity's memories have it, if the engine knows; exact when told."""


class Vectors(Protocol):
    """A vector database. One object is one collection in it (`name` tells which), open to many
    processes; every call carries the project, and finds nothing of another's.

    An entity with the id "*" means every memory that has one of its kind.

    Calls raise IndexUnavailableError (with retry_after_s when told) when the engine is away, slow
    beyond its deadline, or answers garbage; ConfigError when it refuses what it is given for a
    reason that trying again does not mend: credentials, rights, a collection of another shape.
    """

    name: str
    """Provider and collection, for people."""
    settles_s: float
    """Seconds after which a write is surely found; 0.0: at once, as `put` and `remove` say."""

    async def open(self, space: Space) -> None:
        """Create the collection and its indexes, or check that it is ours and of this space.

        Idempotent, also when several processes do it at once. Raises ConfigError (somebody else's
        collection, missing rights, wrong credentials, missing extension), SpaceMismatchError
        (vectors of another length), MissingExtraError; nothing was changed then.
        """

    async def put(self, project: Project, points: Sequence[Point]) -> None:
        """Store points, each in place of the one with its id. Found by calls that begin after it
        returned, unless `settles_s` says otherwise."""

    async def remove(self, project: Project, ids: Sequence[str]) -> None:
        """Forget points; unknown ids are passed over."""

    async def nearest(
        self, project: Project, entity: Entity, vector: np.ndarray, limit: int
    ) -> list[Match]:
        """The entity's points most like `vector` (float32 [dimensions], L2-normalised), the best
        first; the score is the cosine. Points without a vector, or with zeros, may be left out."""

    async def holders(
        self, project: Project, entity: Entity, terms: Sequence[Sequence[int]], limit: int
    ) -> list[TermMatches]:
        """For each word of a question, given as its alternative hashed terms: up to `limit` of the
        entity's points that have one of them, all if there are fewer, and the best if there are
        more: by BM25's share of a word. In one round trip where the engine can."""

    async def marks(
        self, project: Project, after: str | None, size: int
    ) -> tuple[list[tuple[str, int]], str | None]:
        """A page of (id, mark) of about `size` points, in a stable order of the engine's own, and
        a cursor for the page after it; None at the end. From the first on for None.

        A point that is there all the time comes exactly once.
        """

    async def count(self, project: Project | None) -> int:
        """How many points the project has, exactly; the whole collection for None."""

    async def clear(self, project: Project | None) -> None:
        """Forget every point of the project; for None drop the collection itself, after which
        `open` makes it anew."""

    async def close(self) -> None:
        """Release connections. Idempotent; later calls raise ClosedError."""


@runtime_checkable
class Optimizes(Protocol):
    """An engine that has something to make once many points are there, a graph say. Until then it
    answers as well, and more slowly."""

    async def optimize(self, told: OnProgress | None = None) -> None:
        """Make what pays and is not there yet, or wait for who makes it; calls are answered
        meanwhile. Returns soon if there is nothing to make. May take hours; cut off at any moment,
        the next call makes it anew. `told`: how many points are done, and of how many.

        Raises IndexUnavailableError, ConfigError for missing rights.
        """

    async def optimizing(self) -> int | None:
        """How many points are done of what is being made, through any process; None if nothing
        is."""
