"""What a server does once it is up, so that no request pays for it."""

from __future__ import annotations

import gc
from typing import Final

import anyio
import anyio.lowlevel

YOUNG_OBJECTS: Final = 5_000
"""Objects more than there were before at which the collector looks at the newest ones."""


async def settle() -> None:
    """Make the collector leave alone what is there for good; for a process that only serves.

    The libraries of a server are some hundred thousand objects that live as long as it does. A full
    collection looks at each of them and stops every thread for 0.1 to 0.2 s meanwhile, finds
    nothing, and comes back every few thousand requests.

    A request in flight holds a hundred objects that go with it. By Python's default the collector
    comes for seven hundred, so for every few requests that meet, and holds all up for what is no
    garbage.
    """
    await anyio.lowlevel.checkpoint()  # what clients of models run on is imported by its first use
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS)
