"""The small functions that turn values into what people read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.cli import output


@given(st.text(st.characters(exclude_categories=[])))
def test_printable_text_holds_no_control_character_and_no_half_of_a_pair(text: str) -> None:
    shown = output.printable(text)
    assert len(shown) == len(text)
    shown.encode()
    assert not any(ord(mark) < 32 and mark not in "\n\t" for mark in shown)
    assert not any(0x7F <= ord(mark) < 0xA0 for mark in shown)


@pytest.mark.parametrize("text", ["plain", "two\nlines\tand a tab", "مرحبا", "🎻", "\u200f"])
def test_printable_leaves_writing_alone(text: str) -> None:
    assert output.printable(text) == text


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.0004, "0.4 ms"), (0.0994, "99.4 ms"), (0.0996, "100 ms"), (0.25, "250 ms"),
     (0.9999, "1.0 s"), (3.44, "3.4 s"), (61, "1 min 01 s"), (3600, "60 min 00 s")],
)  # fmt: skip
def test_durations_are_shown_in_the_unit_that_fits(seconds: float, shown: str) -> None:
    assert output.duration(seconds) == shown


@pytest.mark.parametrize(
    ("count", "shown"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (139_264, "139.3 kB"),
     (82_400_000_000, "82.4 GB"), (5 * 10**15, "5000.0 TB")],
)  # fmt: skip
def test_sizes_are_shown_in_the_unit_that_fits(count: int, shown: str) -> None:
    assert output.size(count) == shown


def test_short_ids_end_as_the_whole_id_does() -> None:
    whole = "01a206d7-9baf-7001-a0f4-0bcbd3ca9e63"
    assert whole.endswith(output.short_id(whole).lstrip("\N{HORIZONTAL ELLIPSIS}"))
    assert output.short_id("short") == "short"


@pytest.mark.parametrize(
    ("written", "day", "minute"),
    [
        ("2026-01-01T00:30:00+02:00", "2025-12-31", "2025-12-31 22:30"),
        ("2026-01-01T00:30:00+00:00", "2026-01-01", "2026-01-01 00:30"),
        (None, "", ""),
    ],
)
def test_dates_are_shown_in_utc(written: str | None, day: str, minute: str) -> None:
    assert output.day(written) == day
    assert output.minute(written) == minute
