"""Written values as operands: ids, texts, numbers, days and moments, each checked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from typing import Literal, NoReturn, get_args
from uuid import UUID

from holdfast.errors import FilterError
from holdfast.limits import ID_CHARS_MAX, QUERY_CHARS_MAX
from holdfast.model import Json, Kind

Type = Literal["id", "text", "moment", "day", "flag", "kind", "json"]
"""What a field holds, and so how its operands are read."""

_OWN_NAME = 'For metadata under this name write {"metadata": {"<name>": ...}}.'

DAY_S = 86_400.0
_EARLIEST = datetime.min.replace(tzinfo=UTC).timestamp()
_LATEST = datetime.max.replace(tzinfo=UTC).timestamp()


def operand(kind: Type, raw: Json, path: str) -> str | int | float | bool:
    """One value for a field of any type but "moment"; raises FilterError that names `path`."""
    match kind:
        case "id":
            return _id(raw, path)
        case "day":
            return day(raw, path)
        case "flag":
            if isinstance(raw, bool):
                return raw
            _refuse(path, "takes true or false", raw, _OWN_NAME)
        case "kind":
            if raw in get_args(Kind):
                return str(raw)
            raise FilterError(f"{path} takes one of {', '.join(get_args(Kind))}.", hint=_OWN_NAME)
        case "text":
            return text(raw, path) if isinstance(raw, str) else _refuse(path, "takes text", raw)
    return _scalar(raw, path)


def type_name(raw: Json) -> str:
    """What JSON calls the type of a value, for messages that must not repeat the value."""
    if raw is None or isinstance(raw, bool):
        return "null" if raw is None else "a boolean"
    for known, name in _TYPE_NAMES:
        if isinstance(raw, known):
            return name
    return f"a Python {type(raw).__name__}"


_TYPE_NAMES: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (str, "text"),
    ((int, float), "a number"),
    (Mapping, "an object"),
    ((list, tuple), "a list"),
)


def _refuse(path: str, what: str, raw: Json, hint: str = "") -> NoReturn:
    raise FilterError(f"{path} {what}, not {type_name(raw)}.", hint=hint)


def text(raw: str, path: str) -> str:
    """Text that a stored text can be equal to: bounded, no NUL, no lone surrogates."""
    if len(raw) > QUERY_CHARS_MAX:
        raise FilterError(f"{path} is longer than {QUERY_CHARS_MAX} characters.")
    try:
        raw.encode()
    except UnicodeEncodeError:
        raise FilterError(f"{path} contains half of a surrogate pair, as no memory does.") from None
    if "\0" in raw:
        raise FilterError(f"{path} contains NUL, as no memory does.")
    return raw


def _id(raw: Json, path: str) -> str:
    """An id as it is stored: text, trimmed."""
    if isinstance(raw, bool) or not isinstance(raw, (str, int, UUID)):
        if raw is None:
            hint = 'Leave it out, or write {"NOT": [{"<id>": "*"}]} for memories without one.'
            raise FilterError(f"{path} is null.", hint=hint)
        _refuse(path, "takes an id as text", raw)
    if isinstance(raw, int):
        finite(raw, path)  # and so short enough to be written out
    name = text(str(raw).strip(), path)
    if not name:
        raise FilterError(f"{path} is empty.")
    if len(name) > ID_CHARS_MAX:
        raise FilterError(f"{path} is longer than {ID_CHARS_MAX} characters.")
    return name


def _scalar(raw: Json, path: str) -> str | int | float | bool:
    if isinstance(raw, (str, bool)):
        return text(raw, path) if isinstance(raw, str) else raw
    if not isinstance(raw, (int, float)):
        _refuse(path, "takes text, a number, true or false", raw)
    return finite(raw, path)


def finite(raw: float, path: str) -> float:
    """A number that is neither NaN nor infinite, nor beyond what a float can hold."""
    try:
        if math.isfinite(raw):
            return raw
    except OverflowError:
        pass
    raise FilterError(f"{path} is not a finite number.")


def moments(raw: Json, path: str) -> tuple[float, float]:
    """The first moment a written time means and the one after its last, in epoch seconds.

    A date without a time is the whole day in UTC. Anything else is one moment, given twice: ISO
    8601 (without an offset: UTC), seconds since the epoch, or a datetime.
    """
    if isinstance(raw, str):
        raw = _from_iso(raw, path)
    if isinstance(raw, datetime):
        aware = raw if raw.tzinfo else raw.replace(tzinfo=UTC)
        return (aware.timestamp(),) * 2
    if isinstance(raw, date):
        start = datetime.combine(raw, time(), UTC).timestamp()
        return start, start + DAY_S
    if isinstance(raw, bool) or not isinstance(raw, (int, float)):
        _refuse(path, "takes a date, ISO 8601 or seconds since 1970", raw)
    if not _EARLIEST <= finite(raw, path) <= _LATEST:
        raise FilterError(
            f"{path} lies outside the years 1 to 9999.",
            hint="Give seconds since 1970, not milliseconds.",
        )
    return float(raw), float(raw)


def _from_iso(raw: str, path: str) -> datetime | date:
    for read in (date.fromisoformat, datetime.fromisoformat):
        try:
            return read(raw.strip())
        except ValueError:
            continue
    raise FilterError(
        f"{path} is not a date.", hint="Write 2024-05-31 or 2024-05-31T18:00:00+00:00."
    )


def day(raw: Json, path: str) -> str:
    """A date as YYYY-MM-DD: the UTC day in which the written time lies."""
    start, _ = moments(raw, path)
    try:
        return datetime.fromtimestamp(start, UTC).date().isoformat()
    except (OverflowError, ValueError):
        raise FilterError(f"{path} lies outside the years 1 to 9999.") from None
