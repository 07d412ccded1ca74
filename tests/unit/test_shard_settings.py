"""What a sharded index is told: its settings, and the file of its map."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from holdfast.backends.memory.vectors import Engine, MemoryVectors
from holdfast.backends.sharded.maps import DirectoryShardMaps, FileShardMaps
from holdfast.backends.sharded.vectors import build
from holdfast.config import Part
from holdfast.errors import ConfigError, StoreUnavailableError
from holdfast.ports.shards import ShardMaps
from support.embedded import opened


def engine(_part: Part, name: str) -> MemoryVectors:
    return MemoryVectors(Engine(), name)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({}, "shards"),
        ({"shards": []}, "shards"),
        ({"shards": [{"name": "A b", "provider": "qdrant"}]}, "name"),
        ({"shards": [{"name": "a"}]}, "provider"),
        ({"shards": [{"name": "a", "provider": "qdrant"}] * 2}, "the same name"),
        (
            {"shards": [{"name": "a", "provider": "qdrant", "drain": True}]},
            "every shard is leaving",
        ),
        ({"shards": [{"name": "a", "provider": "qdrant", "weight": 0}]}, "weight"),
        ({"shards": [{"name": "a", "provider": "qdrant"}], "pins": [{"user": "x"}]}, "pins"),
        ({"shards": [{"name": "a", "provider": "qdrant"}], "pin": []}, "pins"),
    ],
)
def test_settings_that_mean_nothing_are_refused(
    config: dict[str, Any], said: str, tmp_path: Path
) -> None:
    part = Part(provider="sharded", config={"map_path": str(tmp_path / "map"), **config})
    with pytest.raises(ConfigError, match=said):
        build(part, "c", make=engine, maps=FileShardMaps(tmp_path / "map"))


async def test_maps_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "map.json"
    maps = FileShardMaps(path)
    assert await maps.save("c", 0, b"\xff\0")
    assert await FileShardMaps(path).load("c") == (1, b"\xff\0")
    path.write_text("{")
    with pytest.raises(ConfigError, match="not a map of shards"):
        await maps.load("c")
    with pytest.raises(StoreUnavailableError, match="cannot be used"):
        await FileShardMaps(tmp_path / "nowhere" / "map").save("c", 0, b"")


@pytest.mark.parametrize("kind", ["records", "file"])
async def test_of_two_who_change_a_map_one_does(kind: str, tmp_path: Path) -> None:
    async with opened(tmp_path / "holdfast.db") as parts:
        maps: ShardMaps = (
            DirectoryShardMaps(parts.directory)
            if kind == "records"
            else FileShardMaps(tmp_path / "map.json")
        )
        assert await maps.load("c") is None
        assert not await maps.save("c", 1, b"too early")
        won = await asyncio.gather(*(maps.save("c", 0, b"%d" % n) for n in range(4)))
        assert sorted(won) == [False, False, False, True]
        assert await maps.load("c") == (1, b"%d" % won.index(True))
        assert await maps.save("other", 0, b"x")
        won = await asyncio.gather(*(maps.save("c", 1, b"%d" % n) for n in range(4)))
        assert sorted(won) == [False, False, False, True]
        assert await maps.load("c") == (2, b"%d" % won.index(True))
        assert not await maps.save("c", 1, b"late")
        await maps.forget("c")
        await maps.forget("c")
        assert await maps.load("c") is None
        assert await maps.load("other") == (1, b"x")
