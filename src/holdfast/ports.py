"""The contracts between Holdfast and its parts: small protocols and the values they take.

Every call that touches stored data carries the project. A method's docstring is its contract;
`holdfast.testing.contracts` checks every sentence against every back end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from holdfast.filters import Filter
from holdfast.model import (
    Entity,
    EntitySummary,
    HistoryEvent,
    IndexTerms,
    Job,
    JobState,
    Json,
    Memory,
    Page,
    Project,
    Scope,
    Source,
    Space,
    Struct,
    Turn,
    Usage,
)

if TYPE_CHECKING:
    import numpy as np

    from holdfast.core.text import Query
    from holdfast.core.view import Entry


class PutTurns(Struct, frozen=True, kw_only=True):
    """Store raw turns of one scope."""

    scope: Scope
    turns: tuple[Turn, ...]


class PutMemory(Struct, frozen=True, kw_only=True):
    """Store one memory unless one with the same identity exists.

    Result: the id under which it is stored (an earlier one's, if it is a duplicate).
    """

    memory: Memory
    identity: bytes
    """Duplicates share it: UNIQUE in the project."""
    terms: IndexTerms
    vector: bytes | None
    """float32 little-endian in the active space, or None while the embedder is away."""
    sources: tuple[Source, ...] = ()
    supersedes: tuple[str, ...] = ()
    """Memories that end where this one begins; unknown or already ended ones are passed over."""


class EditMemory(Struct, frozen=True, kw_only=True):
    """Change a memory in place, and its history. Result: the new Memory, or None if unknown."""

    memory_id: str
    at: float
    text: str | None = None
    hash: str | None = None
    identity: bytes | None = None
    terms: IndexTerms | None = None
    vector: bytes | None = None
    metadata: Mapping[str, Json] | None = None
    """Keys to set; the others are kept."""
    expires_on: str | None = None
    set_expires: bool = False
    """Whether `expires_on` is meant (so that None clears)."""
    event_at: float | None = None
    listed: bool | None = None
    categories: tuple[str, ...] | None = None


class RemoveMemories(Struct, frozen=True, kw_only=True):
    """Delete memories, their vectors, terms, and the turns nothing else came from.

    `erase_history` blanks the texts in their history as well. Result: the ids that were deleted.
    """

    filter: Filter
    at: float
    erase_history: bool = False
    limit: int | None = None


class SetVectors(Struct, frozen=True, kw_only=True):
    """Fill in vectors that were missing; ids that are gone are passed over."""

    vectors: tuple[tuple[str, bytes], ...]


class PutJob(Struct, frozen=True, kw_only=True):
    """Queue a job, or store one already done. A known idempotency key raises ReplayedError."""

    job: Job


class FinishJob(Struct, frozen=True, kw_only=True):
    """End, or put back, a leased job: lost leases are refused with ConflictError."""

    job_id: str
    owner: str
    state: JobState
    at: float
    result: Json = None
    error: str | None = None
    error_code: str | None = None
    run_after: float = 0.0


class PutUsage(Struct, frozen=True, kw_only=True):
    """A ledger row of one model call."""

    usage: Usage
    operation: str
    scope: Scope
    at: float
    job_id: str | None = None


class Reset(Struct, frozen=True, kw_only=True):
    """Delete everything the project has."""


Op = (
    PutTurns | PutMemory | EditMemory | RemoveMemories | SetVectors
    | PutJob | FinishJob | PutUsage | Reset
)  # fmt: skip


class View(Struct, frozen=True, kw_only=True):
    """Which memories are looked at: the current truth, unless told otherwise."""

    now: float
    as_of: float | None = None
    """What was true at this moment; None: what is true now."""
    show_expired: bool = False
    listed_only: bool = True
    """Leave out raw turns that stand beside the facts a model took from them."""


class Listing(Struct, frozen=True, kw_only=True):
    """A question for a page of memories, newest first (in order of insertion)."""

    filter: Filter
    view: View
    size: int
    cursor: str | None = None
    offset: int = 0
    oldest_first: bool = False


class EntityState(Struct, frozen=True, kw_only=True):
    """What an entity holds right now; `generation` changes with every write to it."""

    generation: int
    memories: int


class Delta(Struct, frozen=True, kw_only=True):
    """Entries of an entity at `generation`: all of them, or the changes since an earlier one."""

    generation: int
    complete: bool
    """True: `entries` is everything. False: apply `entries` and `removed` to the earlier state."""
    entries: tuple[Entry, ...]
    memories: tuple[Memory, ...]
    """The memory of each entry, in the same order."""
    removed: tuple[str, ...] = ()
    told: tuple[tuple[str, str], ...] = ()
    """(unlisted turn, fact taken from it), ids, for the entries of this delta."""


class Records(Protocol):
    """The system of record: durable, transactional, isolated by project."""

    async def open(self, space: Space, key_mark: int = 0) -> None:
        """Create or migrate the store and check that it holds vectors of `space`.

        `key_mark` tells content keys apart (`core.identity.key_mark`); a store with memories is
        bound to its key: ConfigError for another. Raises SpaceMismatchError, SchemaTooNewError, CorruptError, StoreReadOnlyError. Idempotent.
        """

    async def close(self) -> None:
        """Release every connection and thread. Idempotent; later calls raise ClosedError."""

    async def commit(self, project: Project, ops: Sequence[Op]) -> list[Json]:
        """Carry out the operations in order in one durable transaction; one result each.

        Either all are carried out and survive a crash from the return on, or none is.
        """

    async def fetch(self, project: Project, ids: Sequence[str]) -> list[Memory]:
        """The memories with these ids that exist, in the order asked for."""

    async def turns(self, project: Project, ids: Sequence[str]) -> list[Turn]:
        """The raw turns with these ids that exist, in the order asked for."""

    async def page(self, project: Project, listing: Listing) -> Page:
        """One page; `total` counts all that match, exactly, whatever the page."""

    async def history(self, project: Project, memory_id: str) -> list[HistoryEvent]:
        """Every change of one memory, oldest first; empty if it never existed."""

    async def entities(
        self, project: Project, offset: int, size: int
    ) -> tuple[list[EntitySummary], int]:
        """Entities that have memories, ordered by kind and id, and how many there are."""

    def state(self, project: Project, entity: Entity) -> EntityState:
        """The entity's generation and size. Answers in microseconds, without waiting."""

    async def delta(self, project: Project, entity: Entity, since: int | None) -> Delta:
        """The entity's index entries, incremental where `since` is recent enough."""

    async def stats(self, project: Project) -> Mapping[str, Json]:
        """Counts and sizes for people: memories, turns, entities, jobs by state, bytes."""


class Jobs(Protocol):
    """The durable queue; the record database serves it too."""

    async def job(self, project: Project, job_id: str) -> Job | None:
        """One job by id."""

    async def find_job(self, project: Project, idempotency_key: str) -> Job | None:
        """One job by the idempotency key of its add."""

    async def lease(self, owner: str, at: float, lease_s: float) -> Job | None:
        """Take the oldest job that is due, whose scope has no earlier unfinished job.

        A job whose lease ran out is due again. `attempts` counts this try.
        """

    async def lease_one(
        self, project: Project, job_id: str, owner: str, at: float, lease_s: float
    ) -> Job | None:
        """Take exactly this job if it is unfinished and nobody owns it; else None."""

    async def heartbeat(self, job_id: str, owner: str, at: float, lease_s: float) -> bool:
        """Prolong a lease; False if it was lost."""

    async def jobs(
        self, project: Project, state: JobState | None, offset: int, size: int
    ) -> list[Job]:
        """Jobs, newest first."""

    async def rerun(self, project: Project, job_id: str, at: float) -> bool:
        """Make a failed job due again with a fresh count of tries; False if it is not failed."""


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


class Hit(Struct, frozen=True, kw_only=True):
    """A memory that answers a probe; score in 0..1, `parts` for people who ask why."""

    memory: Memory
    score: float
    parts: Mapping[str, float]


class Index(Protocol):
    """Finds memories; everything in it can be rebuilt from the records."""

    async def search(self, project: Project, probe: Probe) -> list[Hit]:
        """The best `limit` memories that match, best first; ties in order of insertion.

        Sees every write that was committed before the call, through any process.
        """

    async def close(self) -> None:
        """Release memory and connections. Idempotent."""


class Embedder(Protocol):
    """Text to vectors."""

    space: Space
    in_process: bool
    """True if it computes here: no network, no failure, a fraction of a millisecond a text."""

    async def embed(self, texts: Sequence[str]) -> np.ndarray:
        """L2-normalised float32 [len(texts), dimensions]; a text without content gives zeros.

        Raises ModelUnavailableError, ModelRefusedError, BadAnswerError (wrong shape, NaN).
        """

    async def embed_query(self, text: str) -> QueryEmbedding:
        """One query; same errors."""

    async def close(self) -> None:
        """Release connections. Idempotent."""


class Answer(Struct, frozen=True, kw_only=True):
    """What a model said: text meant to be JSON, and what it cost."""

    text: str
    usage: Usage
    truncated: bool = False


class LLM(Protocol):
    """One structured question to a language model."""

    name: str
    """provider:model, for the ledger and for people."""

    async def complete(
        self, system: str, user: str, *, schema: Mapping[str, Json], timeout_s: float
    ) -> Answer:
        """Ask for JSON that fits `schema` (JSON Schema). The text is not validated here.

        Raises ModelUnavailableError (with retry_after_s when told), ModelRefusedError,
        BadAnswerError (nothing usable came back: empty, refused).
        """

    async def close(self) -> None:
        """Release connections. Idempotent."""
