"""What is measured of the servers, and what it must reach (issue 3's table)."""

from __future__ import annotations

from sidebyside.measures import Spec, Target

CLIENTS = 64
MODELS = {"slow": "a slow model", "broken": "a broken model"}
LOOPS = {"closed": "closed loop", "open": "open loop"}
"""In the closed one latency is 64 divided by the rate, whatever one add costs: it tells how many
adds a second can be accepted. What a caller waits for is told by the open one."""


def _load(stem: str, label: str) -> list[Spec]:
    return [
        Spec(f"{stem}.p50", f"{label}, p50", "ms"),
        Spec(f"{stem}.p99", f"{label}, p99", "ms"),
    ]


def _acknowledgement() -> list[Spec]:
    return [
        spec
        for model, told in MODELS.items()
        for loop, how in LOOPS.items()
        for spec in (
            Spec(f"ack.{model}.{loop}.rate", f"add wait=false, {told}, {how}", "/s", True),
            *_load(f"ack.{model}.{loop}", f"add wait=false, {told}, {how}"),
        )
    ]


SPECS = [
    Spec("search.rate", f"search, {CLIENTS} clients", "/s", higher_is_better=True),
    *_load("search", f"search, {CLIENTS} clients"),
    Spec("mixed.rate", f"adds and searches, {CLIENTS} clients", "/s", higher_is_better=True),
    *_load("mixed.search", "the searches among them"),
    *_load("mixed.add", "the adds among them"),
    Spec("one.http", "search over HTTP, one client, p50", "ms"),
    Spec("one.inside", "the same in process, p50", "ms"),
    Spec("one.overhead", "overhead of HTTP, p50", "ms"),
    *_acknowledgement(),
    Spec("memory.begin", "resident memory, first tenth of the requests", "MB"),
    Spec("memory.middle", "resident memory, after half of them", "MB"),
    Spec("memory.end", "resident memory, last tenth", "MB"),
    Spec("memory.growth", "growth from the middle to the end", "%"),
    Spec("memory.requests", "requests it served meanwhile", "", higher_is_better=True),
]

GROWTH_PERCENT_MAX = 2.0
TARGETS = [
    Target("search.rate", "mem0", 10.0),
    Target("search.p99", "mem0", 10.0),
    Target("one.overhead", "value", 1.0),
    *(Target(f"ack.{model}.open.p99", "value", 20.0) for model in MODELS),
    Target("memory.growth", "value", GROWTH_PERCENT_MAX),
]
