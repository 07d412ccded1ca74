"""The log of a server: a line for each event on standard error, as text or JSON.

Nothing that somebody stored, asked or sent is in it. Faults of other people's libraries are told by
their kind and where they arose, without their message, for that may quote what they worked on.
"""

from __future__ import annotations

import json
import logging
import traceback
from datetime import UTC, datetime
from typing import Any, Literal

from holdfast.errors import HoldfastError

Format = Literal["text", "json"]
FORMATS: tuple[Format, ...] = ("text", "json")

_FRAMES_MAX = 12


def configure(form: str, level: int = logging.INFO) -> None:
    """Send everything of this process to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if form == "json" else Lines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("holdfast").setLevel(level)


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """What a line tells: time, level, logger, event, and what belongs to the event."""
    told: dict[str, Any] = {
        "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
        "level": record.levelname.lower(),
        "logger": record.name,
        "event": record.getMessage().splitlines()[0] if record.getMessage() else "",
    }
    told.update(getattr(record, "fields", {}))
    if record.exc_info and record.exc_info[1] is not None:
        told.update(_fault(record.exc_info[1]))
    return told


def _fault(error: BaseException) -> dict[str, Any]:
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES_MAX:]
    told: dict[str, Any] = {
        "error": type(error).__name__,
        "where": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames],
    }
    if isinstance(error, HoldfastError):
        told["code"] = error.code
    return told


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(fields_of(record), ensure_ascii=True, default=str)


class Lines(logging.Formatter):
    """A line for people: time, level, event, then name=value."""

    def format(self, record: logging.LogRecord) -> str:
        told = fields_of(record)
        head = f"{told.pop('at')} {told.pop('level'):7} {told.pop('event')}"
        del told["logger"]
        where = told.pop("where", [])
        pairs = [f"{name}={value}" for name, value in told.items() if value != ""]
        lines = [" ".join([head, *pairs]), *(f"    {place}" for place in where)]
        return "\n".join(line.encode("ascii", "backslashreplace").decode() for line in lines)
