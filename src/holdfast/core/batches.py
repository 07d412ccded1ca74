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


OPEN_GROUPS = 1_024
"""Groups of dated records that are gathered at a time."""

OPEN_CHARS = 16 * BATCH_CHARS
"""Characters in all of them together."""


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """Records that one `add` can take: same identities, same metadata."""

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
            **({"immutable": True} if first.immutable else {}),
        }


def _message(record: Record) -> dict[str, Any]:
    message: dict[str, Any] = {"role": record.role, "content": record.text}
    if record.name is not None:
        message["name"] = record.name
    if record.at is not None:
        message["timestamp"] = record.at
    return message


def batches(records: Iterable[Record], fill: Scope | None = None) -> Iterator[Batch]:
    """Groups records that belong together.

    Undated records keep the order of the file: the order of their adds is all that tells it. Dated
    ones are gathered from all over the file, for a file may alternate between many users.

    Args:
        records: of one file.
        fill: identities for records that do not name them; never replaces what a record names.

    Raises:
        ValidationError: a record names no identity, and `fill` has none either.
    """
    fill = fill or Scope()
    seen: dict[str, int] = {}
    for group in _groups(records):
        yield _batch(group, fill, seen)


def _groups(records: Iterable[Record]) -> Iterator[list[Record]]:
    """Records that one add can take together; the oldest group is closed first."""
    undated: list[Record] = []
    dated: dict[bytes, list[Record]] = {}
    held = 0  # characters in the open dated groups
    for record in records:
        if record.at is None:
            if undated and not (_bond(undated[0]) == _bond(record) and _room(undated, record)):
                yield undated
                undated = []
            undated.append(record)
            continue
        bond = _bond(record)
        if bond in dated and not _room(dated[bond], record):
            held -= _chars(dated[bond])
            yield dated.pop(bond)
        dated.setdefault(bond, []).append(record)
        held += len(record.text)
        while len(dated) > OPEN_GROUPS or (held > OPEN_CHARS and len(dated) > 1):
            oldest = dated.pop(next(iter(dated)))
            held -= _chars(oldest)
            yield oldest
    yield from dated.values()
    if undated:
        yield undated


def _bond(record: Record) -> bytes:
    """What the records of one add have in common."""
    common = (
        record.scope, record.metadata, record.categories, record.expires_on, record.immutable
    )  # fmt: skip
    return msgspec.json.encode(common)


def _room(group: list[Record], record: Record) -> bool:
    return len(group) < BATCH_RECORDS and _chars(group) + len(record.text) <= BATCH_CHARS


def _chars(group: list[Record]) -> int:
    return sum(len(record.text) for record in group)


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
        # left out where it is false: the keys of earlier imports stay what they were
        *(["immutable"] if record.immutable else []),
    )


def filled(scope: Scope, fill: Scope) -> Scope:
    """`scope` with the identities it does not name taken from `fill`."""
    return Scope(
        user_id=scope.user_id or fill.user_id,
        agent_id=scope.agent_id or fill.agent_id,
        app_id=scope.app_id or fill.app_id,
        run_id=scope.run_id or fill.run_id,
    )
