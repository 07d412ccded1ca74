"""The rate at which a provider may be asked: requests and tokens a minute.

Permits come from the shared cache, so that all instances together keep to the rate; without one, or
while it is away, each instance keeps to it alone. Tokens are estimated before a call and put right
after it: what was taken too little is taken with the next call, and what was too much is given
back with it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, TypeVar

from holdfast.core import bucket
from holdfast.core.bucket import Bucket
from holdfast.errors import BadAnswerError, CacheUnavailableError, ModelUnavailableError
from holdfast.model import Json, Struct, Usage
from holdfast.ports import LLM, Answer, Cache, Ranking, Reranker, Spent

T = TypeVar("T")

_CHARS_PER_TOKEN: Final = 4.0
"""Of English; others have fewer, which the correction makes up for."""

ANSWER_TOKENS: Final = 300
"""What an answer is taken to have, until some were seen."""

_FOLLOWS: Final = 0.2
"""Weight of the last answer in the mean of answers' tokens."""

_MINUTE_S: Final = 60.0

_WAIT_MIN_S: Final = 0.001
"""What rounding leaves to wait is not asked for over and over."""

_CREDIT_S: Final = 10.0
"""Estimates that were too high are given back up to so many seconds of the rate."""


class Rate(Struct, frozen=True, kw_only=True):
    """What a provider allows a minute; None: it is not bounded."""

    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None


class Pace:
    """Keeps the calls of one model to its rate."""

    def __init__(
        self,
        name: str,
        rate: Rate,
        cache: Cache | None = None,
        *,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        noted: Callable[[], None] = lambda: None,
        answer_tokens: float = ANSWER_TOKENS,
    ) -> None:
        """`name`: of the model; whoever has the same name and cache shares the rate. `noted` hears
        of each call that was kept waiting. `answer_tokens`: what an answer is taken to have, until
        some were seen."""
        self._name = name
        self._rate = rate
        self._cache = cache
        self._now = now
        self._sleep = sleep
        self._noted = noted
        self._own: dict[str, Bucket] = {}
        self._owed = 0.0
        """Tokens that calls took beyond what was taken for them; below 0: less."""
        self._more_requests = 0
        """Requests that calls made beyond the one that was taken for each."""
        self._answer_tokens = answer_tokens

    async def admit(self, chars: int, timeout_s: float) -> float:
        """Wait until a call with `chars` characters may be made; the tokens estimated for it.

        Raises ModelUnavailableError, with the time to wait, if that is beyond `timeout_s`.
        """
        ends = self._now() + timeout_s
        estimate = chars / _CHARS_PER_TOKEN + self._answer_tokens
        tokens, requests = self._rate.tokens_per_minute, self._rate.requests_per_minute
        if tokens is not None:
            wanted = estimate + self._owed
            taken = min(max(0.0, wanted), tokens)
            self._owed = wanted - taken
            await self._take("tokens", taken, tokens, ends, back=taken - estimate)
        if requests is not None:
            more = min(self._more_requests, int(requests))
            self._more_requests -= more
            try:
                wanted = min(1.0 + more, requests)
                await self._take("requests", wanted, requests, ends, back=-estimate)
            except BaseException:
                self._more_requests += more
                raise
        return estimate

    async def embedding(
        self,
        chars: int,
        timeout_s: float,
        spent: Spent | None,
        call: Callable[[Spent], Awaitable[T]],
    ) -> T:
        """Make a call of an embedder, of so many characters, when its turn has come.

        It may be several requests, of which the others are taken with the next call. Raises what
        `admit` does, and the call.
        """
        estimate = await self.admit(chars, timeout_s)
        told: list[Usage] = []

        def tell(usage: Usage) -> None:
            told.append(usage)
            if spent is not None:
                spent(usage)

        try:
            return await call(tell)
        finally:
            self._more_requests += max(0, len(told) - 1)
            tokens = sum(usage.input_tokens + usage.output_tokens for usage in told)
            if tokens:  # some providers do not tell
                self._owe(tokens - estimate)

    def settle(self, estimate: float, usage: Usage | None) -> None:
        """Tell what a call took; None is not known, and the estimate stands."""
        if usage is None:
            return
        self._answer_tokens += _FOLLOWS * (usage.output_tokens - self._answer_tokens)
        self._owe(usage.input_tokens + usage.output_tokens - estimate)

    def _owe(self, more: float) -> None:
        per_minute = self._rate.tokens_per_minute
        if per_minute is not None:  # what is given back is bounded: the bucket fills meanwhile
            self._owed = max(self._owed + more, -per_minute * _CREDIT_S / _MINUTE_S)

    async def _take(
        self, what: str, amount: float, per_minute: float, ends: float, *, back: float
    ) -> None:
        """Take from a bucket; `back` is owed, or given back, if the call is not made after all."""
        taken = False
        try:
            await self._taken(what, amount, per_minute, ends)
            taken = True
        finally:
            if not taken:
                self._owe(back)

    async def _taken(self, what: str, amount: float, per_minute: float, ends: float) -> None:
        wait_s = await self._ask(what, amount, per_minute)
        if wait_s > 0:
            self._noted()
        while wait_s > 0:
            if self._now() + wait_s >= ends:
                late = ModelUnavailableError(
                    f"{self._name} has had as many {what} this minute as it may.",
                    retry_after_s=wait_s,
                )
                late.tried = False
                raise late.because("rate_limited")
            await self._sleep(max(wait_s, _WAIT_MIN_S))
            wait_s = await self._ask(what, amount, per_minute)

    async def _ask(self, what: str, amount: float, per_minute: float) -> float:
        per_second = per_minute / _MINUTE_S
        if self._cache is not None:
            key = f"rate:{what}:{self._name}"
            try:
                return await self._cache.take(key, amount, per_second, per_minute)
            except CacheUnavailableError:
                pass  # this instance keeps to the rate by itself: see above
        self._own[what], wait_s = bucket.take(
            self._own.get(what), self._now(), amount, per_second, per_minute
        )
        return wait_s


class PacedLLM:
    """An LLM that is asked at its provider's rate."""

    def __init__(self, inner: LLM, pace: Pace) -> None:
        self.name = inner.name
        self._inner = inner
        self._pace = pace

    async def complete(
        self, system: str, user: str, *, schema: Mapping[str, Json], timeout_s: float
    ) -> Answer:
        """As the inner model, when its turn has come."""
        began = asyncio.get_running_loop().time()
        chars = len(system) + len(user) + len(str(schema))
        estimate = await self._pace.admit(chars, timeout_s)
        left_s = timeout_s - (asyncio.get_running_loop().time() - began)
        usage: Usage | None = None
        try:
            answer = await self._inner.complete(system, user, schema=schema, timeout_s=left_s)
            usage = answer.usage
        except BadAnswerError as error:
            usage = error.usage
            raise
        finally:
            self._pace.settle(estimate, usage)
        return answer

    async def close(self) -> None:
        """Close the inner model."""
        await self._inner.close()


class PacedReranker:
    """A reranker that is asked at its provider's rate."""

    def __init__(self, inner: Reranker, pace: Pace) -> None:
        self.name = inner.name
        self._inner = inner
        self._pace = pace

    async def rerank(self, query: str, texts: Sequence[str], *, timeout_s: float) -> Ranking:
        """As the inner reranker, when its turn has come."""
        began = asyncio.get_running_loop().time()
        estimate = await self._pace.admit(len(query) + sum(map(len, texts)), timeout_s)
        left_s = timeout_s - (asyncio.get_running_loop().time() - began)
        usage: Usage | None = None
        try:
            ranking = await self._inner.rerank(query, texts, timeout_s=left_s)
            usage = ranking.usage
        except BadAnswerError as error:
            usage = error.usage
            raise
        finally:
            self._pace.settle(estimate, usage)
        return ranking

    async def close(self) -> None:
        """Close the inner reranker."""
        await self._inner.close()
