"""What a server counts of itself, on a registry of its own, and the line it says of each request.

Several processes of one server count in files that they share (prometheus_client's multiprocess
mode, which `processes` switches on), so that each of them answers for all.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable
from functools import lru_cache
from ipaddress import ip_address
from typing import Any, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from holdfast.metrics import COUNTERS, GAUGES, Metrics, Name

MULTIPROCESS = "PROMETHEUS_MULTIPROC_DIR"
"""Environment variable that names the folder several processes count in."""

LAG_PAUSE_S = 0.5
BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0)
UNKNOWN = "unknown"
"""The operation of a request for a path there is not."""

_Processes = Literal["livesum", "livemax", "livemin"]
"""How the values of several processes become one."""

_log = logging.getLogger("holdfast.access")


class Telemetry:
    """The numbers of one application; `mem0_names` tells the main ones under Mem0's names too."""

    def __init__(self, *, mem0_names: bool = False) -> None:
        self.registry = CollectorRegistry()
        prefixes = ("holdfast", "mem0") if mem0_names else ("holdfast",)
        self._operations = [
            self._counter(f"{prefix}_operations", "Requests by operation and class of status.",
                          "operation", "status")
            for prefix in prefixes
        ]  # fmt: skip
        self._durations = [
            Histogram(
                f"{prefix}_operation_duration_seconds",
                "Seconds from a request's head to the end of its answer.",
                ("operation",),
                buckets=BUCKETS_S,
                registry=self.registry,
            )
            for prefix in prefixes
        ]
        self._limited = self._counter(
            "holdfast_rate_limited", "Requests refused because of a limit.", "operation"
        )
        self._shed = self._counter(
            "holdfast_shed", "Requests sent away because the server is full."
        )
        self._running = self._gauge("holdfast_requests_running", "Requests being worked on.")
        self._lag = self._gauge(
            "holdfast_loop_lag_seconds",
            "How late the event loop was, last time it was looked at; of the worst process.",
            "livemax",
        )
        self._shared = self._gauge(
            "holdfast_limits_in_redis",
            "Whether limits are counted in Redis (1) or in each process (0).",
            "livemin",
        )
        self._counts: dict[Name, Counter] = {
            name: self._counter(_plural(name), counter.meaning, *counter.labels)
            for name, counter in COUNTERS.items()
        }
        self._gauges = {name: self._gauge(f"holdfast_{name}", GAUGES[name]) for name in GAUGES}
        self._known: dict[tuple[Name, tuple[str, ...]], float] = {}

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(name, meaning, labels, registry=self.registry)

    def _gauge(self, name: str, meaning: str, processes: _Processes = "livesum") -> Gauge:
        return Gauge(name, meaning, registry=self.registry, multiprocess_mode=processes)

    # ------------------------------------------------------------------ told by the layers

    def answered(self, scope: Any, status: int, took_s: float) -> None:
        """A request has its answer."""
        operation = operation_of(scope)
        for counter in self._operations:
            counter.labels(operation, f"{status // 100}xx").inc()
        for histogram in self._durations:
            histogram.labels(operation).observe(took_s)
        if status == 429:
            self._limited.labels(operation).inc()
        if _log.isEnabledFor(logging.INFO):
            _log.info("request", extra={"fields": _line(scope, operation, status, took_s)})

    def running(self, count: int) -> None:
        """So many requests are being worked on."""
        self._running.set(count)

    def shed(self) -> None:
        """A request was sent away."""
        self._shed.inc()

    def limits_shared(self, shared: bool) -> None:
        """Whether this process counts limits in Redis; of several, all must, to be told as 1."""
        self._shared.set(shared)

    # ------------------------------------------------------------------ told by the parts

    async def watch(self, metrics: Metrics, shared: Callable[[], bool]) -> None:
        """Measure how late the event loop is, and take over what the parts counted, for ever.

        `shared`: whether limits are counted in Redis now. Each process says it by itself: another
        may be the one that is asked for metrics.
        """
        while True:
            self.limits_shared(shared())
            began = time.perf_counter()
            await asyncio.sleep(LAG_PAUSE_S)
            self._lag.set(max(0.0, time.perf_counter() - began - LAG_PAUSE_S))
            self.take(metrics)

    def take(self, metrics: Metrics) -> None:
        """Take over what the parts of the deployment counted since the last time."""
        for (name, labels), value in metrics.counts().items():
            more = value - self._known.get((name, labels), 0.0)
            if more <= 0:
                continue
            self._known[name, labels] = value
            counter = self._counts[name]
            (counter.labels(*labels) if labels else counter).inc(more)
        for gauge, value in metrics.gauges().items():
            self._gauges[gauge].set(value)

    # ------------------------------------------------------------------ told to Prometheus

    def written(self, *more: Collector) -> bytes:
        """Everything in Prometheus' text format, of all processes; `more` is asked as well."""
        registry = self.registry
        if os.environ.get(MULTIPROCESS):
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        asked = CollectorRegistry()
        for collector in more:
            asked.register(collector)
        return generate_latest(registry) + generate_latest(asked)


def _plural(name: Name) -> str:
    """The name of a counter to Prometheus, which adds `_total`; money has no plural."""
    return f"holdfast_{name}" if name.endswith("_usd") else f"holdfast_{name}s"


def operation_of(scope: Any) -> str:
    """The operation of a request: one of the few names of `core.access`, or of a route."""
    operation = scope.get("holdfast_operation")
    if operation is not None:
        return str(operation)
    route = scope.get("route")
    return str(getattr(route, "name", "") or UNKNOWN)


def _line(scope: Any, operation: str, status: int, took_s: float) -> dict[str, Any]:
    """What is said of a request: nothing that its caller wrote but its method and its id."""
    principal = scope.get("holdfast_principal")
    client = scope.get("client")
    return {
        "request_id": scope.get("holdfast_request_id", ""),
        "operation": operation,
        "method": scope["method"],
        "status": status,
        "ms": round(took_s * 1000, 2),
        "key": "" if principal is None else principal.id,
        "client": "" if not client else _address(client[0]),
    }


@lru_cache(1_024)
def _address(host: str) -> str:
    """An address as it is told; what a proxy passed on is believed, but only if it is one."""
    try:
        return str(ip_address(host))
    except ValueError:
        return "unknown"
