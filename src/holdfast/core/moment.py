"""Reads the dates that chat exports write. Pure."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

from holdfast.errors import ValidationError
from holdfast.model import Json

_SECONDS_MAX = 253_402_300_800  # 31 December 9999


def _by_form(form: str, value: str) -> datetime:
    return datetime.strptime(value, form).replace(tzinfo=UTC)


_READERS: tuple[Callable[[str], datetime], ...] = (
    datetime.fromisoformat,
    partial(_by_form, "%I:%M %p on %d %B, %Y"),  # LoCoMo: 1:56 pm on 8 May, 2023
    partial(_by_form, "%Y/%m/%d (%a) %H:%M"),  # LongMemEval: 2023/05/20 (Sat) 02:21
    partial(_by_form, "%Y/%m/%d %H:%M"),
    partial(_by_form, "%Y/%m/%d"),
)


def moment(value: Json) -> float | None:
    """Epoch seconds UTC of a date as exports write it; None for no date (None or "").

    Takes epoch seconds, ISO 8601 and the forms of LoCoMo and LongMemEval. A date without a zone
    is UTC.

    Raises:
        ValidationError: it is not a date.
    """
    if value is None or value == "":
        return None
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return datetime.fromtimestamp(value, UTC).timestamp()
        if isinstance(value, str):
            return _read(value.strip()).timestamp()
    except (ValueError, OverflowError, OSError) as fault:
        raise _not_a_date(value) from fault
    raise _not_a_date(value)


def _read(text: str) -> datetime:
    for read in _READERS:
        try:
            parsed = read(text)
        except ValueError:
            continue
        return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
    raise ValueError(text)


def _not_a_date(value: Json) -> ValidationError:
    hint = "Use ISO 8601, or seconds since 1970."
    if isinstance(value, int | float) and abs(value) > _SECONDS_MAX:
        hint = "Divide milliseconds by 1,000: use ISO 8601, or seconds since 1970."
    return ValidationError(f"{str(value)[:40]!r} is not a date.", hint=hint)
