"""Where a store keeps what it knows of a subject, and what becomes of each copy when it is erased.

One list, as data: `engine.forget` works it off, the inventory and the receipt name its entries, and
a test compares it with every table and every column of the schema. A table that is not placed here
fails it.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal

import msgspec

from holdfast.clock import iso
from holdfast.directory import Erasure
from holdfast.errors import ConflictError, ValidationError
from holdfast.model import ENTITY_KINDS, Entity, Json, Scope, Struct

Fate = Literal["erased", "anonymised", "kept", "none"]
"""erased: the rows go; anonymised: they stay, and tell no more whose they are; kept: with the
reason; none: nothing of a subject is in it."""


class Place(Struct, frozen=True, kw_only=True):
    """A table, what of a subject is in it, and what becomes of that."""

    fate: Fate
    why: str
    personal: tuple[str, ...] = ()
    """Columns in which a subject's words, vectors or ids may stand."""
    plain: tuple[str, ...] = ()
    """Columns of text or bytes in which they never do."""


_IDS: Final = ("user_id", "agent_id", "app_id", "run_id")

PLACES: Final[Mapping[str, Place]] = {
    "memories": Place(
        fate="erased",
        why="what is remembered, with the index terms of its words",
        personal=(
            "text", "hash", "identity", *_IDS, "actor_id", "metadata", "categories", "terms",
        ),
        plain=("id", "project", "kind", "role", "superseded_by", "expires_on"),
    ),
    "embeddings": Place(fate="erased", why="vectors of the memories", personal=("vector",)),
    "sources": Place(fate="erased", why="quoted words of turns", personal=("quote",)),
    "messages": Place(
        fate="erased",
        why="raw turns, those without a memory too",
        personal=(*_IDS, "actor_id", "text"),
        plain=("id", "project", "role"),
    ),
    "held": Place(
        fate="erased",
        why="turns of untrusted sources that nobody approved yet",
        personal=("messages", "request", *_IDS),
        plain=("id", "project", "principal", "principal_kind", "via"),
    ),
    "history": Place(
        fate="erased",
        why="every change of the memories, those deleted before too",
        personal=("old_memory", "new_memory", "actor_id", *_IDS),
        plain=("id", "project", "memory_id", "event", "role", "origin"),
    ),
    "jobs": Place(
        fate="erased",
        why="the turns a model is asked about, and what came of it",
        personal=(
            "scope_key", "payload", "idempotency_key", "fingerprint", "result", "error",
        ),
        plain=("id", "project", "kind", "state", "lease_owner", "error_code"),
    ),
    "usage": Place(
        fate="anonymised",
        why="what model calls took; the amounts stay, for they are paid for",
        personal=(*_IDS, "job_id"),
        plain=("project", "operation", "model", "key_id", "price_version"),
    ),
    "entities": Place(
        fate="anonymised",
        why="that there is such a subject; its number stays, which indexes are fed by",
        personal=("id",),
        plain=("project", "kind"),
    ),
    "subject_keys": Place(
        fate="anonymised",
        why="the keys its texts are sealed with, destroyed; that there were some stays",
        personal=("id", "wrapped"),
        plain=("project", "kind", "key_id"),
    ),
    "feedback": Place(
        fate="erased",
        why="what was thought of the memories",
        personal=("reason", "feedback"),
        plain=("id", "project", "memory_id"),
    ),
    "exports": Place(
        fate="erased",
        why="those made from the memories, and those that name the subject",
        personal=("request", "result", "memories", "error"),
        plain=("id", "project", "state"),
    ),
    "deliveries": Place(
        fate="erased",
        why="the queue of webhooks; that memories are deleted is still told, by their ids",
        personal=("body", "error"),
        plain=("id", "project", "webhook", "event", "state"),
    ),
    "api_keys": Place(
        fate="erased",
        why="keys that see this subject only; others stop seeing it",
        personal=("users", "agents", "apps", "runs"),
        plain=("id", "project", "label", "digest", "permissions", "account", "trust"),
    ),
    "budgets": Place(
        fate="erased",
        why="those that bound this user only",
        personal=("subject",),
        plain=("id", "project", "kind", "period", "unit", "at_limit"),
    ),
    "budget_periods": Place(
        fate="erased",
        why="what was spent for this user",
        personal=("subject",),
        plain=("project", "budget"),
    ),
    "key_uses": Place(fate="erased", why="with their keys", plain=("id", "project")),
    "outbox": Place(
        fate="kept",
        why="ids of memories that are gone, which external indexes are fed by; pruned with time",
        plain=("memory_id",),
    ),
    "erasures": Place(
        fate="anonymised",
        why="that a subject was erased, by a keyed hash of it",
        personal=("subject",),
        plain=("id", "project", "kind", "mark", "state", "found", "remains", "receipt"),
    ),
    "audit": Place(
        fate="kept",
        why="who did what; a subject stands there as a keyed mark, which names nobody",
        plain=(
            "project", "action", "sort", "outcome", "code", "principal", "principal_kind", "via",
            "address", "request_id", *_IDS, "target", "keyed", "previous", "hash",
        ),
    ),
    "audit_heads": Place(
        fate="none",
        why="the ends of its chains",
        plain=("project", "hash", "base_hash", "keyed", "mac"),
    ),
    "accounts": Place(
        fate="kept",
        why="people who run the deployment, not whom memories are about",
        plain=("id", "email", "name", "password", "role"),
    ),
    "sessions": Place(fate="kept", why="as accounts", plain=("id", "account")),
    "members": Place(fate="kept", why="as accounts", plain=("project", "email", "role")),
    "projects": Place(
        fate="none",
        why="names and settings of tenants",
        plain=("id", "name", "description", "settings"),
    ),
    "webhooks": Place(
        fate="none",
        why="addresses of programs",
        plain=("id", "project", "name", "url", "event_types", "secret", "old_secret"),
    ),
    "signing_keys": Place(
        fate="none",
        why="what receipts are signed with",
        plain=("id", "project", "algorithm", "secret", "public"),
    ),
    "shard_maps": Place(
        fate="kept",
        why="users that the configuration pins to a shard: take them out of it there",
        plain=("collection", "value"),
    ),
    "spaces": Place(
        fate="none", why="names of embedders", plain=("provider", "model", "status")
    ),
    "counters": Place(fate="none", why="numbers", plain=("name",)),
}  # fmt: skip

BESIDE: Final[Mapping[str, str]] = {
    "index": "points of an external index",
    "cache": "answers and vectors that are kept for a while, emptied as a whole",
    "backups": "the subject's keys beside the archives, and a note that nothing of it comes back",
}
"""Copies that are in no table of the records."""

TABLES: Final = tuple(
    name for name, place in PLACES.items() if place.fate in ("erased", "anonymised")
)
"""The tables that an erasure changes."""

COPIES: Final = (*TABLES, *BESIDE)
"""What an inventory counts, by name."""


def mark_of(subjects_id: str, project: str, entity: Entity) -> str:
    """By what an erased subject is known again without being named: 32 hex digits.

    Keyed with the `subjects_id` of the records: whoever has the store can try names, others cannot.
    """
    said = msgspec.json.encode([project, entity.kind, entity.id])
    return hmac.new(subjects_id.encode(), said, hashlib.sha256).hexdigest()[:32]


def subject_entity(scope: Scope) -> Entity:
    """The one subject that a caller named. Raises ValidationError for none, and for several."""
    named = scope.entities()
    if len(named) != 1:
        raise ValidationError(
            "Exactly one of user_id, agent_id, app_id and run_id says whom to erase or to export.",
            hint="What a user shares with an agent is the user's, and the agent's: ask for one.",
        )
    return named[0]


def refused(entity: Entity) -> ConflictError:
    """The error for a write that comes while its subject is being erased."""
    return ConflictError(
        f"This {entity.kind} is being erased; nothing was stored.",
        hint="Write again when that is done: who comes back is new.",
    )


def names(scope_key: str, entity: Entity) -> bool:
    """Whether the scope of a job, as text, names the subject."""
    try:
        ids = msgspec.json.decode(scope_key)
    except msgspec.DecodeError:  # a scope of another kind, as exports have
        return False
    place = ENTITY_KINDS.index(entity.kind)
    return isinstance(ids, list) and len(ids) == len(ENTITY_KINDS) and ids[place] == entity.id


def mentions(value: Json, text: str) -> bool:
    """Whether a JSON value holds this very text anywhere, keys included."""
    return any(found == text for found in _texts(value))


def _texts(value: Json) -> Iterator[str]:
    match value:
        case str():
            yield value
        case Mapping():
            for key, one in value.items():
                yield str(key)
                yield from _texts(one)
        case list() | tuple():
            for one in value:
                yield from _texts(one)


def unfenced(ids: Sequence[str] | None, id_: str) -> tuple[str, ...] | None:
    """The ids a key may see without this one; None where that is nobody: it must go then.

    Never the None of a key that sees everybody.
    """
    return tuple(one for one in ids or () if one != id_) or None


def erasure_shape(erasure: Erasure) -> dict[str, Json]:
    """An erasure as it is shown; whom it is of is not."""
    return {
        "id": erasure.id,
        "project": erasure.project,
        "kind": erasure.kind,
        "state": erasure.state,
        "found": dict(erasure.found),
        "remains": dict(erasure.remains),
        "started_at": iso(erasure.started_at),
        "completed_at": iso(erasure.completed_at),
        "receipt": erasure.receipt,
    }


RECEIPT_FORM: Final = 1
"""Version of what a receipt holds."""


def receipt_text(receipt: Mapping[str, Json]) -> bytes:
    """What is signed of a receipt: its JSON, keys in order, without the signature."""
    body = {name: value for name, value in receipt.items() if name != "signature"}
    return msgspec.json.encode(body, order="sorted")
