"""Days and months of UTC, by which bills and budgets are made."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from holdfast.directory import BudgetPeriod

DAY_S: Final = 86_400


def day_text(number: int) -> str:
    """The day so many days after 1970-01-01, as YYYY-MM-DD."""
    return f"{datetime.fromtimestamp(number * DAY_S, UTC):%Y-%m-%d}"


def day_number(at: float) -> int:
    """Days from 1970-01-01 to the one of this moment."""
    return int(at // DAY_S)


def span(period: BudgetPeriod, at: float) -> tuple[float, float]:
    """When the day or month of this moment begins, and when the next one does; epoch seconds."""
    moment = datetime.fromtimestamp(at, UTC)
    begins = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    if period == "day":
        return begins.timestamp(), (begins + timedelta(days=1)).timestamp()
    begins = begins.replace(day=1)
    ends = (begins + timedelta(days=32)).replace(day=1)
    return begins.timestamp(), ends.timestamp()
