"""Background workers: run due jobs until told to stop."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from holdfast.engine import jobs
from holdfast.engine.parts import Parts
from holdfast.errors import HoldfastError

POLL_S = 2.0
"""Longest pause before looking for jobs that another process queued or whose time has come."""

HELD_S = 0.25
"""Seconds after a job that was put back untried. New jobs do not end them: while the model is left
alone, each of them would be leased, refused and put back, in two transactions that those who add
wait for."""

_log = logging.getLogger("holdfast.worker")


async def serve(parts: Parts) -> None:
    """Run jobs, one after the other, until cancelled."""
    while True:
        try:
            found = await jobs.run_next(parts)
        except HoldfastError as error:
            _log.error("worker: %s (%s)", error.code, type(error).__name__)
            found = "none"
        if found == "held_back":
            await asyncio.sleep(HELD_S)
        elif found == "none":
            parts.wake.clear()
            with suppress(
                TimeoutError
            ):  # wait_for may lose a cancellation that comes with the wake
                async with asyncio.timeout(POLL_S):
                    await parts.wake.wait()
