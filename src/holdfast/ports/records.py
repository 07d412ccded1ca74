"""The system of record, and the questions it answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from holdfast.filters import Filter
from holdfast.model import (
    Census,
    Entity,
    EntityKind,
    EntitySummary,
    HistoryEvent,
    IndexTerms,
    Json,
    Memory,
    Page,
    Project,
    Source,
    Space,
    Struct,
    Turn,
)
from holdfast.ports.operations import Op
from holdfast.ports.usage import UsageQuery, UsageSum

if TYPE_CHECKING:
    from holdfast.core.view import Entry


class View(Struct, frozen=True, kw_only=True):
    """Which memories are looked at: the current truth, unless told otherwise.

    `core.visibility.visible` defines it.
    """

    now: float
    as_of: float | None = None
    """What was true at this moment; None: what is true now."""
    show_expired: bool = False
    show_superseded: bool = False
    """What is not true any more as well, because something newer took its place."""
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
    epoch: int = 0
    """Of the embedding spaces (`ports.spaces`): vectors of another are not compared with these."""


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
    epoch: int = 0
    """Of the spaces the vectors belong to, which are those of the active one."""
    dimensions: int | None = None
    """Length of its vectors, where there may be another space one day."""


Analyse = Callable[[str, str | None, str | None], IndexTerms]
"""The index terms of a text, its actor and role."""


class Records(Protocol):
    """The system of record: durable, transactional, isolated by project."""

    @property
    def store_id(self) -> str:
        """Chosen by chance when the store was made, the same for every process that opens it, and
        kept from callers. ClosedError before `open`."""

    @property
    def subjects_id(self) -> str:
        """Keys the marks of subjects (`core.erasure.mark_of`). As `store_id`, but a store that is
        restored from a backup has that of the one the backup was made of."""

    async def open(self, space: Space, key_mark: int = 0, before: Space | None = None) -> None:
        """Create or migrate the store, and check that it holds vectors of `space`. Idempotent.

        It may hold those of `before` as well: the embedder is being changed then. A store without
        vectors takes to any space. `key_mark` tells content keys apart
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

    async def sources(self, project: Project, memory_id: str) -> list[Source]:
        """The raw turns a memory came from that exist, in the order in which they were stored.

        Of each the words that were quoted when it was named first. Empty for an unknown memory.
        """

    async def page(self, project: Project, listing: Listing) -> Page:
        """One page; `total` counts all that match, exactly, whatever the page.

        A cursor stays good while others write: following it, what is there all the time comes once.
        It tells its holder nothing, and is none in another project: ValidationError.
        """

    async def history(self, project: Project, memory_id: str) -> list[HistoryEvent]:
        """Every change of one memory, oldest first; of a deleted one too; empty if never there.

        `created_at` is the memory's, `updated_at` when the change was made, None for ADD.
        """

    async def entities(
        self, project: Project, offset: int, size: int
    ) -> tuple[list[EntitySummary], Mapping[EntityKind, int]]:
        """Entities that have memories, ordered by kind and id, and how many of each kind there are
        in all; kinds of which there is none are left out.

        Each counts its listed memories that have not ended. `created_at` is the time of the first
        commit that wrote to the entity, `updated_at` the latest; the time of a commit is the
        greatest its memory operations name (`updated_at` of a PutMemory, else `at`).
        """

    async def state(self, project: Project, entity: Entity) -> EntityState:
        """The entity's generation and size: one look-up, asked before every search.

        For the id "*": the greatest generation and the sum of all entities of the kind. As new as
        the last commit, through any process, that returned before the call.
        """

    async def delta(
        self, project: Project, entity: Entity, since: int | None, epoch: int | None = None
    ) -> Delta:
        """The entity's index entries, incremental where `since` is recent enough, else complete.

        `epoch` is that of the vectors that are known as of `since`: in another one the answer is
        complete. None if no vectors are.

        `since` is a generation that the entity, or anything else of the project, had, or None for
        a complete answer; "*" as id means all of the kind.
        """

    async def usage(self, project: Project | None, query: UsageQuery) -> list[UsageSum]:
        """Sums over the ledger of a project, or for None of all, in no order.

        Groups without a call are left out; without `by` there is one group, be it of no calls.
        Costs a scan of the ledger's rows of that time.
        """

    async def stats(self, project: Project) -> Mapping[str, Json]:
        """Counts and sizes for people.

        memories (listed, not ended), superseded (ended), turns, vectors, history_events, entities
        with memories by kind, jobs by state (kinds and states without any are left out), bytes;
        row_level_security, False, where the database has it and does not keep it for this user.
        """

    async def census(self, at: float) -> Census:
        """Counts over all projects at this time. Costs a scan; ask seldom."""
