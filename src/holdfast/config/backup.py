"""The settings of backups, wherever they are kept."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from holdfast.model import Struct

Count = Annotated[int, Meta(ge=0, le=10_000)]


class BackupSettings(Struct, frozen=True, kw_only=True):
    """What every destination takes beside its own settings."""

    schedule: str = ""
    """A cron expression: when the server makes a backup, "0 3 * * *" say; empty for never."""
    timezone: str = ""
    """IANA time zone of the schedule and of what a day is; the configuration's if empty."""
    full_every_days: Annotated[float, Meta(ge=0, le=3_660)] = 7.0
    """Age at which a full archive is made again; until then only what changed since it is."""
    compression: Literal["zstd", "gzip"] | None = None
    """The better one that is installed, unless it is set."""
    keep_last: Count = 3
    """So many of the newest archives are kept, whatever their age."""
    keep_daily: Count = 7
    """The newest archive of each of so many days."""
    keep_weekly: Count = 4
    """The same by week (from Monday on)."""
    keep_monthly: Count = 12
    keep_yearly: Count = 0
    max_age_s: Annotated[float, Meta(ge=60, le=366 * 86_400)] = 2 * 86_400.0
    """Age of the newest archive, in seconds, above which it is too old: an alert."""
