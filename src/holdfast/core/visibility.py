"""Which memories a view shows: current or as of a moment, not expired."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from holdfast.model import Memory
from holdfast.ports import View


def expiry_instant(expires_on: str | None) -> float | None:
    """The moment a memory is gone: the end of its last day, UTC, in epoch seconds."""
    if expires_on is None:
        return None
    end = date.fromisoformat(expires_on) + timedelta(days=1)
    return datetime(end.year, end.month, end.day, tzinfo=UTC).timestamp()


def visible(memory: Memory, view: View) -> bool:
    """The reference definition; SQL and array forms are tested against it."""
    if view.listed_only and not memory.listed:
        return False
    if view.as_of is not None and not _begun_by(memory, view.as_of):
        return False
    if not view.show_superseded and _ended(memory, view.as_of):
        return False
    if view.show_expired:
        return True
    gone = expiry_instant(memory.expires_on)
    return gone is None or (view.now if view.as_of is None else view.as_of) < gone


def _begun_by(memory: Memory, moment: float) -> bool:
    return memory.event_at <= moment and (memory.valid_from is None or memory.valid_from <= moment)


def _ended(memory: Memory, moment: float | None) -> bool:
    """Whether something else was true by then; by now, for None."""
    if memory.valid_to is None:
        return False
    return moment is None or memory.valid_to <= moment
