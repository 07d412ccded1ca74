"""What the calls of one dependency share: a deadline, slots, a breaker, pauses, and their retries.

Only what the dependency's unavailable error tells is tried again. A provider that names a time to
wait holds back every call of its own, not just the one it told; if the time lies beyond the
deadline the call ends at once and its error says how long to wait. What fails again and again is
not asked for a while, and calls beyond the slots wait in a bounded queue: neither keeps anybody.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import Awaitable, Callable
from typing import Final, Literal, NamedTuple, TypeVar

from holdfast import deadline, limits
from holdfast.core.breaker import Breaker, BreakerBounds
from holdfast.errors import (
    BudgetExceededError,
    HoldfastError,
    IndexUnavailableError,
    ModelUnavailableError,
)
from holdfast.model import Struct

T = TypeVar("T")

Called = Callable[[str, float], None]
"""Told of a call that ended: the code of its error, empty for none, and the seconds it took."""

Event = Literal["open", "closed", "held_back", "full", "retry"]
"""open, closed: the breaker changed; held_back: a call was refused because it is open; full:
because the queue is; retry: a call is made again."""

Away = type[ModelUnavailableError] | type[IndexUnavailableError]

_SLACK_S: Final = 0.02
"""So much before the deadline an error is taken to be about it."""

_log = logging.getLogger("holdfast.calls")


class Bounds(Struct, frozen=True, kw_only=True):
    """How far a dependency may be used."""

    timeout_s: float = limits.MODEL_TIMEOUT_S
    """Seconds a call may take with retries and waits; `complete` and `rerank` name their own."""
    tries_max: int = 4
    backoff_s: float = 0.5
    """Longest pause before the second try; doubles with each further one."""
    backoff_max_s: float = 20.0
    concurrency_max: int = 8
    """Calls at once; others wait, within their deadline."""
    queue_max: int = limits.CALLS_WAITING_MAX
    """Calls that wait for others to end; those beyond fail at once."""
    patience_s: float = 5.0
    """A call that had less time, for its caller had, tells nothing by running out of it."""
    breaker: BreakerBounds = BreakerBounds()


class _Span(NamedTuple):
    """The time of one call, with its retries."""

    name: str
    length_s: float
    ends: float
    try_s: float
    short: bool
    """Whether its caller gave it too little time to tell anything by."""


class Gate:
    """Stands before one dependency; all its calls go through it."""

    def __init__(
        self,
        bounds: Bounds,
        *,
        away: Away = ModelUnavailableError,
        chance: Callable[[], float] = random.random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        told: Called = lambda _code, _took_s: None,
        noted: Callable[[Event], None] = lambda _event: None,
    ) -> None:
        """`away`: the error that says the dependency is. `chance` gives 0..1 for the jitter; it and
        `sleep` are parameters for tests. `told` hears of every call, its retries within, and
        `noted` of what was done for it on the way."""
        self._bounds = bounds
        self._away = away
        self._chance = chance
        self._sleep = sleep
        self._told = told
        self._noted = noted
        self._slots = asyncio.Semaphore(bounds.concurrency_max)
        self._waiting = 0
        self._breaker = Breaker(bounds.breaker)
        self._not_before = 0.0

    async def run(
        self,
        name: str,
        timeout_s: float,
        call: Callable[[float], Awaitable[T]],
        *,
        try_s: float = math.inf,
    ) -> T:
        """Run `call`, which is told the seconds it has left, and again while that may help.

        All tries together have `timeout_s`, and no more than their share of what the caller of all
        this has left (`holdfast.deadline`); each has `try_s`. Raises what the last try raised, or
        the unavailable error when the time is over, the breaker open or the queue full.
        """
        began = asyncio.get_running_loop().time()
        share_s = deadline.share_s()
        length_s = min(timeout_s, share_s)
        short = length_s < min(self._bounds.timeout_s, self._bounds.patience_s)
        span = _Span(name, length_s, began + length_s, try_s, short)
        try:
            result = await self._within(span, call)
        except BudgetExceededError:
            raise  # nothing was asked: it tells nothing of whom it would have asked
        except HoldfastError as error:
            self._told(error.code, asyncio.get_running_loop().time() - began)
            raise
        self._told("", asyncio.get_running_loop().time() - began)
        return result

    async def _within(self, span: _Span, call: Callable[[float], Awaitable[T]]) -> T:
        if span.length_s <= 0:
            raise self._untried(f"There is no time left to ask {span.name}.")
        try:
            async with asyncio.timeout_at(span.ends):
                await self._enter(span)
                try:
                    return await self._tries(span, call)
                finally:
                    self._slots.release()
        except TimeoutError:
            late = self._away(f"{span.name} gave no answer within {span.length_s:.3g} s.")
            if isinstance(late, ModelUnavailableError):
                late.because("timeout").tried = not span.short
            raise late from None

    async def _enter(self, span: _Span) -> None:
        """Wait for a slot, unless it is known to be in vain."""
        self._check_breaker(span)
        if self._slots.locked() and self._waiting >= self._bounds.queue_max:
            self._noted("full")
            raise self._untried(f"{span.name} has too many calls waiting.", 1.0)
        self._waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self._waiting -= 1

    async def _tries(self, span: _Span, call: Callable[[float], Awaitable[T]]) -> T:
        time = asyncio.get_running_loop().time
        tries = 0
        while True:
            await self._wait_turn(span)
            tries += 1
            try:
                return await self._once(span, call)
            except self._away as error:
                pause = self._pause(tries, error.retry_after_s)
                if error.retry_after_s is not None:
                    self._not_before = max(self._not_before, time() + error.retry_after_s)
                if tries == self._bounds.tries_max or time() + pause >= span.ends:
                    raise
                wait_s = self._breaker.wait_s(time())
                if wait_s:
                    error.retry_after_s = max(wait_s, error.retry_after_s or 0.0)
                    raise
            self._noted("retry")
            await self._sleep(pause)

    async def _once(self, span: _Span, call: Callable[[float], Awaitable[T]]) -> T:
        """One try, and what it says of the dependency."""
        time = asyncio.get_running_loop().time
        permit = self._breaker.admit(time())
        if permit is None:
            raise self._held_back(span)
        success: bool | None = None
        try:
            result = await self._in_time(span, call)
            success = True
        except self._away as error:
            success = self._verdict(span, error)
            raise
        except BudgetExceededError:
            raise
        except HoldfastError:  # it is there, and said no
            success = True
            raise
        except asyncio.CancelledError:
            if self._is_over(span) and not span.short:
                success = False
            raise
        finally:
            if self._breaker.ended(permit, time(), success):
                self._changed(span)
        return result

    async def _in_time(self, span: _Span, call: Callable[[float], Awaitable[T]]) -> T:
        left_s = span.ends - asyncio.get_running_loop().time()
        if span.try_s >= left_s:
            return await call(left_s)
        timeout = asyncio.timeout(span.try_s)
        try:
            async with timeout:
                return await call(span.try_s)
        except TimeoutError:
            if not timeout.expired():
                raise
            raise self._away(f"{span.name} gave no answer within {span.try_s:.3g} s.") from None

    def _verdict(self, span: _Span, error: HoldfastError) -> bool | None:
        """What an unavailable error says of the dependency: not always that it is away."""
        if span.short and self._is_over(span):
            if isinstance(error, ModelUnavailableError):
                error.tried = False
            return None
        limited = isinstance(error, ModelUnavailableError) and error.reason == "rate_limited"
        return None if limited else False

    def _is_over(self, span: _Span) -> bool:
        return asyncio.get_running_loop().time() >= span.ends - _SLACK_S

    def _changed(self, span: _Span) -> None:
        opened = self._breaker.state(asyncio.get_running_loop().time()) == "open"
        self._noted("open" if opened else "closed")
        told = "failed too often and is left alone" if opened else "is asked again"
        _log.warning("%s %s", span.name, told)

    def _check_breaker(self, span: _Span) -> None:
        if self._breaker.wait_s(asyncio.get_running_loop().time()):
            raise self._held_back(span)

    def _held_back(self, span: _Span) -> HoldfastError:
        self._noted("held_back")
        wait_s = self._breaker.wait_s(asyncio.get_running_loop().time())
        return self._untried(f"{span.name} failed too often and is left alone.", wait_s)

    def _untried(self, message: str, wait_s: float | None = None) -> HoldfastError:
        error = self._away(message, retry_after_s=wait_s)
        if isinstance(error, ModelUnavailableError):
            error.tried = False
        return error

    async def _wait_turn(self, span: _Span) -> None:
        """Wait while the provider has told another call to wait."""
        left = self._not_before - asyncio.get_running_loop().time()
        if left <= 0:
            return
        if self._not_before >= span.ends:
            raise self._untried(f"{span.name} has asked for a pause.", left)
        await self._sleep(left)

    def _pause(self, tries: int, retry_after_s: float | None) -> float:
        """Full jitter: anything up to the doubled bound, after what the provider asked for."""
        bounds = self._bounds
        longest = min(bounds.backoff_max_s, bounds.backoff_s * 2.0 ** (tries - 1))
        return (retry_after_s or 0.0) + self._chance() * longest
