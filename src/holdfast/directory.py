"""The vocabulary of a deployment: who may use it, and what was set up for them.

Rows of the directory, which `ports.Directory` keeps. Times are epoch seconds, UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from holdfast.model import EntityKind, Json, Scope, Struct, Trust

Permission = Literal["read", "write", "admin"]
PERMISSIONS: tuple[Permission, ...] = ("read", "write", "admin")

Role = Literal["READER", "OWNER"]
"""READER reads; OWNER does everything."""

ExportState = Literal["PENDING", "SUCCEEDED", "FAILED"]
DeliveryState = Literal["PENDING", "DELIVERED", "FAILED"]
ErasureState = Literal["RUNNING", "DONE", "FAILED"]
"""RUNNING: not at its end yet, whether or not somebody works at it; FAILED: something was left."""

BudgetKind = Literal["project", "user", "key"]
"""Whose calls a budget is for."""
BudgetPeriod = Literal["day", "month"]
"""Of UTC, as providers' bills are."""
BudgetUnit = Literal["usd", "tokens"]
AtLimit = Literal["warn", "degrade", "block"]
"""What happens to a call that a budget has no room for: warn makes it all the same, degrade does
without it where that is possible, block refuses what needs it."""


class Row(Struct, frozen=True, kw_only=True):
    """Base of the rows: each kind has a table, and columns named like its fields."""

    table: ClassVar[str]
    key: ClassVar[tuple[str, ...]] = ("id",)
    """The columns that tell rows of this kind apart."""
    stamped: ClassVar[bool] = True
    """Whether the directory's stamp tells of changes: those that decide who may do what."""


class ProjectInfo(Row, frozen=True, kw_only=True):
    """A project: a tenant, whose memories no other one sees."""

    table = "projects"

    id: str
    name: str
    description: str | None = None
    settings: Mapping[str, Json] = {}
    """What was set for it: `custom_instructions`, `custom_categories` and the like."""
    created_at: float
    updated_at: float


class ApiKey(Row, frozen=True, kw_only=True):
    """A credential of a project; what the caller shows is stored nowhere."""

    table = "api_keys"

    id: str
    """The public half of the key, by which it is found."""
    project: str
    label: str
    digest: str
    """SHA-256 of the secret half, hex."""
    permissions: tuple[Permission, ...]
    users: tuple[str, ...] | None = None
    """Only memories of these users, if set; the same for the other kinds."""
    agents: tuple[str, ...] | None = None
    apps: tuple[str, ...] | None = None
    runs: tuple[str, ...] | None = None
    account: str | None = None
    """The account that made it for itself, if one did."""
    created_at: float
    expires_at: float | None = None
    revoked_at: float | None = None
    retires_at: float | None = None
    """When it ends because it was changed for a new one."""
    trust: Trust | None = None
    """untrusted: all that is added with it is held; None: it is trusted."""

    @property
    def ends_at(self) -> float | None:
        """From when on it is refused, if nobody revokes it before."""
        ends = [at for at in (self.expires_at, self.retires_at) if at is not None]
        return min(ends, default=None)


class KeyUse(Row, frozen=True, kw_only=True):
    """When a key was used last, to within some minutes."""

    table = "key_uses"
    stamped = False

    id: str
    """Of the key."""
    project: str
    at: float


class Account(Row, frozen=True, kw_only=True):
    """A person who signs in with a password."""

    table = "accounts"

    id: str
    email: str
    name: str
    password: str
    """A salted scrypt digest, with its parameters."""
    role: Literal["admin", "user"]
    onboarded: bool = False
    created_at: float
    updated_at: float


class Session(Row, frozen=True, kw_only=True):
    """A refresh token that was given out and not used yet."""

    table = "sessions"

    id: str
    account: str
    created_at: float
    expires_at: float


class Member(Row, frozen=True, kw_only=True):
    """A person who has a role in a project."""

    table = "members"
    key = ("project", "email")

    project: str
    email: str
    role: Role
    created_at: float


class Webhook(Row, frozen=True, kw_only=True):
    """An address that is told of a project's changes."""

    table = "webhooks"
    stamped = False

    id: str
    project: str
    name: str
    url: str
    event_types: tuple[str, ...]
    secret: str
    """Signs what is sent."""
    is_active: bool = True
    fed: int
    """The number of the last change of history that deliveries were made of."""
    created_at: float
    updated_at: float
    old_secret: str | None = None
    """The secret before the last change, which signs too until `old_secret_until`."""
    old_secret_until: float | None = None

    def __repr__(self) -> str:
        return f"Webhook(id={self.id!r}, project={self.project!r}, secret=***)"


class Delivery(Row, frozen=True, kw_only=True):
    """One message to a webhook: what happened to what. It holds no text of a memory.

    The text is looked up when it is sent, so that nothing is left here of what was deleted.
    """

    table = "deliveries"
    stamped = False

    id: str
    project: str
    webhook: str
    event: str
    """Its type, one of `core.webhooks.EVENT_TYPES`."""
    body: Mapping[str, Json]
    """What is sent, texts aside."""
    change_no: int | None = None
    """The number of the change of a memory that it tells of, if it does."""
    state: DeliveryState = "PENDING"
    attempts: int = 0
    run_after: float
    answer: int | None = None
    """Status code of the last answer."""
    error: str | None = None
    created_at: float
    completed_at: float | None = None


class Feedback(Row, frozen=True, kw_only=True):
    """What somebody thought of a memory."""

    table = "feedback"
    stamped = False
    key = ("project", "memory_id")

    project: str
    memory_id: str
    id: str
    feedback: str | None
    reason: str | None = None
    at: float


class Export(Row, frozen=True, kw_only=True):
    """A request for memories in a form of the caller's own, and what came of it.

    It goes when one of the memories it tells of is deleted.
    """

    table = "exports"
    stamped = False

    id: str
    project: str
    request: Mapping[str, Json]
    state: ExportState
    result: Json = None
    memories: tuple[str, ...] = ()
    """The ids of those that the result was made from."""
    error: str | None = None
    created_at: float
    completed_at: float | None = None


class Held(Row, frozen=True, kw_only=True):
    """The untrusted turns of an add, which are no memories until somebody approves them.

    It goes when it is approved, in the transaction that stores its turns, or when it is rejected.
    """

    table = "held"
    stamped = False

    id: str
    project: str
    user_id: str | None = None
    agent_id: str | None = None
    app_id: str | None = None
    run_id: str | None = None
    messages: tuple[Mapping[str, Json], ...]
    """`role`, `text`, `actor_id`, `at` (epoch seconds) and `reasons` of each."""
    request: Mapping[str, Json]
    """What else the add was given, as `metadata` and `infer`."""
    principal: str
    """Who added it, as the audit names them."""
    principal_kind: str
    via: str
    created_at: float

    @property
    def scope(self) -> Scope:
        """Whose memories it would become."""
        return Scope(
            user_id=self.user_id, agent_id=self.agent_id, app_id=self.app_id, run_id=self.run_id
        )


class ShardMap(Row, frozen=True, kw_only=True):
    """Where the memories of a sharded index are."""

    table = "shard_maps"
    stamped = False
    key = ("collection",)

    collection: str
    version: int
    value: str


class Erasure(Row, frozen=True, kw_only=True):
    """That a subject was, or is being, erased. Who it was is known only until it is done."""

    table = "erasures"
    stamped = False

    id: str
    project: str
    kind: EntityKind
    mark: str
    """A keyed hash of the subject (`core.erasure.mark_of`): by it the subject is known again."""
    subject: str | None = None
    """Its id; None once it is erased."""
    state: ErasureState
    found: Mapping[str, int] = {}
    """Rows of each copy that there were when it began."""
    remains: Mapping[str, int] = {}
    """What the verification found; empty if nothing was left."""
    receipt: Json = None
    """What was handed out, once it is done."""
    started_at: float
    completed_at: float | None = None


class SigningKey(Row, frozen=True, kw_only=True):
    """What receipts are signed with."""

    table = "signing_keys"
    stamped = False

    id: str
    project: str
    """The one of the configuration: whose key seals the secret, where texts are sealed."""
    algorithm: str
    """One of `core.signing.ALGORITHMS`."""
    secret: str
    """base64."""
    public: str | None
    """base64; None where whoever verifies needs the secret."""
    created_at: float

    def __repr__(self) -> str:
        return f"SigningKey(id={self.id!r}, algorithm={self.algorithm!r}, secret=***)"


class Budget(Row, frozen=True, kw_only=True):
    """How much model calls may take in a day or month."""

    table = "budgets"
    key = ("project", "kind", "subject", "period", "unit")

    id: str
    project: str
    kind: BudgetKind
    subject: str
    """Id of the user or key; "*": each of them, by itself; "" of the project."""
    period: BudgetPeriod
    unit: BudgetUnit
    amount: int
    """Tokens, or billionths of a US dollar."""
    at_limit: AtLimit
    created_at: float
    updated_at: float


class Spending(Row, frozen=True, kw_only=True):
    """What somebody has spent of a budget in one period."""

    table = "budget_periods"
    stamped = False
    key = ("project", "budget", "subject", "since")

    project: str
    budget: str
    """Its id."""
    subject: str
    since: float
    """When the period began."""
    spent: int = 0
    held: int = 0
    """Reserved for calls that have not told yet what they took, or never will: their process
    died."""


KINDS: tuple[type[Row], ...] = (
    ProjectInfo, ApiKey, KeyUse, Account, Session, Member, Webhook, Delivery, Feedback, Export,
    ShardMap, Budget, Spending, Erasure, SigningKey, Held,
)  # fmt: skip


class Where(Struct, frozen=True):
    """One condition on a row: a field, how it is compared, and with what."""

    field: str
    value: Json
    op: Literal["eq", "lte", "gt", "in"] = "eq"
    """`eq` None: is not set. `in` takes a tuple."""


class Change(Struct, frozen=True, kw_only=True):
    """A change of a memory as the feed tells it."""

    no: int
    """Grows with every change of any project."""
    project: str
    memory_id: str
    event: Literal["ADD", "UPDATE", "DELETE", "SUPERSEDE"]
    text: str | None
    """What it says since then; None where nothing is left of it."""
    categories: tuple[str, ...] = ()
    listed: bool = True
