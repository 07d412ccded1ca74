"""Move the points of an index of several shards to where the configuration wants them."""

from __future__ import annotations

from holdfast.engine.indexing import Feeder
from holdfast.engine.ownership import sign
from holdfast.errors import UnsupportedError
from holdfast.model import OnProgress, Struct
from holdfast.ports.shards import Progress, Rebalances


class Rebalanced(Struct, frozen=True, kw_only=True):
    """What a rebalancing did."""

    memories: int = 0
    """Those it looked at in its last walk; 0 if there was nothing to do."""
    moved: int = 0
    """Those of them that live in another shard now."""


async def rebalance(feeder: Feeder, told: OnProgress | None = None) -> Rebalanced:
    """See `ports.shards.Rebalances`. `told` hears of two walks over all memories as of one.

    Raises UnsupportedError if the index is not sharded.
    """
    vectors = await feeder.collection(await feeder.build())
    if not isinstance(vectors, Rebalances):
        raise UnsupportedError("The index is not sharded.", hint="There is nothing to rebalance.")
    last = Rebalanced()

    def heard(phase: str, at: Progress) -> None:
        nonlocal last
        last = Rebalanced(memories=at.seen, moved=at.moved)
        if told is not None:
            told((at.total if phase == "cleaning" else 0) + at.seen, 2 * at.total)

    project, point = await sign(feeder.source)
    await vectors.rebalance(feeder.source, beside={project: [point]}, told=heard)
    return last
