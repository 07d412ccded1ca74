"""Sliding windows counted in this process: the same count as `limits`, for a dictionary look-up.

The library's own storage in memory walks through all its keys at every hit, which is a few
milliseconds where there are some ten thousand users, and makes a task for it.
"""

from __future__ import annotations

from typing import NamedTuple

from holdfast.limits import RATE_WINDOWS_MAX

_TICK_S = 0.001


class Hit(NamedTuple):
    """What came of counting a call."""

    allowed: bool
    remaining: int
    """Calls that would still be allowed now."""
    reset: float
    """When allowed, the epoch second at which the window ends; when not, at which to try again."""


class _Window:
    """Calls of one key in the running window and in the one before it."""

    __slots__ = ("before", "calls", "number", "seconds")

    def __init__(self, number: int, seconds: int) -> None:
        self.number = number
        self.seconds = seconds
        self.calls = 0
        self.before = 0

    def turn(self, number: int) -> None:
        if number != self.number:
            self.before = self.calls if number == self.number + 1 else 0
            self.calls = 0
            self.number = number


class Windows:
    """Counts calls by key; at most `keys_max` keys are kept, those long unused go first.

    The count of a moment is that of the running window, plus the share of the one before that a
    window ending now would still reach over.
    """

    def __init__(self, keys_max: int = RATE_WINDOWS_MAX) -> None:
        self._windows: dict[str, _Window] = {}
        self._keys_max = keys_max

    def hit(self, key: str, amount: int, seconds: int, now: float) -> Hit:
        """Count a call unless more than `amount` in `seconds` would be; refused ones count not."""
        number, left = int(now // seconds), seconds - now % seconds
        window = self._windows.get(key)
        if window is None:
            window = self._add(key, number, seconds, now)
        window.turn(number)
        count = window.before * left / seconds + window.calls
        if count >= amount:
            return Hit(False, 0, now + _wait_s(window, amount, seconds, left))
        window.calls += 1
        return Hit(True, amount - int(count) - 1, now + left)

    def _add(self, key: str, number: int, seconds: int, now: float) -> _Window:
        if len(self._windows) >= self._keys_max:
            self._sweep(now)
        window = self._windows[key] = _Window(number, seconds)
        return window

    def _sweep(self, now: float) -> None:
        """Forget what no longer counts; if that is less than half, whatever was added first too."""
        for key, window in list(self._windows.items()):
            if now // window.seconds > window.number + 1:
                del self._windows[key]
        excess = len(self._windows) - self._keys_max // 2
        for key in list(self._windows)[: max(0, excess)]:
            del self._windows[key]


def _wait_s(window: _Window, amount: int, seconds: int, left: float) -> float:
    """How long until one more call is allowed, if none is made meanwhile."""
    free = amount - window.calls
    if free > 0:  # the window before reaches over by less and less
        return left - free * seconds / window.before + _TICK_S
    return left + seconds - amount * seconds / window.calls + _TICK_S
