"""Signals of ranking: what a turn brings, whatever is asked, and what goes with it."""

from __future__ import annotations

import numpy as np
import pytest

from holdfast.core.rank import rank
from holdfast.core.text import analyze_query
from holdfast.core.view import EntityView
from tests.unit.test_rank import only, view_of


def parts_of(view: EntityView, question: str, signal: str) -> list[float]:
    """The signal of every row, in the order of rows."""
    found = rank(view, analyze_query(question), None, weights=only(signal), limit=len(view))
    part = found.parts[signal][np.argsort(found.rows)]
    told: list[float] = part.tolist()
    return told


def test_what_is_new_and_what_is_common() -> None:
    talk = [
        ("Ann", "boats"),
        ("Bo", "boats and boats"),
        ("Ann", "boats, lakes, meadows"),
        ("Bo", "lakes"),
        ("Ann", "so"),
    ]
    view = view_of([("user", said) for _, said in talk])
    assert parts_of(view, "x", "news") == pytest.approx([np.log(2), 0, np.log(3), 0, 0])
    boats, lakes, meadows = (np.log1p((5 - n + 0.5) / (n + 0.5)) for n in (3, 2, 1))
    of_words = [boats, boats, boats + lakes + meadows, lakes, 0.0]
    assert parts_of(view, "x", "information") == pytest.approx(np.log1p(of_words))


def test_the_turn_before_and_those_who_tell_of_themselves() -> None:
    talk = [("Ann", "Where were you?"), ("Bo", "I was at the lake."), ("Ann", "Bo was there.")]
    view = view_of(talk)
    length = parts_of(view, "x", "length")
    assert length[0] == pytest.approx(np.log(4) / np.log(101))
    assert parts_of(view, "x", "before") == [0.0, length[0], length[1]]
    assert parts_of(view, "x", "told") == [0.0, 1.0, 0.0]
    assert parts_of(view, "What does Ann say?", "own") == [0.0, 1.0, 0.0]
    assert not rank(view, analyze_query("Who was there?"), None, weights=only("own")).parts
