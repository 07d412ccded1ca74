"""What a server does once it is up, so that no request pays for it."""

from __future__ import annotations

import gc

import anyio
import anyio.lowlevel


async def settle() -> None:
    """Make the collector leave alone what is there for good; for a process that only serves.

    The libraries of a server are some hundred thousand objects that live as long as it does. A full
    collection looks at each of them and stops every thread for 0.1 to 0.2 s meanwhile, finds
    nothing, and comes back every few thousand requests.
    """
    await anyio.lowlevel.checkpoint()  # what clients of models run on is imported by its first use
    gc.collect()
    gc.freeze()
