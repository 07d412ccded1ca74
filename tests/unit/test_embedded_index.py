"""Bringing a working set up to date: what was deleted or replaced is forgotten everywhere."""

from __future__ import annotations

from typing import cast
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.backends.index import embedded as embedded_index
from holdfast.backends.index.embedded import _updated
from holdfast.backends.index.working_set import Warm
from holdfast.core.text import analyze
from holdfast.core.view import EntityView, Entry
from holdfast.model import Memory
from holdfast.ports import Delta

DIMENSIONS = 2
Rows = dict[str, tuple[Entry, Memory]]


def row(number: int, seq: int, at: float, text: str) -> tuple[Entry, Memory]:
    found = analyze(text, actor=None, role=None)
    entry = Entry(
        id=f"m{number}",
        seq=seq,
        terms=found.terms,
        flags=found.flags,
        words=found.words,
        speaker=found.speaker,
        event_time=at,
        vector=np.full(DIMENSIONS, at, dtype="<f4").tobytes(),
    )
    memory = Memory(
        id=entry.id, text=text, hash="", kind="turn", event_at=at, created_at=at, updated_at=at
    )
    return entry, memory


def delta_of(rows: Rows, told: set[tuple[str, str]], **more: object) -> Delta:
    pairs = sorted(rows.values(), key=lambda pair: pair[0].seq)
    values = {
        "generation": 1,
        "complete": True,
        "entries": tuple(entry for entry, _ in pairs),
        "memories": tuple(memory for _, memory in pairs),
        "told": tuple(sorted(told)),
        **more,
    }
    return Delta(**values)  # type: ignore[arg-type]


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[set[int], dict[int, tuple[float, str]]]]:
    """Steps: numbers that go, and numbers that come or are replaced, with time and text."""
    numbers = st.integers(0, 5)
    said = st.tuples(st.sampled_from([1.0, 2.0, 3.0]), st.sampled_from(["tea", "red tea", "ok"]))
    step = st.tuples(st.sets(numbers, max_size=2), st.dictionaries(numbers, said, max_size=3))
    return draw(st.lists(step, min_size=1, max_size=6))


def follow(
    history: list[tuple[set[int], dict[int, tuple[float, str]]]], told: set[tuple[str, str]]
) -> None:
    """Follow the changes step by step, and compare with a reading of everything at each."""
    rows: Rows = {}
    warm: Warm | None = None
    for seq, (gone, come) in enumerate(history):
        removed = tuple(f"m{n}" for n in gone if f"m{n}" in rows and n not in come)
        fresh = {f"m{n}": row(n, 10 * seq + n, *said) for n, said in come.items()}
        rows = {id_: kept for id_, kept in rows.items() if id_ not in removed} | fresh
        known = {pair for pair in told if pair[0] in rows and pair[1] in rows}
        news = {pair for pair in known if pair[0] in fresh or pair[1] in fresh}
        changes = delta_of(fresh, news, complete=False, removed=removed)
        whole = delta_of(rows, known)
        warm = _updated(warm, whole if warm is None else changes, DIMENSIONS)
        anew = _updated(None, whole, DIMENSIONS)
        assert warm.view.ids == anew.view.ids
        np.testing.assert_array_equal(warm.view.columns.vectors, anew.view.columns.vectors)
        assert warm.memories == anew.memories
        assert [memory.id for memory in warm.memories] == list(warm.view.ids)
        assert dict(warm.told) == dict(anew.told)
        assert warm.text_bytes == anew.text_bytes


PAIRS = st.sets(st.sampled_from([("m0", "m1"), ("m0", "m2"), ("m3", "m1"), ("m4", "m5")]))


@settings(max_examples=200)
@given(histories(), PAIRS)
def test_following_changes_is_reading_anew(
    history: list[tuple[set[int], dict[int, tuple[float, str]]]], told: set[tuple[str, str]]
) -> None:
    follow(history, told)


TAUGHT = [(set[int](), {0: (1.0, "tea"), 1: (2.0, "red tea")}), ({1}, {})]


def test_a_fact_that_is_gone_stands_for_no_turn() -> None:
    follow(TAUGHT, {("m0", "m1")})
    with (
        patch.object(embedded_index, "without", lambda told, delta: told),
        pytest.raises(AssertionError),
    ):
        follow(TAUGHT, {("m0", "m1")})


def test_rows_that_stay_are_not_read_again() -> None:
    """A delta names what changed and nothing else; the rest comes from the working set."""
    first = {f"m{n}": row(n, n, float(n), "tea") for n in range(50)}
    warm = _updated(None, delta_of(first, set()), DIMENSIONS)
    with patch.object(EntityView, "build", cast("object", None)):
        after = _updated(warm, delta_of({}, set(), complete=False, removed=("m7",)), DIMENSIONS)
    assert len(after.memories) == 49
    assert after.memories[7] is warm.memories[8]
