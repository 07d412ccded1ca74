"""The contracts between Holdfast and its parts: small protocols and the values they take.

Every call that touches stored data carries the project: what another project has is unknown to it.
A method's docstring is its contract; `holdfast.testing.contracts` checks every sentence against
every back end. Texts and ids are Unicode without NUL and without lone surrogates
(`core.intake` refuses others); times are epoch seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
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
    """Store raw turns of one scope; those whose id is known are passed over. Result: None."""

    scope: Scope
    turns: tuple[Turn, ...]


class PutMemory(Struct, frozen=True, kw_only=True):
    """Store one memory unless one with the same identity exists.

    Result: the id under which it is stored (an earlier one's, if it is a duplicate). An earlier one
    stays as it is, but is linked to these sources too, and supersedes what this one would have.

    Raises ConflictError if the id belongs to a memory with another identity.
    """

    memory: Memory
    identity: bytes
    """Duplicates share it: UNIQUE in the project."""
    terms: IndexTerms
    vector: bytes | None
    """float32 little-endian in the active space, or None while the embedder is away."""
    sources: tuple[Source, ...] = ()
    """Turns it came from; unknown ones are passed over."""
    supersedes: tuple[str, ...] = ()
    """Memories that end where this one begins (`valid_from`, or else `event_at`), but not before
    they began themselves; unknown or already ended ones, and this one itself, are passed over.

    One that ends gets `valid_to` and `superseded_by`, a version more, `updated_at` of this memory,
    a SUPERSEDE in its history with both texts, and gives up its identity: the same may become true
    again. The unlisted turns it came from end with it, not before they were said and without
    history, unless a listed memory that is current came from one of the same raw turns.
    """


class EditMemory(Struct, frozen=True, kw_only=True):
    """Change a memory in place. Result: the new Memory, or None if unknown.

    `version` grows by one and `updated_at` becomes `at`; what is None stays. History gets an UPDATE
    with both texts if text, metadata or expiry is meant. Raises ConflictError if `identity` belongs
    to another memory.
    """

    memory_id: str
    at: float
    text: str | None = None
    hash: str | None = None
    identity: bytes | None = None
    terms: IndexTerms | None = None
    vector: bytes | None = None
    """Of the new text: with `text`, None means that there is no vector any more."""
    metadata: Mapping[str, Json] | None = None
    """Keys to set; the others are kept."""
    expires_on: str | None = None
    set_expires: bool = False
    """Whether `expires_on` is meant (so that None clears)."""
    event_at: float | None = None
    listed: bool | None = None
    categories: tuple[str, ...] | None = None


class RemoveMemories(Struct, frozen=True, kw_only=True):
    """Delete the memories that match, and what would still tell what they said.

    That is: their vectors and terms, the raw turns they came from, and the unlisted turns that came
    from these raw turns (with theirs in turn). Facts that came from the same raw turns stay. Each
    deleted memory gets a DELETE in its history, with its text. Result: the ids of those that
    matched, in order of insertion.
    """

    filter: Filter
    at: float
    erase_history: bool = False
    """Leave no text in the history of the deleted memories, this DELETE included."""
    limit: int | None = None
    """Delete at most so many of those that match, the first inserted first."""


class SetVectors(Struct, frozen=True, kw_only=True):
    """Fill in vectors that are missing. Result: None.

    Memories that are gone, or have got a vector (of a newer text, perhaps), are passed over.
    """

    vectors: tuple[tuple[str, bytes], ...]


class PutJob(Struct, frozen=True, kw_only=True):
    """Queue a job, or store one already done. Result: None.

    Items of its result that name a memory put before in the same commit get the id under which it
    is stored; for a duplicate their event is NONE. The same holds for FinishJob.
    Raises ReplayedError, with the id of the earlier job, if the idempotency key is known;
    ConflictError if the id is; ValidationError if the job is of another project than the commit.
    """

    job: Job


class FinishJob(Struct, frozen=True, kw_only=True):
    """End a leased job (SUCCEEDED, FAILED), or put it back (PENDING). Result: None.

    Raises ConflictError unless `owner` holds the lease: one that ran out is held until somebody
    else takes the job. `completed_at` becomes `at` if it ends.
    """

    job_id: str
    owner: str
    state: JobState
    at: float
    result: Json = None
    """None keeps what the job has."""
    error: str | None = None
    error_code: str | None = None
    run_after: float = 0.0
    """A job that is put back is not due before."""
    untried: bool = False
    """The try that ends here does not count: it was given up, and has not failed."""


class PutUsage(Struct, frozen=True, kw_only=True):
    """A ledger row of one model call. Result: None."""

    usage: Usage
    operation: str
    scope: Scope
    at: float
    job_id: str | None = None


class Reset(Struct, frozen=True, kw_only=True):
    """Delete everything the project has, history and jobs included. Result: None."""


Op = (
    PutTurns | PutMemory | EditMemory | RemoveMemories | SetVectors
    | PutJob | FinishJob | PutUsage | Reset
)  # fmt: skip


class View(Struct, frozen=True, kw_only=True):
    """Which memories are looked at: the current truth, unless told otherwise.

    `core.visibility.visible` defines it.
    """

    now: float
    as_of: float | None = None
    """What was true at this moment; None: what is true now."""
    show_expired: bool = False
    listed_only: bool = True
    """Leave out raw turns that stand beside the facts a model took from them."""


class Listing(Struct, frozen=True, kw_only=True):
    """A question for a page of memories that match and are visible, the last inserted first."""

    filter: Filter
    view: View
    size: int
    cursor: str | None = None
    """Of the page before this one, by the same filter, view and order."""
    offset: int = 0
    """Memories to pass over, from the cursor on."""
    oldest_first: bool = False
    """The first inserted first."""


class EntityState(Struct, frozen=True, kw_only=True):
    """What an entity holds right now.

    `generation` changes with every write to the entity (as long as it is the same, a complete delta
    is) and with none to others. 0 for an entity without any write.
    """

    generation: int
    memories: int
    """All it has: ended, expired and unlisted ones too."""


class Delta(Struct, frozen=True, kw_only=True):
    """Entries of an entity at `generation`: all of them, or the changes since an earlier one."""

    generation: int
    complete: bool
    """True: this is everything. False: from the earlier state take away what `entries` and
    `removed` name, pairs of `told` that name one of them included, then add what is here."""
    entries: tuple[Entry, ...]
    """In order of insertion, which `seq` tells; ended, expired and unlisted ones too."""
    memories: tuple[Memory, ...]
    """The memory of each entry, in the same order."""
    removed: tuple[str, ...] = ()
    """Ids that are gone."""
    told: tuple[tuple[str, str], ...] = ()
    """(unlisted turn, listed memory that came from the same raw turn), ids, for the entries of this
    delta; pairs that name a memory of another entity mean nothing."""


Analyse = Callable[[str, str | None, str | None], IndexTerms]
"""The index terms of a text, its actor and role."""


class Records(Protocol):
    """The system of record: durable, transactional, isolated by project."""

    async def open(self, space: Space, key_mark: int = 0) -> None:
        """Create or migrate the store, and check that it holds vectors of `space`. Idempotent.

        A store without vectors takes to any space. `key_mark` tells content keys apart
        (`core.identity.key_mark`); a store with memories is bound to its own.

        Raises SpaceMismatchError, ConfigError (another key), SchemaTooNewError, CorruptError,
        StoreReadOnlyError, StoreUnavailableError; nothing was changed then.
        """

    async def reindex(self, version: int, analyse: Analyse) -> int:
        """Make the index terms of all projects anew unless they are of this version.

        Returns how many memories were analysed. Cut off in the middle, it starts again next time.
        """

    async def close(self) -> None:
        """Release every connection and thread. Idempotent; later calls raise ClosedError.

        So do calls before `open`.
        """

    async def commit(self, project: Project, ops: Sequence[Op]) -> list[Json]:
        """Carry out the operations in order in one durable transaction; one result each.

        Either all are carried out and survive a crash from the return on, or none is and the call
        raises what the operation did. What is wrong with one commit is never another's error.
        """

    async def fetch(self, project: Project, ids: Sequence[str]) -> list[Memory]:
        """The memories with these ids that exist, ended ones too, in the order asked for."""

    async def turns(self, project: Project, ids: Sequence[str]) -> list[Turn]:
        """The raw turns with these ids that exist, in the order asked for."""

    async def page(self, project: Project, listing: Listing) -> Page:
        """One page; `total` counts all that match, exactly, whatever the page.

        A cursor stays good while others write: following it, what is there all the time comes once.
        """

    async def history(self, project: Project, memory_id: str) -> list[HistoryEvent]:
        """Every change of one memory, oldest first; of a deleted one too; empty if never there.

        `created_at` is the memory's, `updated_at` when the change was made, None for ADD.
        """

    async def entities(
        self, project: Project, offset: int, size: int
    ) -> tuple[list[EntitySummary], int]:
        """Entities that have memories, ordered by kind and id, and how many there are.

        Each counts its listed memories that have not ended. `created_at` is the time of the first
        commit that wrote to the entity, `updated_at` the latest; the time of a commit is the
        greatest its memory operations name (`updated_at` of a PutMemory, else `at`).
        """

    def state(self, project: Project, entity: Entity) -> EntityState:
        """The entity's generation and size. Answers in microseconds, without waiting.

        For the id "*": the greatest generation and the sum of all entities of the kind. As new as
        the last commit, through any process, that returned before the call.
        """

    async def delta(self, project: Project, entity: Entity, since: int | None) -> Delta:
        """The entity's index entries, incremental where `since` is recent enough, else complete.

        `since` is a generation the entity had, or None for a complete answer; "*" as id means all
        of the kind.
        """

    async def stats(self, project: Project) -> Mapping[str, Json]:
        """Counts and sizes for people.

        memories (listed, not ended), superseded (ended), turns, vectors, history_events, entities
        with memories by kind, jobs by state (kinds and states without any are left out), bytes.
        """


class Jobs(Protocol):
    """The durable queue; the record database serves it too. Jobs are put by `Records.commit`.

    A scope here is a `scope_key` of one project; older means put earlier.
    """

    async def job(self, project: Project, job_id: str) -> Job | None:
        """One job by id."""

    async def find_job(self, project: Project, idempotency_key: str) -> Job | None:
        """One job by the idempotency key of its add."""

    async def lease(self, owner: str, at: float, lease_s: float) -> Job | None:
        """Take the oldest job, of any project, that is due and has no older unfinished one in its
        scope; None if there is none.

        Due is what is PENDING from its `run_after` on, and what is RUNNING when its lease has run
        out. The job becomes RUNNING till `at + lease_s`, `attempts` counts this try, `started_at`
        tells of the first.
        """

    async def lease_one(
        self, project: Project, job_id: str, owner: str, at: float, lease_s: float
    ) -> Job | None:
        """Take exactly this job, as `lease` does but whether or not its time has come.

        None if it is finished or unknown, if somebody's lease of it has not run out, or if its
        scope has an older unfinished job.
        """

    async def heartbeat(self, job_id: str, owner: str, at: float, lease_s: float) -> bool:
        """Prolong a lease till `at + lease_s`; False if it was lost: somebody else took the job, or
        it is not RUNNING any more."""

    async def jobs(
        self, project: Project, state: JobState | None, offset: int, size: int
    ) -> list[Job]:
        """Jobs in this state, or in any, the newest first."""

    async def rerun(self, project: Project, job_id: str, at: float) -> bool:
        """Make a failed job due at `at`, its error cleared, with a fresh count of tries.

        False, and nothing changed, if it is not failed.
        """


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
    explain: bool = True
    """Whether hits tell their parts."""


class Hit(Struct, frozen=True, kw_only=True):
    """A memory that answers a probe; score in 0..1, `parts` for people who ask why."""

    memory: Memory
    score: float
    parts: Mapping[str, float] = {}
    found_score: float | None = None  # the score before a reranker gave its own


class Index(Protocol):
    """Finds memories; everything in it can be rebuilt from the records."""

    async def search(self, project: Project, probe: Probe) -> list[Hit]:
        """The best `limit` memories that match and are visible, best first.

        Each at most once, with a score in 0..1. Equal scores within an entity come in order of
        event time, then of insertion. An unlisted turn may be left out for a fact that came from
        it; the fact then has the better place of the two. Sees every write that was committed
        before the call, through any process.
        """

    async def names(self, project: Project, entities: Sequence[Entity]) -> Container[int]:
        """Terms of the names of those who speak in these entities' memories.

        An index that does not know them answers with an empty set.
        """

    async def close(self) -> None:
        """Release memory and connections. Idempotent."""


class Embedder(Protocol):
    """Text to vectors."""

    space: Space
    in_process: bool
    """True if it computes here: no network, no failure, a fraction of a millisecond a text."""
    static: bool
    """True if a word has one vector in any text, and `embed_query` gives pieces. Others see a
    question as a whole, and are asked it without the names of those who speak."""

    async def embed(self, texts: Sequence[str]) -> np.ndarray:
        """L2-normalised float32 [len(texts), dimensions]; a text without content gives zeros.

        Row i depends on text i alone, and is the same each time. No texts give [0, dimensions].

        Raises ModelUnavailableError, ModelRefusedError, BadAnswerError (wrong shape, NaN).
        """

    async def embed_query(self, text: str) -> QueryEmbedding:
        """One query, in the same space and of the same length; same errors."""

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


class Ranking(Struct, frozen=True, kw_only=True):
    """How well each text answers a query, 0..1, in their order, and what it cost if it did."""

    scores: tuple[float, ...]
    usage: Usage | None = None


class Reranker(Protocol):
    """Reads a query and texts together; `name` is provider:model, as an LLM's."""

    name: str

    async def rerank(self, query: str, texts: Sequence[str], *, timeout_s: float) -> Ranking:
        """Up to RERANK_BATCH_MAX texts of up to RERANK_CHARS_MAX characters; errors as an LLM's."""

    async def close(self) -> None:
        """Release connections and threads. Idempotent."""
