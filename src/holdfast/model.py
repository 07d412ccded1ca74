"""The vocabulary: immutable values that travel between the layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, NewType

import msgspec

from holdfast.acts import Way

Project = NewType("Project", str)
"""Tenant. Comes from the credential, or an embedded store's configuration, never from a call."""

DEFAULT_PROJECT = Project("default")

EntityKind = Literal["user", "agent", "app", "run"]
ENTITY_KINDS: tuple[EntityKind, ...] = ("user", "agent", "app", "run")
ANY = "*"
"""Entity id that stands for every non-null id of its kind."""

Kind = Literal["fact", "turn", "summary"]
"""fact: extracted by a model; turn: kept verbatim; summary: procedural memory."""

Json = Any

Answer = dict[str, Json]
"""What a verb answers."""

OnProgress = Callable[[int, int], None]
"""Called as a long work goes on: how many are done, and of how many."""

When = Any
"""A time: ISO 8601 text, datetime, date, or Unix seconds."""

UNSET: Any = type("Unset", (), {"__repr__": lambda _: "UNSET"})()
"""Stands for "not given" where None has a meaning of its own."""


def unheard(_done: int, _total: int) -> None:
    """The `OnProgress` of work whose progress nobody asks for."""


class Struct(msgspec.Struct, frozen=True, gc=False):
    """Base of the values: immutable, compared by content. Most take their fields by name only."""


Trust = Literal["trusted", "untrusted"]
"""Whether a turn may become a memory at once, or is held until somebody approves it."""
TRUSTS: tuple[Trust, ...] = ("trusted", "untrusted")


class TrustPolicy(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """Which turns are held, by who spoke."""

    roles: Mapping[str, Trust] = {}
    """By the role of a message."""
    actors: Mapping[str, Trust] = {}
    """By the `name` of a message. Where both are named, the stricter holds."""
    default: Trust = "trusted"
    """Of turns whose role and actor are not named."""


class Entity(Struct, frozen=True):
    """Somebody or something memories belong to: ('user', 'alice')."""

    kind: EntityKind
    id: str


class Scope(Struct, frozen=True, kw_only=True):
    """The identities a memory is written with; at least one is set."""

    user_id: str | None = None
    agent_id: str | None = None
    app_id: str | None = None
    run_id: str | None = None

    def entities(self) -> tuple[Entity, ...]:
        """Every entity named, in the order of ENTITY_KINDS."""
        pairs = zip(
            ENTITY_KINDS, (self.user_id, self.agent_id, self.app_id, self.run_id), strict=True
        )
        return tuple(Entity(kind, name) for kind, name in pairs if name is not None)


class Turn(Struct, frozen=True, kw_only=True):
    """One message of a conversation, as it was said."""

    id: str
    role: str
    text: str
    actor_id: str | None = None
    event_at: float
    """When it was said, epoch seconds."""


class Memory(Struct, frozen=True, kw_only=True):
    """One memory, as callers see it. Times are epoch seconds, UTC."""

    id: str
    text: str
    hash: str
    """Keyed content hash, hex."""
    kind: Kind
    user_id: str | None = None
    agent_id: str | None = None
    app_id: str | None = None
    run_id: str | None = None
    actor_id: str | None = None
    role: str | None = None
    metadata: Mapping[str, Json] | None = None
    categories: tuple[str, ...] = ()
    listed: bool = True
    """False for raw turns that a model extracts, or has extracted, facts from."""
    immutable: bool = False
    """Never changes and never ends by another memory: it can only be deleted."""
    event_at: float
    valid_from: float | None = None
    valid_to: float | None = None
    superseded_by: str | None = None
    expires_on: str | None = None
    """Last day of validity, YYYY-MM-DD in UTC."""
    created_at: float
    updated_at: float
    version: int = 1

    @property
    def scope(self) -> Scope:
        """The identities this memory belongs to."""
        return Scope(
            user_id=self.user_id, agent_id=self.agent_id, app_id=self.app_id, run_id=self.run_id
        )


class IndexTerms(Struct, frozen=True, kw_only=True):
    """What the keyword side of an index needs of a text; see `core.text.analyze`."""

    terms: bytes = b""
    flags: int = 0
    words: int = 0
    speaker: int = 0


class Source(Struct, frozen=True, kw_only=True):
    """Where a memory comes from: a turn and the words of it that support the memory."""

    turn_id: str
    quote: str = ""


How = Literal["verbatim", "extracted", "summarised", "edited", "deleted", "retention"]
"""How a change came about. verbatim: kept as it was said; extracted, summarised: by a model, from
turns; edited, deleted: by a call; retention: by a rule."""


class Origin(Struct, frozen=True):
    """How a change came about, and who made it: names and versions, no content."""

    how: How
    principal: str = ""
    """Of whoever called, as the audit names them; of what a job made, of whoever ordered it."""
    principal_kind: str = ""
    via: str = ""
    """The face it came through: library, cli, http, mcp or worker."""
    model: str = ""
    """provider:model that wrote the text, if one did."""
    prompt: str = ""
    """Version of the system text it was told (`core.prompt.version_of`)."""
    way: Way = ""


class HistoryEvent(Struct, frozen=True, kw_only=True):
    """One change of one memory."""

    id: str
    memory_id: str
    event: Literal["ADD", "UPDATE", "DELETE", "SUPERSEDE"]
    old_memory: str | None
    new_memory: str | None
    created_at: float
    updated_at: float | None
    is_deleted: bool
    actor_id: str | None = None
    role: str | None = None
    user_id: str | None = None
    agent_id: str | None = None
    app_id: str | None = None
    run_id: str | None = None
    listed: bool = True
    """False for changes of raw turns that stand beside facts."""
    origin: Origin | None = None
    """None for changes of before this was kept."""
    restored: bool = False
    """Whether it was made in another store, and came here in a backup."""

    @property
    def scope(self) -> Scope:
        """Whose memory it was; empty for changes of long ago whose memory is gone."""
        return Scope(
            user_id=self.user_id, agent_id=self.agent_id, app_id=self.app_id, run_id=self.run_id
        )


class Space(Struct, frozen=True, kw_only=True):
    """An embedding space: vectors of different spaces are never compared."""

    provider: str
    model: str
    dimensions: int
    normalised: bool = True


JobState = Literal["PENDING", "RUNNING", "SUCCEEDED", "FAILED"]
JobKind = Literal["extract", "embed", "store", "export"]
"""extract: facts from turns; embed: vectors that are missing; store: done when accepted."""


class Job(Struct, frozen=True, kw_only=True):
    """Durable work: the extraction of an accepted add. Its id is the `event_id` of the add."""

    id: str
    project: Project
    kind: JobKind
    state: JobState
    scope_key: str
    payload: Mapping[str, Json]
    attempts: int = 0
    idempotency_key: str | None = None
    fingerprint: str | None = None
    result: Json = None
    error: str | None = None
    error_code: str | None = None
    run_after: float = 0.0
    created_at: float
    started_at: float | None = None
    completed_at: float | None = None


class Usage(Struct, frozen=True, kw_only=True):
    """Tokens one model call really took, from the provider's answer."""

    model: str
    """provider:model."""
    input_tokens: int = 0
    """All of them, those of the provider's cache too."""
    cached_tokens: int = 0
    """The part of the input that the provider had in its cache."""
    cache_write_tokens: int = 0
    """The part of the input that the provider put into its cache."""
    output_tokens: int = 0


class Spared(Usage, frozen=True, kw_only=True):
    """A call that was not made, for a cache knew the answer; about what it would have taken."""

    calls: int
    """1, or 0 of a call that was made for the rest of what was asked."""


class Cost(Struct, frozen=True, kw_only=True):
    """What a call cost, and by which price list."""

    nano_usd: int
    """Billionths of a US dollar: whole numbers, so that sums are exact."""
    version: str
    """Of the prices."""


class EntitySummary(Struct, frozen=True, kw_only=True):
    """An entity and how many current memories it has."""

    kind: EntityKind
    id: str
    memories: int
    created_at: float
    updated_at: float


class Census(Struct, frozen=True, kw_only=True):
    """What a whole store holds, all projects together."""

    memories: int
    """Listed, and not ended."""
    vectors: int
    users: int
    """Users with memories, counted in each project they are in."""
    jobs_waiting: int
    jobs_running: int
    jobs_failed: int
    held: int
    """Adds that wait for approval."""
    oldest_due_s: float
    """How long the longest-waiting job has been due, in seconds; 0 if none is."""


class Page(Struct, frozen=True, kw_only=True):
    """One page of a listing: memories, the exact count of all that match, and where to go on."""

    memories: tuple[Memory, ...]
    total: int
    cursor: str | None
    """Opaque; None on the last page."""
