"""Several calls at once, of which none is left behind."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any, TypeVar

from holdfast.errors import ClosedError, IndexUnavailableError

T = TypeVar("T")
E = TypeVar("E", bound=BaseException)


async def together(calls: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """All results; when some fail, after all have ended, the failure that waiting does not mend."""
    if len(calls) == 1:
        return [await calls[0]]
    ended = await asyncio.gather(*calls, return_exceptions=True)
    failures = [each for each in ended if isinstance(each, BaseException)]
    if failures:
        raise worst(failures)
    return [each for each in ended if not isinstance(each, BaseException)]


def worst(failures: Iterable[E]) -> E:
    """The one that waiting does not mend, if there is one."""
    return min(failures, key=_may_pass)


def _may_pass(failure: BaseException) -> int:
    if isinstance(failure, IndexUnavailableError):
        return 2
    return 1 if isinstance(failure, ClosedError) else 0
