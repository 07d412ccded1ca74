"""A breaker: what fails again and again is left alone for a while, then tried with a few calls.

Closed, it lets every call through and counts. It opens after so many failures in a row, or when
their share in a window is too large; open, it lets none through. When its pause is over it is half
open: a few calls probe, and their outcome closes it or opens it for twice as long.

Times are parameters, in seconds of any clock that does not go back.
"""

from __future__ import annotations

from typing import Literal

from holdfast.model import Struct

State = Literal["closed", "open", "half_open"]

_SLICES = 10
"""Parts of the window; it moves on by one of them at a time."""


class BreakerBounds(Struct, frozen=True, kw_only=True):
    """When a breaker opens, and for how long."""

    failures_in_row: int = 5
    """So many failures, none older than the window and none with a success between, open it."""
    window_s: float = 30.0
    calls_min: int = 20
    failure_share: float = 0.5
    """So large a share of the window's calls, of at least `calls_min`, opens it."""
    pause_s: float = 1.0
    """How long it stays open the first time; doubles with each probe that fails."""
    pause_max_s: float = 30.0
    probes: int = 1
    """Calls let through at once while it is half open; so many must succeed to close it."""


class Breaker:
    """The state of one dependency as its calls tell it. Each permit must be ended once."""

    def __init__(self, bounds: BreakerBounds) -> None:
        self._bounds = bounds
        self._width_s = bounds.window_s / _SLICES
        self._turn = 0
        """Changes with the state: what was let through before says nothing of it any more."""
        self._until: float | None = None
        """When the pause ends or ended; None while closed."""
        self._pause_s = bounds.pause_s
        self._probing = self._passed = 0
        self._in_row = 0
        self._failed_at = 0.0
        self._slices: list[list[int]] = []
        """[number of the slice, calls, failures], oldest first."""

    def state(self, now: float) -> State:
        """What it does with a call at this moment."""
        if self._until is None:
            return "closed"
        return "open" if now < self._until else "half_open"

    def admit(self, now: float) -> int | None:
        """A permit for one call, or None."""
        if self._until is not None:
            if now < self._until or self._probing >= self._bounds.probes:
                return None
            self._probing += 1
        return self._turn

    def wait_s(self, now: float) -> float:
        """Seconds after which a call may be let through; 0.0 if one would be now."""
        if self._until is None:
            return 0.0
        if now < self._until:
            return self._until - now
        return self._bounds.pause_s if self._probing >= self._bounds.probes else 0.0

    def ended(
        self, permit: int, now: float, success: bool | None, asked_s: float | None = None
    ) -> bool:
        """A call that was let through ended; None: it says nothing of what it called. `asked_s`:
        how long what failed asked to be left alone; if it is now, then no less.

        Whether the breaker opened or closed because of it.
        """
        if permit != self._turn:
            return False
        if self._until is not None:
            return self._probed(now, success, asked_s)
        if success is None:
            return False
        self._count(now, success)
        if success or not self._too_many():
            return False
        self._open(now, self._bounds.pause_s, asked_s)
        return True

    def heard(self, now: float, success: bool) -> bool:
        """Somebody asked without a permit, as a health check does: it is there, or it is not.

        Whether the breaker opened or closed because of it.
        """
        if self._until is None:
            return self.ended(self._turn, now, success)
        if not success:
            self._open(now, self._pause_s, None)
            return True
        self._until = None
        self._change()
        return True

    def _probed(self, now: float, success: bool | None, asked_s: float | None) -> bool:
        self._probing -= 1
        if success is None:
            return False
        if not success:
            self._open(now, min(self._pause_s * 2, self._bounds.pause_max_s), asked_s)
            return True
        self._passed += 1
        if self._passed < self._bounds.probes:
            return False
        self._until = None
        self._change()
        return True

    def _open(self, now: float, pause_s: float, asked_s: float | None) -> None:
        self._until, self._pause_s = now + max(pause_s, asked_s or 0.0), pause_s
        self._change()

    def _change(self) -> None:
        self._turn += 1
        self._probing = self._passed = self._in_row = 0
        self._slices.clear()

    def _count(self, now: float, success: bool) -> None:
        number = int(now // self._width_s)
        slices = self._slices
        if not slices or slices[-1][0] != number:
            while slices and slices[0][0] <= number - _SLICES:
                del slices[0]
            slices.append([number, 0, 0])
        slices[-1][1] += 1
        if success:
            self._in_row = 0
            return
        slices[-1][2] += 1
        stale = now - self._failed_at > self._bounds.window_s
        self._in_row = 1 if stale else self._in_row + 1
        self._failed_at = now

    def _too_many(self) -> bool:
        if self._in_row >= self._bounds.failures_in_row:
            return True
        calls = sum(part[1] for part in self._slices)
        failures = sum(part[2] for part in self._slices)
        enough = calls >= self._bounds.calls_min
        return enough and failures >= self._bounds.failure_share * calls
