"""The public face of the external index: its status, verification, repair and rebuilding."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Literal

from msgspec.structs import replace

from holdfast.core import verbs
from holdfast.engine import rebalancing as moving
from holdfast.engine import reindexing as engine
from holdfast.engine.auditing import audited
from holdfast.engine.comparing import Drift
from holdfast.engine.indexing import Feeder
from holdfast.engine.parts import Parts
from holdfast.engine.rebalancing import Rebalanced
from holdfast.engine.reindexing import IndexStatus, Rebuilt
from holdfast.errors import ConflictError, HoldfastError, UnsupportedError
from holdfast.model import OnProgress, Struct

Kind = Literal["verify", "repair", "rebuild", "rebalance"]


class IndexWork(Struct, frozen=True, kw_only=True):
    """Work on the index in the background of one process. Times are epoch seconds."""

    kind: Kind
    state: Literal["RUNNING", "SUCCEEDED", "FAILED", "CANCELLED"]
    done: int = 0
    """Memories looked at."""
    total: int = 0
    started_at: float
    ended_at: float | None = None
    result: Drift | Rebuilt | Rebalanced | None = None
    error: str | None = None
    """Code of the error with which it failed."""


@audited(verbs.INDEX, "index.")
class Indexes:
    """The index of a deployment, of all its projects; `AsyncAdmin.index` gives it.

    The index in this process has nothing to be compared or built: it is made from the records as
    it is needed. All but `status` raise UnsupportedError there.
    """

    def __init__(self, parts: Callable[[], Awaitable[Parts]]) -> None:
        """`parts`: gives those of the deployment, opened."""
        self._parts = parts
        self._task: asyncio.Task[None] | None = None
        self.work: IndexWork | None = None
        """What this process does, or did last, in the background."""

    async def status(self) -> IndexStatus:
        """How the index stands. Costs a scan of the store. Raises StoreError."""
        parts = await self._parts()
        if parts.feeder is None:
            census = await parts.records.census(parts.clock.now())
            return IndexStatus(name="embedded", external=False, memories=census.memories)
        return await engine.status(parts.feeder)

    async def verify(self, *, repair: bool = False, told: OnProgress | None = None) -> Drift:
        """Compare every point of the index with the records; `repair`: mend what differs.

        What is written meanwhile may count. `told`: how many memories were looked at, and of how
        many. Raises UnsupportedError, IndexUnavailableError, StoreError.
        """
        return await engine.verify(await self._feeder(), repair=repair, told=told)

    async def rebuild(self, told: OnProgress | None = None) -> Rebuilt:
        """Build the index anew beside the one that is searched, then search the new one.

        No text is embedded again. Interrupted, it goes on where it was when called again. Raises
        UnsupportedError, ConflictError if it is under way, IndexUnavailableError, StoreError.
        """
        return await engine.rebuild(await self._feeder(), told)

    async def rebalance(self, told: OnProgress | None = None) -> Rebalanced:
        """Move the memories of a sharded index to where the configuration wants them, while
        everybody works. Every instance must have been started with this configuration before.

        Interrupted, it goes on where it was when called again. Raises UnsupportedError if the
        index is not sharded, ConflictError if it is under way, IndexUnavailableError, StoreError.
        """
        return await moving.rebalance(await self._feeder(), told)

    async def discard(self) -> bool:
        """Give up a rebuild: stop it if it is this process's, and drop what it made. False if there
        was none. Raises ConflictError if it is another process's; as `rebuild`."""
        feeder = await self._feeder()
        if self.work is not None and self.work.kind == "rebuild":
            await self._stop()
        return await engine.discard(feeder)

    async def begin(self, kind: Kind) -> IndexWork:
        """Do this in the background of this process; `work` tells how far it is.

        Raises ConflictError while there is other work, UnsupportedError.
        """
        parts = await self._parts()
        await self._feeder()
        if self._task is not None and not self._task.done():
            raise ConflictError(
                "The index is being worked on already.", hint="Ask for its status; then try again."
            )
        self.work = IndexWork(kind=kind, state="RUNNING", started_at=parts.clock.now())
        self._task = asyncio.create_task(self._run(kind, parts.clock.now))
        return self.work

    async def close(self) -> None:
        """Stop what is done in the background."""
        await self._stop()

    async def _stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self, kind: Kind, now: Callable[[], float]) -> None:
        def told(done: int, total: int) -> None:
            self._change(done=done, total=total)

        try:
            result: Drift | Rebuilt | Rebalanced
            if kind == "rebuild":
                result = await self.rebuild(told)
            elif kind == "rebalance":
                result = await self.rebalance(told)
            else:
                result = await self.verify(repair=kind == "repair", told=told)
        except asyncio.CancelledError:
            self._change(state="CANCELLED", ended_at=now())
            raise
        except HoldfastError as error:
            self._change(state="FAILED", ended_at=now(), error=error.code)
        else:
            self._change(state="SUCCEEDED", ended_at=now(), result=result)

    def _change(self, **values: Any) -> None:
        assert self.work is not None
        self.work = replace(self.work, **values)

    async def _feeder(self) -> Feeder:
        feeder = (await self._parts()).feeder
        if feeder is None:
            raise UnsupportedError(
                "The embedded index is made from the records as it is needed.",
                hint="There is nothing to verify or to rebuild.",
            )
        return feeder
