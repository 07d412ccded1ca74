"""Growth is told from noise: each kind is planted once."""

from __future__ import annotations

import pytest

from tests.fleet.growth import Look, grown


def looks(what: str, *values: int, pid: int = 1) -> list[tuple[str, Look]]:
    flat = {"pid": pid, "mb": 200, "threads": 9, "files": 40, "connections": 8}
    return [("one", {**flat, what: value}) for value in values]


def test_what_warms_up_and_wavers_does_not_grow() -> None:
    assert grown(looks("mb", 90, 150, 190, 205, 199, 207, 203, 198, 206)) == []


@pytest.mark.parametrize(
    ("what", "step"), [("mb", 10), ("threads", 2), ("files", 5), ("connections", 2)]
)
def test_what_grows_is_found(what: str, step: int) -> None:
    found = grown(looks(what, *range(100, 100 + 9 * step, step)))
    assert len(found) == 1
    assert what in found[0]


def test_a_process_is_compared_with_itself_only() -> None:
    young = looks("mb", 90, 90, 90, pid=1)
    old = looks("mb", 300, 300, 300, 300, 300, 300, pid=2)
    assert grown(young + old) == []
