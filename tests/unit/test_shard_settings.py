"""What a sharded index is told: its settings, and the file of its map."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from holdfast.backends.shard_maps import FileShardMaps
from holdfast.backends.sharded import build
from holdfast.config import Part
from holdfast.errors import ConfigError, StoreUnavailableError


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({}, "shards"),
        ({"shards": []}, "shards"),
        ({"shards": [{"name": "A b", "provider": "qdrant"}]}, "name"),
        ({"shards": [{"name": "a"}]}, "provider"),
        ({"shards": [{"name": "a", "provider": "nothing"}]}, "there is no engine 'nothing'"),
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
        build(part, "c")


def test_a_map_must_be_kept_somewhere() -> None:
    part = Part(provider="sharded", config={"shards": [{"name": "a", "provider": "qdrant"}]})
    with pytest.raises(ConfigError, match="map_path"):
        build(part, "c")


async def test_maps_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "map.json"
    maps = [FileShardMaps(path) for _ in range(4)]
    assert await maps[0].load("c") is None
    won = await asyncio.gather(*(each.save("c", 0, b"%d" % n) for n, each in enumerate(maps)))
    assert sorted(won) == [False, False, False, True]
    assert await maps[1].load("c") == (1, b"%d" % won.index(True))
    assert await maps[2].save("other", 0, b"x")
    assert not await maps[2].save("c", 0, b"late")
    assert await maps[2].save("c", 1, b"\xff\0")
    assert await maps[3].load("c") == (2, b"\xff\0")
    await maps[0].forget("c")
    await maps[0].forget("c")
    assert await maps[1].load("c") is None
    assert await maps[1].load("other") == (1, b"x")
    path.write_text("{")
    with pytest.raises(ConfigError, match="not a map of shards"):
        await maps[0].load("c")
    with pytest.raises(StoreUnavailableError, match="cannot be used"):
        await FileShardMaps(tmp_path / "nowhere" / "map").save("c", 0, b"")
