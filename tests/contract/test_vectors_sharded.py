"""A sharded index is an index: the contract with one shard, and with three."""

from __future__ import annotations

import pytest

from holdfast.backends.memory.vectors import Engine, MemoryVectors
from holdfast.backends.sharded.vectors import ShardedSettings, ShardedVectors, ShardSettings
from holdfast.testing.contracts.vectors import MakeVectors, VectorsContract
from support.shards import MemoryShardMaps


@pytest.mark.parametrize("shards", [1, 3])
class TestShardedVectors(VectorsContract):
    @pytest.fixture
    def make(self, shards: int) -> MakeVectors:
        engine, maps = Engine(), MemoryShardMaps()
        settings = ShardedSettings(
            shards=tuple(ShardSettings(name=f"s{n}", provider="memory") for n in range(shards))
        )
        return lambda collection="first": ShardedVectors(
            collection, settings, lambda _part, name: MemoryVectors(engine, name), maps
        )
