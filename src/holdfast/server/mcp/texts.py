"""What tools answer as text: short, for whoever reads it pays for each word."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_VERBS = {"ADD": "Remembered", "UPDATE": "Updated", "NONE": "Known already", "HELD": "Held"}


def memory_line(memory: Mapping[str, Any]) -> str:
    """One memory on a line: id, when it was said, text, and how well it matches."""
    score = memory.get("score")
    told = f" (score {score:.2f})" if isinstance(score, float) else ""
    day = str(memory.get("event_at") or memory.get("created_at") or "")[:10]
    return f"[{memory['id']}] {day}: {memory['memory']}{told}"


def found(answer: Mapping[str, Any]) -> str:
    """The memories a search found."""
    lines = [memory_line(one) for one in answer["results"]] or ["Nothing is remembered about this."]
    if answer.get("degraded"):
        lines.append(f"(Without {', '.join(answer['degraded'])}: some may be missing.)")
    return "\n".join(lines)


def listed(answer: Mapping[str, Any]) -> str:
    """A page of memories, and how many there are."""
    lines = [memory_line(one) for one in answer["results"]]
    return "\n".join([f"{answer['total']} memories in all.", *lines])


def remembered(answer: Mapping[str, Any]) -> str:
    """What became of an add."""
    lines = [
        f"{_VERBS.get(one['event'], one['event'])}: {one.get('memory') or ''} [{one['id']}]"
        for one in answer["results"]
    ]
    status = answer.get("status", "SUCCEEDED")
    if status == "PENDING":
        away = f"; the {', '.join(answer['degraded'])} is away" if answer.get("degraded") else ""
        lines.append(f"Kept; its facts are being extracted (event {answer['event_id']}){away}.")
    elif status == "FAILED":
        lines.append(f"Kept word for word; its facts could not be extracted: {answer['error']}")
    return "\n".join(lines) or "Kept; there was nothing new in it."


def event_line(event: Mapping[str, Any]) -> str:
    """One event on a line."""
    error = f": {event['error']}" if event.get("error") else ""
    return f"[{event['id']}] {event['event_type']} {event['status']}{error}"
