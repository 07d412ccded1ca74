"""The end of an open store: what was noted in memory is written."""

from __future__ import annotations

import asyncio
from threading import Thread

from holdfast.engine.parts import Parts
from holdfast.limits import CLOSE_WAIT_S


async def ended(parts: Parts) -> None:
    """Write what was noted in memory, or say in the log that it is lost; nothing more is noted."""
    for noting in (parts.savings, parts.audit):
        if noting is not None:
            await noting.close()


def ended_now(parts: Parts) -> None:
    """`ended` for callers without an event loop.

    The loop that it was noted on has ended, or cannot be waited for by a function it calls: it is
    written on another. Blocks, for CLOSE_WAIT_S at most.
    """
    noted = [part for part in (parts.savings, parts.audit) if part is not None]
    if not any(part.waiting for part in noted):
        return

    async def write() -> None:
        for part in noted:
            await part.close_elsewhere()

    thread = Thread(target=lambda: asyncio.run(write()), name="holdfast-close", daemon=True)
    thread.start()
    thread.join(CLOSE_WAIT_S)
