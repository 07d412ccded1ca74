"""Limits counted in this process: as many calls as allowed, and not one more."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from holdfast.server.rates.windows import Windows

SECONDS = 60
steps = st.lists(st.floats(0, 90, allow_nan=False), min_size=1, max_size=120)


@given(steps, st.integers(1, 20))
def test_calls_stay_within_the_limit_and_retry_after_is_right(
    pauses: list[float], amount: int
) -> None:
    windows, now = Windows(), 1_000.0
    made: list[float] = []
    for pause in pauses:
        now += pause
        hit = windows.hit("key", amount, SECONDS, now)
        if hit.allowed:
            made.append(now)
        else:
            assert 0 < hit.reset - now <= 2 * SECONDS
            early = Windows()
            early._windows = {"key": _copy(windows)}
            assert early.hit("key", amount, SECONDS, hit.reset + 0.001).allowed
        window = [each for each in made if each // SECONDS == now // SECONDS]
        assert len(window) <= amount
        assert 0 <= hit.remaining <= amount - len(window)


def _copy(windows: Windows) -> object:
    """The window of the only key, as it stands."""
    found = windows._windows["key"]
    copied = type(found)(found.number, found.seconds)
    copied.calls, copied.before = found.calls, found.before
    return copied


def test_the_window_before_counts_by_its_share() -> None:
    windows = Windows()
    for _ in range(10):
        assert windows.hit("key", 10, SECONDS, 59.0).allowed
    assert not windows.hit("key", 10, SECONDS, 60.0).allowed
    assert windows.hit("key", 10, SECONDS, 90.0).remaining == 4
    assert windows.hit("key", 10, SECONDS, 200.0).remaining == 9


def test_keys_do_not_count_against_each_other() -> None:
    windows = Windows()
    assert windows.hit("a", 1, SECONDS, 0.0).allowed
    assert windows.hit("b", 1, SECONDS, 0.0).allowed
    assert not windows.hit("a", 1, SECONDS, 0.0).allowed


def test_no_more_keys_are_kept_than_may_be() -> None:
    windows = Windows(keys_max=100)
    for number in range(1_000):
        windows.hit(str(number), 5, SECONDS, float(number))
        assert len(windows._windows) <= 100
    assert not windows.hit("999", 1, SECONDS, 999.0).allowed, "the newest are kept"
