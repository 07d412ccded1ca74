"""When something is due by a cron expression."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, tzinfo
from itertools import islice

from holdfast.errors import ConfigError, MissingExtraError


def times(expression: str, after: float, zone: tzinfo) -> Iterator[float]:
    """The moments that a cron expression names after one, in order, epoch seconds.

    Days and hours are those of `zone`; where its clocks change, what is skipped happens right
    after, and nothing happens twice (as in Debian's cron). Raises ConfigError, MissingExtraError.
    """
    try:
        from cronsim import CronSim, CronSimError
    except ModuleNotFoundError:
        raise MissingExtraError(
            "A schedule of backups needs the package cronsim.",
            hint="pip install 'holdfast[backup]'.",
        ) from None
    try:
        found = CronSim(expression, datetime.fromtimestamp(after, zone))
    except CronSimError:
        raise ConfigError(
            f"backup.config.schedule: {expression[:64]!r} is no cron expression.",
            hint='Write it like "0 3 * * *": minute, hour, day, month, day of the week.',
        ) from None
    return (moment.timestamp() for moment in found)


def next_time(expression: str, after: float, zone: tzinfo) -> float:
    """The first of `times`."""
    return next(islice(times(expression, after, zone), 1))
