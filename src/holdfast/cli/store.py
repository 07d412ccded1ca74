"""Opens the store a command works on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from holdfast.cli.options import Common

if TYPE_CHECKING:
    from holdfast import AsyncMemory, Memory
    from holdfast.config import Resolved


def resolved(common: Common, home: Path | None = None) -> Resolved:
    """The settings that `--config` and `--home` name; `home` goes before both.

    Raises:
        ConfigError: a setting is unknown or wrong.
    """
    from holdfast.config import load_config

    place = home or common.home
    return load_config(common.config, overrides=None if place is None else {"path": str(place)})


def opened(common: Common, home: Path | None = None) -> Memory:
    """The store they name; leave the context it is to close it.

    In a `home` it is one of its own: the records, index and cache they name are not touched.
    """
    from holdfast import Memory
    from holdfast.config import CACHE, INDEX, RECORDS, Part

    config = resolved(common, home).config
    if home is not None:
        own = {"records": Part(RECORDS), "index": Part(INDEX), "cache": Part(CACHE)}
        config = replace(config, **own)
    return Memory(config)


def opened_async(common: Common) -> AsyncMemory:
    """The same for asynchronous work; opened on entering its context."""
    from holdfast import AsyncMemory

    return AsyncMemory(resolved(common).config)
