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

_log = logging.getLogger("holdfast.worker")


async def serve(parts: Parts) -> None:
    """Run jobs, one after the other, until cancelled."""
    while True:
        try:
            busy = await jobs.run_next(parts)
        except HoldfastError as error:
            _log.error("worker: %s (%s)", error.code, type(error).__name__)
            busy = False
        if not busy:
            parts.wake.clear()
            with suppress(
                TimeoutError
            ):  # wait_for may lose a cancellation that comes with the wake
                async with asyncio.timeout(POLL_S):
                    await parts.wake.wait()
