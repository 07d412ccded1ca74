"""One look-up of the directory's stamp for each request, not one for each question.

A request asks several times whether the settings of the deployment have changed: for its key, its
budgets and its project. It is answered with the stamp that was read first. A look belongs to a
context, as a time limit does, and is good for GOOD_S only: tasks that a request leaves behind, and
streams that stay open, look again.
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
    """Share one look inside: what changes elsewhere meanwhile is seen by the next request."""
    token = _look.set(_Look())
    try:
        yield
    finally:
        _look.reset(token)


def seen() -> int | None:
    """The stamp this context read a moment ago; None: it has to look."""
    look = _look.get()
    return look.stamp if look is not None and time.monotonic() < look.until else None


def saw(stamp: int) -> None:
    """Remember the stamp that this context has read."""
    look = _look.get()
    if look is not None:
        look.stamp, look.until = stamp, time.monotonic() + GOOD_S


def look_again() -> None:
    """Forget the stamp: this context has changed something itself."""
    look = _look.get()
    if look is not None:
        look.until = -math.inf
