"""The vocabulary of the audit: what was done, by whom, on whose memories, with what outcome.

Rows are linked to a chain of each project's own (`core.audit`), and hold no content: no text of a
memory or a question, no metadata. Times are epoch seconds, UTC.
"""

from __future__ import annotations

from typing import Literal

from holdfast.directory import Row
from holdfast.model import Struct

Outcome = Literal["ok", "begun", "denied", "failed"]
OUTCOMES: tuple[Outcome, ...] = ("ok", "begun", "denied", "failed")
SORTS = ("read", "write", "admin")

Key = Literal["store", "sealed"]
"""What a row is keyed with: a secret of the store, or one that the keyring keeps."""


class AuditRow(Row, frozen=True, kw_only=True):
    """One act. The store numbers and links it: the last five fields are its own."""

    table = "audit"
    key = ("project", "no")
    stamped = False

    project: str
    at: float
    action: str
    """The verb or operation, by its name."""
    sort: str
    """read, write or admin."""
    outcome: str
    code: str | None = None
    """Of the error, if it was denied or failed."""
    principal: str
    """Who; empty where no credential told."""
    principal_kind: str
    via: str
    """library, cli, http, mcp or worker."""
    address: str = ""
    """From where, if it came over a network."""
    request_id: str = ""
    user_id: str | None = None
    """Whose memories; "*" stands for any of the kind. The same for the other kinds."""
    agent_id: str | None = None
    app_id: str | None = None
    run_id: str | None = None
    target: str | None = None
    """The id of what it was done to: a memory, an event, a key, a webhook."""
    count: int | None = None
    """How many were found or changed, or how often the same was denied."""
    no: int = 0
    """Gapless in the project, from 1."""
    keyed: str = ""
    previous: str = ""
    """The hash of the row before."""
    hash: str = ""


class Head(Struct, frozen=True, kw_only=True):
    """Where a project's chain begins and ends."""

    project: str
    no: int
    """Of the last row; 0 before the first."""
    hash: str
    base_no: int = 0
    """Of the last row that was pruned."""
    base_hash: str = ""
    keyed: str = ""
    mac: str = ""
    """Of all this, keyed as the rows are."""


class Anchor(Struct, frozen=True):
    """A row that was noted elsewhere: whoever rewrote the chain since does not have it."""

    project: str
    no: int
    hash: str


FaultKind = Literal["changed", "removed", "swapped", "inserted", "head", "anchor", "key"]


class Fault(Struct, frozen=True, kw_only=True):
    """The first thing that is wrong with a chain."""

    project: str
    no: int
    """Of the row."""
    kind: FaultKind
    """changed, removed, swapped, inserted: what became of the row; head: of the end of the chain;
    anchor: the chain is another one than was noted; key: it is not keyed with the keyring's."""
    told: str
    """The same for people."""


class Verdict(Struct, frozen=True, kw_only=True):
    """What came of looking through the chain of a project."""

    project: str
    rows: int
    """Rows that were looked at."""
    first_no: int
    last_no: int
    last_hash: str
    keyed: str
    """What the end of the chain is keyed with; empty for a chain without rows."""
    fault: Fault | None = None

    @property
    def is_good(self) -> bool:
        """Whether nothing is wrong."""
        return self.fault is None
