"""How long whoever asked will wait: told once at the border, heeded by every call of a machine.

A time limit belongs to a context, as a request or a task has one, and is handed on to what they
start, but for what works for nobody in particular, as background workers do.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from holdfast.errors import ValidationError
from holdfast.limits import DEADLINE_SHARE

TIMEOUT_HEADER: Final = "x-request-timeout"
"""Tells a server how long its caller will wait, in seconds."""

_ends: ContextVar[float] = ContextVar("holdfast_deadline", default=math.inf)
"""By `time.monotonic`."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Bound the calls of models, indexes and servers made inside: no longer than `seconds` in all.

    What can be done without is then done without: a search answers and names it in `degraded`, an
    add returns while its job goes on. Never longer than a limit around it. Raises ValidationError.

        with holdfast.time_limit(0.5):
            memory.search("Where does she live?", filters={"user_id": "ann"})
    """
    given: object = seconds
    if type(given) not in (int, float) or not seconds > 0:
        raise ValidationError(
            "A time limit is a number of seconds above 0.", hint="For example 2.5."
        )
    token = _ends.set(min(_ends.get(), time.monotonic() + seconds))
    try:
        yield
    finally:
        _ends.reset(token)


def left_s() -> float:
    """Seconds that are left, 0.0 if none are, infinity without a limit."""
    ends = _ends.get()
    return ends if ends == math.inf else max(0.0, ends - time.monotonic())


def share_s() -> float:
    """Seconds that the next call may take, so that some are left for what follows it."""
    return left_s() * DEADLINE_SHARE


@contextmanager
def unlimited() -> Iterator[None]:
    """What is begun inside works for nobody in particular: the limit around it is not its own."""
    token = _ends.set(math.inf)
    try:
        yield
    finally:
        _ends.reset(token)
