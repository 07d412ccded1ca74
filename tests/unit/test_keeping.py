"""Which backups are kept, and when one is due."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.config import BackupSettings
from holdfast.core.cron import next_time, times
from holdfast.core.keeping import Kept, outdated
from holdfast.errors import ConfigError
from support.thorough import often

BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def daily(days: int) -> list[Kept]:
    """A backup a day at three, up to the last of 2026: full ones on Sundays."""
    found = []
    base: str | None = None
    for no in range(days):
        day = datetime(2026, 12, 31, 3, tzinfo=UTC) - timedelta(days=days - 1 - no)
        is_full = base is None or day.weekday() == 6
        name = f"{day:%Y-%m-%d}"
        found.append(Kept(name, day.timestamp(), None if is_full else base))
        base = name if is_full else base
    return found


def left(backups: list[Kept], **keep: int) -> list[str]:
    wanted = dict.fromkeys(
        ("keep_last", "keep_daily", "keep_weekly", "keep_monthly", "keep_yearly"), 0
    )
    gone = outdated(backups, BackupSettings(**{**wanted, **keep}), UTC)
    return [one.id for one in backups if one.id not in gone]


def test_the_newest_and_what_it_needs_always_stay() -> None:
    assert left(daily(30)) == ["2026-12-27", "2026-12-31"]


def test_generations() -> None:
    days = daily(800)
    kept = left(days, keep_last=1, keep_daily=3, keep_weekly=3, keep_monthly=3, keep_yearly=5)
    needed = {"2026-12-27"}
    assert {"2026-12-31", "2026-12-30", "2026-12-29"} <= set(kept), "days"
    assert {"2026-12-27", "2026-12-20"} <= set(kept), "weeks end on Sunday"
    assert {"2026-11-30", "2026-10-31"} <= set(kept), "months"
    assert {"2025-12-31", "2024-12-31"} <= set(kept), "years"
    assert len(set(kept) - needed) <= 3 + 3 + 3 + 5 + 4


def test_a_day_is_that_of_the_zone() -> None:
    late = [Kept("a", at("2026-06-01T22:30:00+00:00"), None)]
    late.append(Kept("b", at("2026-06-01T23:30:00+00:00"), None))
    late.append(Kept("c", at("2026-06-02T01:00:00+00:00"), None))
    wanted = BackupSettings(keep_last=0, keep_daily=2, keep_weekly=0, keep_monthly=0)
    assert outdated(late, wanted, BERLIN) == ["a", "b"]
    assert outdated(late, wanted, UTC) == ["a"]


@given(
    st.lists(st.tuples(st.floats(0, 2e9), st.booleans()), min_size=1, max_size=40),
    st.lists(st.integers(0, 4), min_size=5, max_size=5),
)
@settings(max_examples=often(60, 2_000))
def test_nothing_that_stays_lacks_its_base(
    made: list[tuple[float, bool]], counts: list[int]
) -> None:
    backups: list[Kept] = []
    base = None
    for no, (moment, is_full) in enumerate(sorted(made)):
        name = f"{no:03}"
        base = name if is_full or base is None else base
        backups.append(Kept(name, moment, None if base == name else base))
    names = ("keep_last", "keep_daily", "keep_weekly", "keep_monthly", "keep_yearly")
    kept = set(left(backups, **dict(zip(names, counts, strict=True))))
    assert backups[-1].id in kept
    assert {one.base for one in backups if one.id in kept and one.base} <= kept
    assert len(kept) <= 2 * (sum(counts) + 2)
    again = [one for one in backups if one.id in kept]
    assert set(left(again, **dict(zip(names, counts, strict=True)))) == kept, "it settles"


def test_cron() -> None:
    night = at("2026-11-26T15:00:00+00:00")
    assert next_time("0 3 * * *", night, UTC) == at("2026-11-27T03:00:00+00:00")
    assert next_time("*/10 * * * *", night, UTC) == at("2026-11-26T15:10:00+00:00")
    assert next_time("0 3 * * *", night, BERLIN) == at("2026-11-27T03:00:00+01:00")
    found = times("30 2 * * *", at("2026-03-28T12:00:00+01:00"), BERLIN)
    assert next(found) == at("2026-03-29T03:00:00+02:00"), "half past two is not there that night"
    assert next(found) == at("2026-03-30T02:30:00+02:00")


@pytest.mark.parametrize("wrong", ["", "x", "0 3 * *", "61 * * * *", "0 0 31 2 *"])
def test_what_is_no_cron_expression(wrong: str) -> None:
    with pytest.raises(ConfigError, match="cron"):
        next_time(wrong, 0.0, UTC)
