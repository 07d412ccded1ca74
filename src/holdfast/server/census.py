"""Counts over the whole store, as Prometheus is told of them.

Made anew at most twice a minute, and less often where that takes long: a large store is not to be
kept busy with being counted.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from holdfast.admin import AsyncAdmin
from holdfast.limits import CENSUS_AGE_MAX_S, CENSUS_PAUSE
from holdfast.model import Census

GAUGES = {
    "memory_count": "Memories that are listed and have not ended, of all projects.",
    "vector_count": "Vectors in the store.",
    "user_count": "Users with memories.",
    "queue_waiting": "Jobs that wait.",
    "queue_running": "Jobs that a worker has.",
    "queue_failed": "Jobs that were given up.",
    "held_count": "Adds that wait for approval in the quarantine.",
    "queue_age_seconds": "How long the longest-waiting job has been due.",
}
"""What is told, and what it means."""

_MEM0 = ("vector_count", "user_count")


class Counted:
    """Remembers the last census."""

    def __init__(self, admin: AsyncAdmin) -> None:
        self._admin = admin
        self._asking = asyncio.Lock()
        self._last: Census | None = None
        self._at = 0.0
        self._took = 0.0

    async def census(self, age_max_s: float = CENSUS_AGE_MAX_S) -> Census:
        """The last census, or a new one if that is older than `age_max_s`, and than 50 times what
        making it took. Raises StoreError."""
        async with self._asking:  # who comes meanwhile waits for the answer, and asks nothing
            age_max_s = max(age_max_s, CENSUS_PAUSE * self._took)
            began = time.monotonic()
            if self._last is None or began - self._at > age_max_s:
                self._last = await self._admin.census()
                self._at = time.monotonic()
                self._took = self._at - began
            return self._last


class Families(Collector):
    """A census as Prometheus reads it."""

    def __init__(self, census: Census, *, mem0_names: bool) -> None:
        self._values = {
            "memory_count": census.memories,
            "vector_count": census.vectors,
            "user_count": census.users,
            "queue_waiting": census.jobs_waiting,
            "queue_running": census.jobs_running,
            "queue_failed": census.jobs_failed,
            "held_count": census.held,
            "queue_age_seconds": census.oldest_due_s,
        }
        self._mem0_names = mem0_names

    def collect(self) -> Iterator[Metric]:
        """One family for each value."""
        for name, value in self._values.items():
            yield GaugeMetricFamily(f"holdfast_{name}", GAUGES[name], value)
        for name in _MEM0 if self._mem0_names else ():
            yield GaugeMetricFamily(f"mem0_{name}", GAUGES[name], self._values[name])
