"""Changing the embedder on live data: fill a shadow space, switch to it, go back, clean up.

Every step can be done twice and begun again after a kill: what is there is not computed anew, and
the switch itself is one transaction.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter
from typing import Literal

from holdfast.engine import reindexing
from holdfast.engine.embedders import Embedders
from holdfast.engine.embedding import rows_of
from holdfast.engine.leasing import Lease
from holdfast.engine.ledger import Payer, record
from holdfast.engine.parts import Parts
from holdfast.engine.tolls import paid_by
from holdfast.errors import ConflictError, UnsupportedError
from holdfast.limits import EMBED_BATCH_MAX, INDEX_LEASE_S
from holdfast.model import Scope, Spared, Struct, Usage
from holdfast.ports import Embedder, FillSpace, IndexSource, Spaces, StoredSpace, Unfilled

Price = Callable[[Usage], float]
"""US dollars that a call costs."""

State = Literal["filled", "budget_spent"]

_READ_MAX = 1_000
_EMPTY_MAX = 1_000
_LEASE = "embedder:changing"


class SpaceStatus(Struct, frozen=True, kw_only=True):
    """One embedding space."""

    embedder: str
    """provider:model."""
    dimensions: int
    status: Literal["active", "shadow", "retired"]
    memories: int
    """Memories that have a vector in the active space."""
    missing: int
    """Of these, those without one in this space."""
    configured: bool
    """Whether this process has its embedder."""


class EmbedderStatus(Struct, frozen=True, kw_only=True):
    """How the change of an embedder stands."""

    epoch: int
    """Times that a space became active, or began to be filled."""
    spaces: tuple[SpaceStatus, ...]


class ChangeLimits(Struct, frozen=True, kw_only=True):
    """How fast vectors are made, and how much they may cost. None: as one likes."""

    texts_per_second: float | None = None
    requests_per_minute: float | None = None
    budget_usd: float | None = None


class Changed(Struct, frozen=True, kw_only=True):
    """How making vectors ended."""

    state: State
    """budget_spent: the next call would cost more than is left; begin again to go on."""
    embedder: str
    texts: int = 0
    """Given a vector by this call."""
    requests: int = 0
    missing: int = 0
    """Memories that still lack one."""
    cost_usd: float = 0.0


class Switched(Struct, frozen=True, kw_only=True):
    """A switch: whose vectors are searched now, and whose were."""

    embedder: str
    before: str
    epoch: int


class Progress(Struct, frozen=True, kw_only=True):
    """How far making vectors is."""

    done: int
    total: int
    cost_usd: float = 0.0


OnEmbedded = Callable[[Progress], None]
"""Called as memories get vectors of the new space."""


async def status(parts: Parts) -> EmbedderStatus:
    """How the spaces stand. Costs a scan for each. Raises StoreError."""
    spaces = _spaces(parts)
    epoch = await spaces.epoch()
    found = []
    for each in await spaces.stored():
        filling = await spaces.filling(each.no)
        found.append(
            SpaceStatus(
                embedder=_name(each),
                dimensions=each.space.dimensions,
                status=each.status,
                memories=filling.memories,
                missing=filling.missing,
                configured=parts.embedders.of(each.space) is not None,
            )
        )
    return EmbedderStatus(epoch=epoch.number, spaces=tuple(found))


async def change(
    parts: Parts,
    source: IndexSource,
    limits: ChangeLimits,
    price: Price,
    told: OnEmbedded | None = None,
) -> Changed:
    """Make the vectors of the wanted embedder that are missing; goes on where it was. A roll-back
    that was interrupted is given up.

    Raises ConflictError if another process is at it or the wanted embedder is in force already,
    UnsupportedError without `embedder_before`, ModelError, StoreError.
    """
    async with _Alone(parts, source) as lease:
        target = await _begun(parts, _wanted(parts))
        if target is None:
            return Changed(state="filled", embedder=_label(_wanted(parts)))
        return await _Filler(parts, target, lease, limits, price, told).fill()


async def cut_over(parts: Parts, source: IndexSource, told: OnEmbedded | None = None) -> Switched:
    """Search the vectors of the wanted embedder from now on.

    Raises ConflictError, and changes nothing, while vectors are missing; as `change`.
    """
    async with _Alone(parts, source) as lease:
        epoch, wanted = await _spaces(parts).epoch(), parts.embedders.known[0]
        if epoch.active.space == wanted.space:
            raise ConflictError(
                f"The vectors of {_label(wanted)} are searched already.",
                hint="`holdfast embedder status` tells how it stands; nothing was changed.",
            )
        if epoch.shadow is None or epoch.shadow.space != wanted.space:
            raise ConflictError(
                f"No vectors of {_label(wanted)} were made yet.",
                hint="Begin with `holdfast embedder change`; nothing was changed.",
            )
        return await _switched(parts, lease, epoch.shadow, told)


async def roll_back(
    parts: Parts, source: IndexSource, price: Price, told: OnEmbedded | None = None
) -> Switched:
    """Search the vectors of the embedder before again; those of what was written since are made
    first. A change that is not cut over yet is given up. Errors as `change`."""
    async with _Alone(parts, source) as lease:
        target = await _begun(parts, _before(parts))
        if target is None:
            epoch = await _spaces(parts).epoch()
            before, wanted = _label(_before(parts)), _label(_wanted(parts))
            return Switched(embedder=before, before=wanted, epoch=epoch.number)
        await _Filler(parts, target, lease, ChangeLimits(), price, told).fill()
        return await _switched(parts, lease, target, told)


async def finish(parts: Parts, source: IndexSource, told: OnEmbedded | None = None) -> int:
    """Delete the vectors of the spaces that are retired; how many. A roll-back then costs
    embedding anew. Raises ConflictError while a change is under way, StoreError."""
    spaces = _spaces(parts)
    deleted = 0
    async with _Alone(parts, source) as lease:
        if (await spaces.epoch()).shadow is not None:
            raise ConflictError(
                "Vectors of another embedder are being made.",
                hint="Finish after the cut-over; nothing was deleted.",
            )
        retired = [each for each in await spaces.stored() if each.status == "retired"]
        for each in retired:
            while count := await spaces.empty(each.no, _EMPTY_MAX):
                deleted += count
                await lease.keep()
                if told is not None:
                    told(Progress(done=deleted, total=0))
        if parts.feeder is not None:
            await reindexing.drop_spaces(parts.feeder, [each.no for each in retired])
    return deleted


async def _switched(
    parts: Parts, lease: _Alone, target: StoredSpace, told: OnEmbedded | None
) -> Switched:
    """Prepare the index for the switch, then switch."""
    spaces = _spaces(parts)
    before = (await spaces.epoch()).active
    if parts.feeder is None:
        epoch = await spaces.switch(target.no, {})
    else:

        def looked(done: int, total: int) -> None:
            if told is not None:
                told(Progress(done=done, total=total))

        await _check_filled(parts, target)
        prepared = reindexing.prepared(parts.feeder, before.no, target.no, lease.keep, looked)
        async with prepared as numbers:
            epoch = await spaces.switch(target.no, numbers)
        parts.feeder.wake.set()
    await parts.embedders.refresh()
    return Switched(embedder=_name(epoch.active), before=_name(before), epoch=epoch.number)


async def _check_filled(parts: Parts, target: StoredSpace) -> None:
    """Refuse before a collection is filled for nothing."""
    missing = (await _spaces(parts).filling(target.no)).missing
    if missing:
        raise ConflictError(
            f"{missing:,} memories have no vector of the new embedder yet.",
            hint="Run `holdfast embedder change` till it is done; nothing was changed.",
        )


async def _begun(parts: Parts, embedder: Embedder) -> StoredSpace | None:
    """The space of an embedder, which is the shadow from now on; None if it is searched, and what
    was to take its place is given up."""
    epoch = await _spaces(parts).begin(embedder.space)
    await parts.embedders.refresh()
    return epoch.shadow


def _wanted(parts: Parts) -> Embedder:
    return _both(parts.embedders)[0]


def _before(parts: Parts) -> Embedder:
    return _both(parts.embedders)[1]


def _both(embedders: Embedders) -> Sequence[Embedder]:
    if len(embedders.known) < 2:
        raise UnsupportedError(
            "Only one embedder is configured.",
            hint="Set `embedder` to the new one and `embedder_before` to the one the store has.",
        )
    return embedders.known


def _spaces(parts: Parts) -> Spaces:
    assert parts.embedders.spaces is not None
    return parts.embedders.spaces


def _name(stored: StoredSpace) -> str:
    return f"{stored.space.provider}:{stored.space.model}"


def _label(embedder: Embedder) -> str:
    return f"{embedder.space.provider}:{embedder.space.model}"


class _Alone:
    """One process at a time changes the embedder."""

    def __init__(self, parts: Parts, source: IndexSource) -> None:
        self._lease = Lease(source, _LEASE, parts.clock, INDEX_LEASE_S)

    async def __aenter__(self) -> _Alone:
        await self.keep()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._lease.release()

    async def keep(self) -> None:
        """Keep it for a while longer. Raises ConflictError."""
        if not await self._lease.hold():
            raise ConflictError(
                "The embedder is being changed by another process.",
                hint="`holdfast embedder status` tells how far it is.",
            )


@dataclass
class _Filler:
    """Makes the vectors that a space lacks."""

    parts: Parts
    target: StoredSpace
    lease: _Alone
    limits: ChangeLimits
    price: Price
    told: OnEmbedded | None
    texts: int = 0
    requests: int = 0
    cost_usd: float = 0.0
    total: int = 0
    noted: bool = False
    """Whether an index of these vectors is there already, and is to follow."""
    _due: float = field(default=0.0)
    """When the next request is welcome, by the clock of the event loop."""

    async def fill(self) -> Changed:
        """Pass over the memories until none lacks a vector, or the money is spent."""
        spaces, no = _spaces(self.parts), self.target.no
        self.total = (await spaces.filling(no)).missing
        if self.parts.feeder is not None:
            self.noted = await reindexing.build_of(self.parts.feeder, no) is not None
        self._tell()
        after = 0
        while True:
            rows = await spaces.unfilled(no, after, _READ_MAX)
            if not rows and not after:
                return await self._changed("filled")
            for batch in _batches(rows):
                if self._spent():
                    return await self._changed("budget_spent")
                await self._embed(batch)
            # behind the last: once more, for what processes without this embedder wrote
            after = rows[-1].no if rows else 0

    async def _changed(self, state: State) -> Changed:
        missing = (await _spaces(self.parts).filling(self.target.no)).missing
        return Changed(
            state=state,
            embedder=_name(self.target),
            texts=self.texts,
            requests=self.requests,
            missing=missing,
            cost_usd=self.cost_usd,
        )

    def _spent(self) -> bool:
        """Whether the next request, if it costs what they did so far, is more than is left."""
        if self.limits.budget_usd is None:
            return False
        usual = self.cost_usd / self.requests if self.requests else 0.0
        return self.cost_usd + usual > self.limits.budget_usd or self.limits.budget_usd <= 0

    async def _embed(self, batch: Sequence[Unfilled]) -> None:
        """Give one batch of a project its vectors."""
        await self.lease.keep()
        await self._pace(len(batch))
        embedder = self.parts.embedders.of(self.target.space)
        assert embedder is not None
        project = batch[0].project
        spent: list[Usage] = []
        payer = Payer(project=project, operation="reembed", scope=Scope())
        try:
            with paid_by(payer):
                rows = await embedder.embed([each.text for each in batch], spent.append)
        finally:
            await record(self.parts, payer, spent)
            self.cost_usd += sum(self.price(one) for one in spent if not isinstance(one, Spared))
        vectors = tuple(
            (each.id, each.hash, row) for each, row in zip(batch, rows_of(rows), strict=True)
        )
        op = FillSpace(space_no=self.target.no, vectors=vectors, noted=self.noted)
        await self.parts.records.commit(project, [op])
        self.texts += len(batch)
        self.requests += 1
        self._tell()

    async def _pace(self, texts: int) -> None:
        now = asyncio.get_running_loop().time()
        if self._due > now:
            await asyncio.sleep(self._due - now)
        rates = (
            (texts, self.limits.texts_per_second, 1.0),
            (1, self.limits.requests_per_minute, 60.0),
        )
        pauses = [amount * per / rate for amount, rate, per in rates if rate]
        self._due = max(now, self._due) + max(pauses, default=0.0)

    def _tell(self) -> None:
        if self.told is not None:
            done = min(self.texts, self.total)
            self.told(Progress(done=done, total=self.total, cost_usd=self.cost_usd))


def _batches(rows: Sequence[Unfilled]) -> list[list[Unfilled]]:
    """Rows of one project each, as many as an embedder is given at once."""
    found = []
    by_project = sorted(rows, key=attrgetter("project"))
    for _, group in groupby(by_project, key=attrgetter("project")):
        some = list(group)
        found += [some[i : i + EMBED_BATCH_MAX] for i in range(0, len(some), EMBED_BATCH_MAX)]
    return found
