"""What the killer tells a victim to do, and what the victim tells back, line by line as JSON."""

from __future__ import annotations

from typing import Any

import msgspec


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """One call a victim is about to make for one user."""

    number: int
    user: str
    verb: str
    """add, update, delete or delete_all."""
    texts: tuple[str, ...] = ()
    metadata: dict[str, Any] | None = None
    key: str | None = None
    """The idempotency key of an add."""
    at: float | None = None
    memory_id: str | None = None


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """A victim's life: open the store, do random work for these users until killed."""

    path: str
    seed: int
    users: tuple[str, ...]
    calls_max: int
    """Calls for each user before the victim closes the store and ends by itself."""
    retries: tuple[Work, ...] = ()
    """Adds with a key that were under way at an earlier kill: to be done again, first."""
    small_checkpoints: bool = False
    """Move the log into the database every few pages, so that kills meet it."""
    fault: str | None = None
    """A planted fault of `tests.crash.faults`."""


class Said(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind"):
    """Base of what a victim says."""


class Opened(Said, frozen=True, kw_only=True, tag="opened"):
    """The store is open."""


class Begun(Said, frozen=True, kw_only=True, tag="begun"):
    """A call is about to be made."""

    work: Work


class Done(Said, frozen=True, kw_only=True, tag="done"):
    """The call has returned; `ids` are the memories an add answered with."""

    user: str
    number: int
    ids: tuple[str, ...] = ()


class Closing(Said, frozen=True, kw_only=True, tag="closing"):
    """The work is done; the store is about to be closed."""


class Broken(Said, frozen=True, kw_only=True, tag="broken"):
    """The victim found something wrong itself, or failed."""

    error: str


Message = Opened | Begun | Done | Closing | Broken

encode = msgspec.json.Encoder().encode
decode_order = msgspec.json.Decoder(Order).decode
decode_message = msgspec.json.Decoder(Message).decode
