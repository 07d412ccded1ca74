"""What is measured, what it must reach, and the numbers of one run."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

Basis = Literal["bare", "mem0", "value"]
NS_PER_MS = 1e6
MB = 1e6


@dataclass(frozen=True)
class Spec:
    """A quantity: `key` names it in the JSON, `unit` is what its values are in.

    With `detail` it is left out of the tables and stands in the JSON only.
    """

    key: str
    label: str
    unit: str
    higher_is_better: bool = False
    detail: bool = False


@dataclass(frozen=True)
class Target:
    """What a measure must reach.

    With basis "bare" the bound is the greatest allowed cost in bare limits, with "mem0" the least
    allowed gain over Mem0, with "value" the bound of the value itself in the measure's unit. The
    gain is over what Mem0 reached in the measure `over`, which is the same one unless told.
    """

    key: str
    basis: Basis
    bound: float
    over: str | None = None


@dataclass(frozen=True)
class Sample:
    """One contender's number: a median or percentile of `count` samples."""

    value: float
    count: int


@dataclass
class Measure:
    """A quantity and what each contender reached; one that failed or was not asked is missing.

    `disturbed` tells that the numbers were taken on a busy machine, so that no ratio is to be
    relied on.
    """

    spec: Spec
    samples: dict[str, Sample] = field(default_factory=dict)
    disturbed: bool = False

    def cost_in_bare(self) -> float | None:
        """How many bare limits Holdfast costs (1.0: as good as bare)."""
        return self._ratio(self.samples.get("holdfast"), self.samples.get("bare"))

    def gain_on_mem0(self, over: Measure | None = None) -> float | None:
        """How many times better Holdfast is than Mem0 is here, or in the measure `over`."""
        return self._ratio((over or self).samples.get("mem0"), self.samples.get("holdfast"))

    def _ratio(self, worse: Sample | None, better: Sample | None) -> float | None:
        """The first one's cost over the second one's."""
        if worse is None or better is None:
            return None
        above, below = worse.value, better.value
        if self.spec.higher_is_better:
            above, below = below, above
        return above / below if below > 0 else None


@dataclass(frozen=True)
class Verdict:
    """A target and what was reached; `reached` is in the target's own terms.

    `passed` is None where the machine was too busy to tell.
    """

    target: Target
    reached: float
    passed: bool | None


def scale_name(count: int) -> str:
    """1,000 as "1k"."""
    return f"{count // 1000}k"


def search_specs(kind: Literal["many", "one"], count: int, largest: bool) -> list[Spec]:
    """The search measures of one store: `many` users of 100 memories, or `one` user."""
    stem = f"search.{kind}.{count}"
    users = f"{count // 100:,} users" if kind == "many" else "one user"
    name = f"{scale_name(count)} of {users}"
    small = count < 10_000
    return [
        Spec(f"{stem}.p50", f"search {name}, p50", "ms"),
        Spec(f"{stem}.p99", f"search {name}, p99", "ms"),
        Spec(f"{stem}.loop.p50", f"search {name}, AsyncMemory, p50", "ms"),
        Spec(f"{stem}.first", f"search {name}, first visit p50", "ms"),
        Spec(f"{stem}.found", f"search {name}, found", "%", True, detail=not largest),
        Spec(f"{stem}.rss", f"resident memory, {name}", "MB", detail=small),
        Spec(f"{stem}.peak", f"peak memory, {name}", "MB", detail=small),
    ]


def all_specs(scales: Sequence[int], one_user: int, delete_all: int, writers: int) -> list[Spec]:
    """Every measure of a run, in the order of the table."""
    specs = [
        Spec("start.import", "import", "ms"),
        Spec("start.construct", "first Memory()", "ms"),
        Spec("start.answer", "nothing to first answer", "ms"),
        Spec("add.each", "add, one by one", "/s", higher_is_better=True),
        Spec("add.each.p50", "add, p50", "ms"),
        Spec("add.each.p99", "add, p99", "ms"),
        Spec("add.concurrent", f"add, {writers} writers", "/s", higher_is_better=True),
        Spec("add.batch", "batch import", "/s", higher_is_better=True),
    ]
    for scale in scales:
        specs += search_specs("many", scale, largest=scale == max(scales))
    specs += search_specs("one", one_user, largest=True)
    specs += [
        Spec("delete.each.p50", "delete one, p50", "ms"),
        Spec("delete.all", f"delete_all of {delete_all:,}", "ms"),
    ]
    return specs


TARGETS = (
    Target("start.import", "value", 150),
    Target("start.construct", "value", 600),
    Target("add.each", "mem0", 3),
    Target("add.concurrent", "mem0", 15, over="add.each"),
    Target("add.batch", "value", 3_000),
    Target("search.many.100000.loop.p50", "bare", 5),
    Target("search.many.100000.p50", "mem0", 500),
    Target("search.one.100000.loop.p50", "bare", 3),
    Target("search.many.10000.rss", "value", 250),
    Target("delete.each.p50", "value", 10),
    Target("delete.all", "value", 1_000),
)


class Results:
    """The numbers of one run, filled by the scenarios."""

    def __init__(self, specs: Sequence[Spec], targets: Sequence[Target] = TARGETS) -> None:
        self._targets = targets
        self._measures = {spec.key: Measure(spec) for spec in specs}
        self.failures: list[str] = []
        self.notes: list[str] = []

    def record(self, key: str, contender: str, value: float, count: int) -> None:
        """Keeps a contender's number. The key must be one of the run's measures."""
        self._measures[key].samples[contender] = Sample(value, count)

    def disturb(self, keys: Sequence[str]) -> None:
        """Marks measures as taken on a busy machine: their targets are neither met nor missed."""
        for key in keys:
            self._measures[key].disturbed = True

    def measured(self) -> list[Measure]:
        """The measures that have at least one number, in the order of the table."""
        return [measure for measure in self._measures.values() if measure.samples]

    def verdicts(self, key: str) -> list[Verdict]:
        """The measure's targets held against its numbers; those that lack a number are left out."""
        measure = self._measures[key]
        held = (
            _verdict(measure, target, self._measures[target.over or key])
            for target in self._targets
            if target.key == key
        )
        return [verdict for verdict in held if verdict is not None]


def _verdict(measure: Measure, target: Target, over: Measure) -> Verdict | None:
    reached: float | None
    if target.basis == "bare":
        reached, more_is_better = measure.cost_in_bare(), False
    elif target.basis == "mem0":
        reached, more_is_better = measure.gain_on_mem0(over), True
    else:
        sample = measure.samples.get("holdfast")
        reached = None if sample is None else sample.value
        more_is_better = measure.spec.higher_is_better
    if reached is None:
        return None
    passed = reached >= target.bound if more_is_better else reached <= target.bound
    told = None if measure.disturbed or over.disturbed else passed
    return Verdict(target, reached, told)


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least `percent` per cent of the values do not exceed.

    Raises:
        ValueError: there are no values.
    """
    if not values:
        raise ValueError("a percentile of no values")
    ordered = sorted(values)
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]


def median_rate(counts: Sequence[int], seconds: Sequence[float]) -> float:
    """Median over the rounds of how many were done in a second."""
    return statistics.median(count / taken for count, taken in zip(counts, seconds, strict=True))
