"""What caches spared: summed in memory, so that no search waits for a write, and a row a minute.

A killed process takes the sums of its last minute with it; what was paid is never among them.
"""

from __future__ import annotations

import asyncio
import logging

from msgspec.structs import replace

from holdfast.acts import doing
from holdfast.clock import Clock
from holdfast.core.pricing import usd_of
from holdfast.errors import HoldfastError
from holdfast.limits import SPARED_FLUSH_S, SPARED_ROWS_MAX
from holdfast.metrics import Metrics
from holdfast.model import Project, Spared, Usage
from holdfast.ports import Prices, PutSpared, Records

_log = logging.getLogger("holdfast.savings")


class Savings:
    """Calls that were not made, until they are in the ledger."""

    def __init__(self, records: Records, prices: Prices, clock: Clock, metrics: Metrics) -> None:
        self._records = records
        self._prices = prices
        self._clock = clock
        self._metrics = metrics
        self._sums: dict[tuple[Project, str, str], Spared] = {}
        self._planned: asyncio.TimerHandle | None = None
        self._writing: asyncio.Task[None] | None = None
        self._closed = False

    def note(self, project: Project, operation: str, spared: Spared) -> None:
        """Count a call that was not made."""
        key = (project, operation, spared.model)
        known = self._sums.get(key)
        self._sums[key] = spared if known is None else _both(known, spared)
        self._metrics.count("spared_call", spared.model, amount=spared.calls)
        self._metrics.count("spared_token", spared.model, amount=spared.input_tokens)
        if not self._closed and (self._planned is None or len(self._sums) >= SPARED_ROWS_MAX):
            self._plan(SPARED_FLUSH_S if len(self._sums) < SPARED_ROWS_MAX else 0.0)

    async def flush(self) -> None:
        """Write what was counted. Raises StoreError; it is counted on then."""
        now = self._clock.now()
        for key, spared in list(self._sums.items()):
            project, operation, model = key
            cost = self._prices.cost(Usage(model=model, input_tokens=spared.input_tokens), now)
            row = PutSpared(
                model=model,
                operation=operation,
                at=now,
                calls=spared.calls,
                tokens=spared.input_tokens,
                nano_usd=None if cost is None else cost.nano_usd,
            )
            del self._sums[key]  # what comes while it is written is the next row's
            try:
                with doing(None):
                    await self._records.commit(project, [row])
            except BaseException:
                later = self._sums.get(key)
                self._sums[key] = spared if later is None else _both(spared, later)
                raise
            if cost is not None:
                self._metrics.count("saved_usd", model, "cache", amount=usd_of(cost.nano_usd))

    def _plan(self, delay_s: float) -> None:
        if self._planned is not None:
            self._planned.cancel()
        self._planned = asyncio.get_running_loop().call_later(delay_s, self._begin)

    def _begin(self) -> None:
        self._planned = None
        self._writing = asyncio.create_task(self._try())

    async def _try(self) -> None:
        try:
            await self.flush()
        except HoldfastError as error:  # the next time writes what this one could not
            _log.warning("what caches spared is not in the ledger yet: %s", error.code)

    @property
    def waiting(self) -> int:
        """Sums that are not written yet."""
        return len(self._sums)

    async def close_elsewhere(self) -> None:
        """`close` on another loop than the one that is used, which cannot be waited for."""
        self._closed = True
        await self._try()

    async def close(self) -> None:
        """Write what was counted."""
        self._closed = True
        if self._planned is not None:
            self._planned.cancel()
        if self._writing is not None:
            await self._writing
        await self._try()


def _both(one: Spared, other: Spared) -> Spared:
    tokens = one.input_tokens + other.input_tokens
    return replace(one, calls=one.calls + other.calls, input_tokens=tokens)
