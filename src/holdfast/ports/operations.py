"""What a transaction does: operations as values, carried out in order by `Records.commit`."""

from __future__ import annotations

from collections.abc import Mapping

from holdfast.directory import Row
from holdfast.filters import Filter
from holdfast.model import (
    Cost,
    HistoryEvent,
    IndexTerms,
    Job,
    JobState,
    Json,
    Memory,
    Origin,
    Scope,
    Source,
    Struct,
    Turn,
    Usage,
)
from holdfast.trail import AuditRow


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
    shadow: bytes | None = None
    """The same in the shadow space, if there is one and its embedder is at hand."""
    epoch: int | None = None
    """Of the spaces the vectors belong to; SpaceSwitched is raised in another. None: those that
    the store was opened with."""
    sources: tuple[Source, ...] = ()
    """Turns it came from; unknown ones are passed over."""
    past: tuple[HistoryEvent, ...] | None = None
    """What its history is, in place of an ADD: that of a memory which comes from elsewhere. A
    duplicate leaves history as it is."""
    supersedes: tuple[str, ...] = ()
    """Memories that end where this one begins (`valid_from`, or else `event_at`), but not before
    they began themselves; unknown, ended and immutable ones, and this one itself, are passed over.

    One that ends gets `valid_to` and `superseded_by`, a version more, `updated_at` of this memory,
    a SUPERSEDE in its history with both texts, and gives up its identity: the same may become true
    again. The unlisted turns it came from end with it, not before they were said and without
    history, unless they are immutable or a listed memory that is current came from one of the same
    raw turns.
    """
    origin: Origin | None = None
    """What history tells of how the ADD, and each SUPERSEDE, came about."""


class EditMemory(Struct, frozen=True, kw_only=True):
    """Change a memory in place. Result: the new Memory, or None if unknown.

    `version` grows by one and `updated_at` becomes `at`; what is None stays. History gets an UPDATE
    with both texts if text, metadata or expiry is meant. Raises ConflictError if the memory is
    immutable, or `identity` belongs to another one.
    """

    memory_id: str
    at: float
    text: str | None = None
    hash: str | None = None
    identity: bytes | None = None
    terms: IndexTerms | None = None
    vector: bytes | None = None
    """Of the new text: with `text`, None means that there is no vector any more. Those of other
    spaces are taken away with the old text."""
    shadow: bytes | None = None
    """As in PutMemory, of the new text."""
    epoch: int | None = None
    """As in PutMemory."""
    metadata: Mapping[str, Json] | None = None
    """Keys to set; the others are kept."""
    expires_on: str | None = None
    set_expires: bool = False
    """Whether `expires_on` is meant (so that None clears)."""
    event_at: float | None = None
    listed: bool | None = None
    categories: tuple[str, ...] | None = None
    origin: Origin | None = None
    """What history tells of how the UPDATE came about."""


class RemoveMemories(Struct, frozen=True, kw_only=True):
    """Delete the memories that match, and what would still tell what they said.

    That is: their vectors and terms, the raw turns they came from, and the unlisted turns that came
    from these raw turns (with theirs in turn), the feedback on them, and exports that were made
    from them. Facts that came from the same raw turns stay. Each
    deleted memory gets a DELETE in its history, with its text. Result: the ids of those that
    matched, in order of insertion.
    """

    filter: Filter
    at: float
    erase_history: bool = False
    """Leave no text in the history of the deleted memories, this DELETE included.

    If the filter looks at entities only, then neither in that of memories deleted earlier whose
    entities satisfy it, and held adds (`directory.Held`) whose entities do are deleted.
    """
    limit: int | None = None
    """Delete at most so many of those that match, the first inserted first."""
    origin: Origin | None = None
    """What history tells of how each DELETE came about."""


class SetVectors(Struct, frozen=True, kw_only=True):
    """Fill in vectors that are missing. Result: None.

    Memories that are gone, or have got a vector (of a newer text, perhaps), are passed over.
    """

    vectors: tuple[tuple[str, bytes], ...]
    shadows: tuple[bytes | None, ...] = ()
    """As `shadow` of PutMemory, in the same order."""
    epoch: int | None = None
    """As in PutMemory."""


class FillSpace(Struct, frozen=True, kw_only=True):
    """Give memories vectors in a space that is not searched. Result: None.

    Memories that are gone, have one there, or whose text is not any more what it was computed from
    are passed over; so is everything if the space was given up.
    """

    space_no: int
    vectors: tuple[tuple[str, str, bytes], ...]
    """Id, hash of the text, and vector."""
    noted: bool = False
    """Whether an external index is being filled with them: the memories count as changed."""


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
    owner: str | None
    """None ends a job that nobody took; ConflictError unless it is PENDING."""
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
    key_id: str | None = None
    """The credential of whoever called, if it was one."""
    cost: Cost | None = None
    """None: no price is known of the model."""
    saved_nano_usd: int = 0
    """What its price would have been more by, had the provider not had a part of the input in its
    cache."""


class PutSpared(Struct, frozen=True, kw_only=True):
    """A row of the ledger of calls that were not made, for a cache knew the answer. Result: None.

    It belongs to no subject, and is no call.
    """

    model: str
    operation: str
    at: float
    calls: int
    tokens: int
    """Of input, about."""
    nano_usd: int | None = None
    """What they would have cost; None: no price is known of the model."""

    @property
    def scope(self) -> Scope:
        """Nobody's: what was known for one was asked by another."""
        return Scope()


class Hold(Struct, frozen=True, kw_only=True):
    """Room in one budget of one subject, for one period."""

    budget: str
    """Its id."""
    subject: str
    since: float
    """When the period began."""
    amount: int
    limit: int | None = None
    """The most that may be spent and held together; None: room is held in any case."""


class HoldBudget(Struct, frozen=True, kw_only=True):
    """Hold room in several budgets, each only once, for a call about to be made; all or none.

    Result: what each had spent and held before, in their order. If that and the amount are
    together more than the limit of any of them, nothing is held in any.
    """

    holds: tuple[Hold, ...]


class SettleBudget(Struct, frozen=True, kw_only=True):
    """What was held for a call is held no more, and what it took is spent. Result: None.

    Budgets that were removed meanwhile are passed over.
    """

    holds: tuple[Hold, ...]
    spent: tuple[int, ...]
    """Of each of them."""


class PutRows(Struct, frozen=True, kw_only=True):
    """Store new rows of the directory with what they tell of. Result: None.

    Raises ConflictError if one has the key, or another unique column, of a row that is there.
    """

    rows: tuple[Row, ...]


class TakeRow(Struct, frozen=True, kw_only=True):
    """Delete a row of the directory that is being used up by the rest of the commit. Result: None.

    Raises NotFoundError if there is none with this id in the project: of two who take it, one does.
    """

    kind: type[Row]
    id: str


class PutAudit(Struct, frozen=True, kw_only=True):
    """Put rows of the project behind the end of its chain (`core.audit`). Result: None.

    They stand behind each other in the order of the transaction's end, whatever else it does. Ids
    of those they are about are stored as marks (`core.audit.masked`, by the key "store"). A row
    whose `count` is None gets the number of memories that the other operations of the commit put,
    edited or removed. Raises ValidationError for a row of another project.
    """

    rows: tuple[AuditRow, ...]


class Reset(Struct, frozen=True, kw_only=True):
    """Delete everything the project remembers: memories, turns, history, jobs, usage, the
    feedback, exports and deliveries about them, and what is held. Who may use the project, and the
    audit, stay. Result: None."""


Op = (
    PutTurns | PutMemory | EditMemory | RemoveMemories | SetVectors
    | FillSpace | PutJob | FinishJob | PutUsage | PutSpared | HoldBudget | SettleBudget
    | PutRows | TakeRow | PutAudit | Reset
)  # fmt: skip
