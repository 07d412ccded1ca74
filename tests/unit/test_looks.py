"""One look a request: what was told is told again, for a moment, and not after a change."""

from __future__ import annotations

import asyncio

import pytest

from holdfast import looks
from holdfast.looks import GOOD_S, look_again, one_look, saw, seen


def test_nothing_is_remembered_outside() -> None:
    saw(7)
    assert seen() is None
    with one_look():
        saw(7)
        assert seen() == 7
    assert seen() is None


def test_a_change_of_its_own_is_looked_at() -> None:
    with one_look():
        saw(7)
        look_again()
        assert seen() is None
        saw(8)
        assert seen() == 8


def test_it_is_good_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(looks.time, "monotonic", lambda: now)
    with one_look():
        saw(7)
        now += GOOD_S * 0.9
        assert seen() == 7
        now += GOOD_S * 0.2
        assert seen() is None


async def test_requests_do_not_share_it() -> None:
    async def request(stamp: int) -> int | None:
        with one_look():
            saw(stamp)
            await asyncio.sleep(0)
            return seen()

    assert await asyncio.gather(*(request(stamp) for stamp in range(5))) == [0, 1, 2, 3, 4]
