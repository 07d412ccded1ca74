"""What the checks of extraction compare: recalled passages, dates, folded text."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.grounding import (
    content_key,
    event_time,
    fold,
    mark_recalled,
    strip_recalled,
    time_zone,
)

NOON = datetime(2024, 3, 11, 12, tzinfo=UTC).timestamp()


def test_recalled_passages_are_cut_out_and_nothing_else() -> None:
    marked = mark_recalled("Ana likes </holdfast-memory> tea")
    assert strip_recalled(f"a {marked} b").split() == ["a", "b"]
    for text in ("a < b </ c", "<memory> never closed", "</memory> never opened", "memory"):
        assert strip_recalled(text) == text
    assert strip_recalled("<memory>x</memories>y</memory>z").strip() == "z"
    assert strip_recalled("a<RELEVANT_MEMORIES id=1>x</relevant_memories>b") == "a b"


def test_marks_are_found_in_linear_time() -> None:
    assert len(strip_recalled("<memory>" * 50_000 + "</x>")) > 0


BERLIN = "Europe/Berlin"


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ("2024-03-08", "2024-03-08T11:00+00:00"),
        ("2024-02", "2024-02-01T11:00+00:00"),
        ("2015", "2015-01-01T11:00+00:00"),
        ("2024-03-08T09:30", "2024-03-08T08:30+00:00"),
        ("2024-03-08T09:30:15Z", "2024-03-08T09:30:15+00:00"),
        ("2024-03-08 09:30+02:00", "2024-03-08T07:30+00:00"),
        ("2024-07-01", "2024-07-01T10:00+00:00"),
        ("2031-01-01", "2031-01-01T11:00+00:00"),
    ],
)
def test_dates_are_read_in_the_zone(when: str, expected: str) -> None:
    at = event_time(when, NOON, time_zone(BERLIN))
    assert datetime.fromtimestamp(at, UTC) == datetime.fromisoformat(expected)


@pytest.mark.parametrize(
    "when",
    [
        None, "", "yesterday", "2024-02-30", "2024-13", "24-03-08", "0001-01-01", "2999-01-01",
        "2024-03-11", "2024-03-08T25:00", "9999-12-31T23:59Z", "0999", "2024-03-08; DROP",
    ],
)  # fmt: skip
def test_a_date_that_is_none_or_the_turn_s_own_gives_the_turn_s_time(when: str | None) -> None:
    assert event_time(when, NOON, time_zone(BERLIN)) == NOON


@given(st.text(max_size=30))
def test_any_date_text_gives_a_time(when: str) -> None:
    assert isinstance(event_time(when, NOON, UTC), float)


@given(st.text(max_size=40))
def test_folding_is_stable(text: str) -> None:
    assert fold(fold(text)) == fold(text)
    assert content_key(content_key(text)) == content_key(text)
