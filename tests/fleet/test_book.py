"""The book finds what must not happen: each fault is planted once."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fleet.book import Book

TEA, RUM = {"id": "1", "memory": "tea"}, {"id": "2", "memory": "rum"}


def book() -> Book:
    return Book(kept={"ann": {"1": "tea"}}, open={"ann": {"maybe"}}, deleted={"ann": {"9"}})


def test_what_was_acknowledged_and_what_may_be_there_is_well() -> None:
    kept = book()
    kept.check_listing("ann", [TEA], "now")
    kept.check_listing("ann", [TEA, {"id": "3", "memory": "maybe"}], "now")
    assert kept.faults == []


@pytest.mark.parametrize(
    ("found", "word"),
    [
        ([], "0 times"),
        ([TEA, TEA], "2 times"),
        ([TEA, {"id": "3", "memory": "tea"}], "doubled"),
        ([TEA, {"id": "9", "memory": "old"}], "deleted"),
        ([TEA, RUM], "nobody was told"),
    ],
)
def test_a_fault_is_found(found: list[dict[str, Any]], word: str) -> None:
    kept = book()
    kept.check_listing("ann", found, "now")
    assert any(word in fault for fault in kept.faults), kept.faults
