"""Groups the records of an export into adds that can be repeated without harm. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from holdfast.core.transcripts import Record
from holdfast.errors import ValidationError
from holdfast.limits import MESSAGES_PER_ADD_MAX
from holdfast.model import Scope

BATCH_RECORDS = min(256, MESSAGES_PER_ADD_MAX)
"""Records in one add."""

BATCH_CHARS = 1_048_576
"""Characters after which an add is closed; one record may exceed them alone."""


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """Consecutive records that one `add` can take: same identities, same metadata."""

    records: tuple[Record, ...]
    scope: Scope
    key: str
    """Idempotency key: the same records in the same place give the same key."""

    @property
    def dated(self) -> bool:
        """Whether every record says when it was said."""
        return all(record.at is not None for record in self.records)

    def arguments(self) -> dict[str, Any]:
        """The arguments of `Memory.add` for this batch, its key left out."""
        first = self.records[0]
        return {
            "messages": [_message(record) for record in self.records],
            "user_id": self.scope.user_id,
            "agent_id": self.scope.agent_id,
            "app_id": self.scope.app_id,
            "run_id": self.scope.run_id,
            "metadata": None if first.metadata is None else dict(first.metadata),
            "categories": list(first.categories) or None,
            "expiration_date": first.expires_on,
        }


def _message(record: Record) -> dict[str, Any]:
    message: dict[str, Any] = {"role": record.role, "content": record.text}
    if record.name is not None:
        message["name"] = record.name
    if record.at is not None:
        message["timestamp"] = record.at
    return message


def batches(records: Iterable[Record], fill: Scope | None = None) -> Iterator[Batch]:
    """Groups consecutive records that belong together, in their order.

    Args:
        records: of one file.
        fill: identities for records that do not name them; never replaces what a record names.

    Raises:
        ValidationError: a record names no identity, and `fill` has none either.
    """
    fill = fill or Scope()
    group: list[Record] = []
    chars = 0
    seen: dict[str, int] = {}
    for record in records:
        if group and not (_together(group[-1], record) and _room(group, chars, record)):
            yield _batch(group, fill, seen)
            group, chars = [], 0
        group.append(record)
        chars += len(record.text)
    if group:
        yield _batch(group, fill, seen)


def _together(one: Record, other: Record) -> bool:
    return (
        one.scope == other.scope
        and one.metadata == other.metadata
        and one.categories == other.categories
        and one.expires_on == other.expires_on
        and (one.at is None) == (other.at is None)
    )


def _room(group: list[Record], chars: int, record: Record) -> bool:
    return len(group) < BATCH_RECORDS and chars + len(record.text) <= BATCH_CHARS


def _batch(group: list[Record], fill: Scope, seen: dict[str, int]) -> Batch:
    """Closes a group; equal groups of one file get different keys by their count in `seen`."""
    scope = filled(group[0].scope, fill)
    if not scope.entities():
        raise ValidationError(
            "these records do not say whose memories they are.",
            hint="Say it with --user (or --agent, --app, --run).",
        )
    content = msgspec.json.encode(([_identity(record) for record in group], scope))
    digest = hashlib.sha256(content).hexdigest()
    place = seen[digest] = seen.get(digest, 0) + 1
    return Batch(records=tuple(group), scope=scope, key=f"import:{digest}:{place}")


def _identity(record: Record) -> tuple[object, ...]:
    return (
        record.text,
        record.role,
        record.name,
        record.at,
        record.metadata,
        record.categories,
        record.expires_on,
    )


def filled(scope: Scope, fill: Scope) -> Scope:
    """`scope` with the identities it does not name taken from `fill`."""
    return Scope(
        user_id=scope.user_id or fill.user_id,
        agent_id=scope.agent_id or fill.agent_id,
        app_id=scope.app_id or fill.app_id,
        run_id=scope.run_id or fill.run_id,
    )
