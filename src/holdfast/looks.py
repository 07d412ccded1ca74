"""One look for a request: it asks several times whether what was set for the deployment has
changed, for its key, its budgets and its project, and is told each time what it was told first.

A look belongs to a context, as a time limit does. What it told is good for a moment only: tasks
that a request leaves behind, and streams that stay open, look again.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

GOOD_S: Final = 0.2


class _Look:
    __slots__ = ("stamp", "until")

    def __init__(self) -> None:
        self.stamp = 0
        self.until = -math.inf
        """By `time.monotonic`."""


_look: ContextVar[_Look | None] = ContextVar("holdfast_look", default=None)


@contextmanager
def one_look() -> Iterator[None]:
    """What is done inside is done at once: what changes elsewhere meanwhile is for the next."""
    token = _look.set(_Look())
    try:
        yield
    finally:
        _look.reset(token)


def seen() -> int | None:
    """What this context was told a moment ago; None: it has to look."""
    look = _look.get()
    return look.stamp if look is not None and time.monotonic() < look.until else None


def saw(stamp: int) -> None:
    """Remember what this context was told."""
    look = _look.get()
    if look is not None:
        look.stamp, look.until = stamp, time.monotonic() + GOOD_S


def look_again() -> None:
    """This context changed something itself."""
    look = _look.get()
    if look is not None:
        look.until = -math.inf
