"""What shards have to make once many points are there, all at once."""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.backends.sharded.member import Member
from holdfast.backends.together import together
from holdfast.errors import IndexUnavailableError
from holdfast.model import OnProgress, Space
from holdfast.ports import Optimizes, Vectors


async def optimize_each(members: Sequence[Member], space: Space, told: OnProgress | None) -> None:
    """`Optimizes.optimize` of every shard; one that is away does not keep the others."""
    done: dict[str, tuple[int, int]] = {}

    async def one(member: Member) -> None:
        def heard(some: int, total: int) -> None:
            done[member.name] = some, total
            if told is not None:
                told(sum(each for each, _ in done.values()), sum(each for _, each in done.values()))

        async def call(engine: Vectors) -> None:
            if isinstance(engine, Optimizes):
                await engine.optimize(heard)

        await member.run(space, call)

    await together([one(member) for member in members])


async def optimizing_of(members: Sequence[Member], space: Space) -> int | None:
    """`Optimizes.optimizing` of the shards that answer, together."""

    async def call(engine: Vectors) -> int | None:
        return await engine.optimizing() if isinstance(engine, Optimizes) else None

    async def one(member: Member) -> int | None:
        try:
            return await member.run(space, call)
        except IndexUnavailableError:
            return None  # `shards_away` names it

    found = await together([one(member) for member in members])
    under_way = [some for some in found if some is not None]
    return sum(under_way) if under_way else None
