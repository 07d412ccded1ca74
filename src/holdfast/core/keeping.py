"""Which backups are kept: the last ones, then one of each day, week, month and year.

Grandfather, father, son: the newest of each of the newest so many periods in which there is one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, tzinfo
from typing import Final, NamedTuple

from holdfast.config import BackupSettings


class Kept(NamedTuple):
    """A backup, as far as this asks."""

    id: str
    created_at: float
    base: str | None
    """The full one that it needs."""


_PERIODS: Final[Sequence[tuple[str, Callable[[datetime], object]]]] = (
    ("keep_daily", lambda at: at.date()),
    ("keep_weekly", lambda at: at.isocalendar()[:2]),
    ("keep_monthly", lambda at: (at.year, at.month)),
    ("keep_yearly", lambda at: at.year),
)


def outdated(backups: Sequence[Kept], settings: BackupSettings, zone: tzinfo) -> list[str]:
    """The ids of those that may go, the oldest first; `zone` says what a day is.

    The newest one, the newest full one (the next is built upon it), and every full one that
    another needs are kept whatever the settings are.
    """
    newest_first = sorted(backups, key=lambda one: (one.created_at, one.id), reverse=True)
    kept = {one.id for one in newest_first[: max(1, settings.keep_last)]}
    kept |= {one.id for one in [one for one in newest_first if one.base is None][:1]}
    for name, period_of in _PERIODS:
        seen: set[object] = set()
        for one in newest_first:
            period = period_of(datetime.fromtimestamp(one.created_at, zone))
            if period not in seen and len(seen) < getattr(settings, name):
                seen.add(period)
                kept.add(one.id)
    kept |= {one.base for one in newest_first if one.id in kept and one.base is not None}
    return [one.id for one in reversed(newest_first) if one.id not in kept]
