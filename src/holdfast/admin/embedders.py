"""The public face of changing the embedder on live data."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Literal

from msgspec.structs import replace

from holdfast.core import verbs
from holdfast.core.pricing import usd_of
from holdfast.engine import reembedding as engine
from holdfast.engine.auditing import audited
from holdfast.engine.parts import Parts
from holdfast.engine.reembedding import (
    Changed,
    ChangeLimits,
    EmbedderStatus,
    OnEmbedded,
    Price,
    Progress,
    Switched,
)
from holdfast.errors import ConflictError, HoldfastError, ValidationError
from holdfast.model import Struct, Usage
from holdfast.ports import IndexSource


class ChangeWork(Struct, frozen=True, kw_only=True):
    """Vectors made in the background of one process. Times are epoch seconds."""

    state: Literal["RUNNING", "SUCCEEDED", "BUDGET_SPENT", "FAILED", "CANCELLED"]
    progress: Progress
    started_at: float
    ended_at: float | None = None
    result: Changed | None = None
    error: str | None = None
    """Code of the error with which it failed."""


@audited(verbs.EMBEDDER, "embedder.")
class EmbedderChange:
    """Changing the embedder of a deployment, of all its projects; `AsyncAdmin.embedder` gives it.

    The configuration names the new one as `embedder`, and the one the store has as
    `embedder_before`, in every process. Nothing else changes until `cutover`.
    """

    def __init__(
        self, parts: Callable[[], Awaitable[Parts]], source: Callable[[], IndexSource]
    ) -> None:
        """`parts`: gives those of the deployment, opened; `source`: where its named numbers are."""
        self._parts = parts
        self._source = source
        self._task: asyncio.Task[None] | None = None
        self.work: ChangeWork | None = None
        """What this process does, or did last, in the background."""

    async def status(self) -> EmbedderStatus:
        """How the embedding spaces stand. Costs a scan of the store. Raises StoreError."""
        return await engine.status(await self._parts())

    async def change(
        self,
        limits: ChangeLimits | None = None,
        *,
        price: Price | None = None,
        told: OnEmbedded | None = None,
    ) -> Changed:
        """Make the vectors of the new embedder that are missing; interrupted, it goes on where it
        was when it is called again.

        Args:
            limits: how fast, and for how much money.
            price: US dollars that a call costs; the price list's if it is not given.
            told: told how far it is.

        Raises:
            UnsupportedError without `embedder_before`; ConflictError if another process is at it,
            or the new embedder is searched already; ValidationError, ModelError, StoreError.
        """
        limits = limits or ChangeLimits()
        parts = await self._parts()
        price = price or _listed(parts)
        _check(limits, price, parts)
        return await engine.change(parts, self._source(), limits, price, told)

    async def cutover(self, told: OnEmbedded | None = None) -> Switched:
        """Search the vectors of the new embedder from now on, in every process at once.

        Raises ConflictError, and changes nothing, while any are missing; StoreError.
        """
        return await engine.cut_over(await self._parts(), self._source(), told)

    async def rollback(
        self, *, price: Price | None = None, told: OnEmbedded | None = None
    ) -> Switched:
        """Search the vectors of the embedder before again, once those of what was written since
        are made. Errors as of `change`."""
        parts = await self._parts()
        return await engine.roll_back(parts, self._source(), price or _listed(parts), told)

    async def finish(self, told: OnEmbedded | None = None) -> int:
        """Delete the vectors that are not searched any more; how many they were.

        Raises ConflictError while a change is under way; StoreError.
        """
        return await engine.finish(await self._parts(), self._source(), told)

    async def begin(self, limits: ChangeLimits) -> ChangeWork:
        """`change` in the background of this process; `work` tells how far it is.

        Raises ConflictError while it is under way here; ValidationError.
        """
        parts = await self._parts()
        _check(limits, _listed(parts), parts)
        if self._task is not None and not self._task.done():
            raise ConflictError(
                "This process is changing the embedder already.", hint="Ask for its status."
            )
        now = parts.clock.now
        self.work = ChangeWork(
            state="RUNNING", progress=Progress(done=0, total=0), started_at=now()
        )
        self._task = asyncio.create_task(self._run(limits, now))
        return self.work

    async def close(self) -> None:
        """Stop what is done in the background; what was made by then is kept."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self, limits: ChangeLimits, now: Callable[[], float]) -> None:
        try:
            result = await self.change(limits, told=lambda progress: self._note(progress=progress))
        except asyncio.CancelledError:
            self._note(state="CANCELLED", ended_at=now())
            raise
        except HoldfastError as error:
            self._note(state="FAILED", ended_at=now(), error=error.code)
        else:
            state = "SUCCEEDED" if result.state == "filled" else "BUDGET_SPENT"
            self._note(state=state, ended_at=now(), result=result)

    def _note(self, **values: Any) -> None:
        assert self.work is not None
        self.work = replace(self.work, **values)


def _listed(parts: Parts) -> Price:
    """US dollars that a call costs by the price list; 0 where it does not know the model."""

    def price(usage: Usage) -> float:
        cost = parts.prices.cost(usage, parts.clock.now())
        return 0.0 if cost is None else usd_of(cost.nano_usd)

    return price


def _check(limits: ChangeLimits, price: Price, parts: Parts) -> None:
    for name in limits.__struct_fields__:
        value = getattr(limits, name)
        if value is not None and not 0 < value < float("inf"):
            raise ValidationError(f"{name} must be above 0.", hint="Leave it out for no limit.")
    wanted = parts.embedders.known[0]
    if limits.budget_usd is None or wanted.in_process:
        return
    name = f"{wanted.space.provider}:{wanted.space.model}"
    if not price(Usage(model=name, input_tokens=1_000_000)):
        raise ValidationError(
            f"A budget needs a price, and none is known of {name}.",
            hint="Leave the budget out; a rate bounds the work as well.",
        )
