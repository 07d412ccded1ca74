"""Waiting in the middle of functions that do not know they wait.

The shared statements are plain functions. Run in a greenlet, one can hand an awaitable to the task
that runs it, and go on with the answer; the event loop does other things meanwhile.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

from greenlet import getcurrent, greenlet

T = TypeVar("T")
A = TypeVar("A")


async def bridged(function: Callable[[A], T], argument: A) -> T:
    """Call a function that may `wait`; what it waits for is awaited here."""
    caller = getcurrent()
    inner = greenlet(function, caller)
    inner.gr_context = caller.gr_context
    told: Any = inner.switch(argument)
    while not inner.dead:
        try:
            value = await told
        except BaseException:  # noqa: BLE001  (it is raised where it was waited)
            told = inner.throw(*sys.exc_info())
        else:
            told = inner.switch(value)
    return cast("T", told)


def wait(awaitable: Awaitable[T]) -> T:
    """The result of an awaitable, inside of a function that is `bridged`."""
    parent = getcurrent().parent
    assert parent is not None, "waits outside of `bridged`"
    return cast("T", parent.switch(awaitable))
