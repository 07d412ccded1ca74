"""What the parts of Holdfast count while they work, for whoever shows it; no vendor's library.

Counted on the event loop of a deployment, a dictionary's price each. Labels have few values, all
known beforehand or set in the configuration: never a user's, a project's, or a text.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Literal

from holdfast.model import Struct

Name = Literal[
    "job",
    "fact",
    "degraded_answer",
    "working_set_lookup",
    "cache_lookup",
    "cache_failure",
    "index_answer",
    "index_point",
    "index_call",
    "call_event",
    "model_call",
    "model_token",
    "audit_row",
    "audit_failure",
    "model_cost_usd",
    "unpriced_call",
    "spared_call",
    "spared_token",
    "saved_usd",
    "budget_event",
    "replica_read",
    "redaction",
    "backup",
    "held_add",
]
Part = Literal["embedder", "llm", "reranker", "index", "backup"]


class Counter(Struct, frozen=True):
    """What a counter tells, and by which labels."""

    meaning: str
    labels: tuple[str, ...]


COUNTERS: Mapping[Name, Counter] = {
    "job": Counter(
        "Jobs this process worked on, by kind and outcome: succeeded, again (it will be tried"
        " again), dead (given up), handed_back (the worker stopped), lost (the lease was).",
        ("kind", "outcome"),
    ),
    "fact": Counter(
        "Facts the model named, by outcome: added, known, or rejected (not in what was said).",
        ("outcome",),
    ),
    "degraded_answer": Counter("Answers given without a part that was away.", ("part",)),
    "working_set_lookup": Counter(
        "Look-ups of an entity's working set: hit (it was current), refresh (changes were read),"
        " load (all was read).",
        ("outcome",),
    ),
    "index_answer": Counter(
        "Searches of an entity through an external index, by how they were answered: candidates,"
        " selected (with those the filter selects), or by all rows: small, fenced, unfed (the index"
        " is being filled), behind, short (it has lost something), selective, away.",
        ("outcome",),
    ),
    "index_point": Counter("Memories written to an external index: put, removed.", ("outcome",)),
    "cache_lookup": Counter(
        "Look-ups in the cache, of an answer (a search) or a vector (a text): hit (it was in this"
        " process), shared_hit (another one may have made it), joined (it was just being made), or"
        " miss.",
        ("kind", "outcome"),
    ),
    "cache_failure": Counter(
        "Uses of a shared cache that failed: away (not reached, or not tried because of that),"
        " refused (it answered with an error), damaged (what it gave was not put there).",
        ("reason",),
    ),
    "model_call": Counter(
        "Calls of models that are not in this process, retries within: ok, or failed.",
        ("part", "outcome"),
    ),
    "index_call": Counter(
        "Calls of an index that is not in this process, retries within: ok, or failed.",
        ("outcome",),
    ),
    "call_event": Counter(
        "What was done for calls of other machines: retry (made again), fallback (another model"
        " was asked), held_back (refused, for what it calls fails), full (refused, for too many"
        " wait), paced (kept back to stay within the provider's rate); open and closed tell of the"
        " breaker.",
        ("part", "event"),
    ),
    "replica_read": Counter(
        "Reads that a read replica could answer, by who did: replica, or the primary, for each was"
        " behind (it lacked something acknowledged) or away.",
        ("outcome",),
    ),
    "redaction": Counter(
        "Passages with personal data that were replaced, by where (model: in what a model of"
        " another machine was shown; storage: in what is stored or searched with) and kind.",
        ("where", "kind"),
    ),
    "model_token": Counter(
        "Tokens in the usage ledger, as far as this process wrote it: input, cached (the part of"
        " input the provider had), output.",
        ("model", "kind"),
    ),
    "audit_row": Counter(
        "Rows of the audit that this process wrote, by outcome: ok, begun, denied, failed.",
        ("outcome",),
    ),
    "audit_failure": Counter(
        "Failures of the audit: unwritten (rows could not be written and wait), lost (they were"
        " given up), broken (the chain of a project was found meddled with).",
        ("kind",),
    ),
    "backup": Counter("Backups that were due by the schedule: made, failed.", ("outcome",)),
    "held_add": Counter(
        "Adds with turns of untrusted sources: held, approved, rejected, or expired (removed by a"
        " rule of retention).",
        ("outcome",),
    ),
    "model_cost_usd": Counter(
        "Price of calls in the usage ledger in US dollars, as far as this process wrote it.",
        ("model", "operation"),
    ),
    "spared_call": Counter(
        "Calls of models that were not made, for a cache of ours knew the answer, as far as this"
        " process did not make them.",
        ("model",),
    ),
    "spared_token": Counter(
        "Tokens of input that these calls, and shorter ones, would have taken, about.", ("model",)
    ),
    "saved_usd": Counter(
        "What calls cost less in US dollars, as far as this process wrote it, by whom: provider"
        " (its cache had a part of the input), or cache (a cache of ours made them unnecessary).",
        ("model", "by"),
    ),
    "budget_event": Counter(
        "Calls that a budget had no room for: blocked, degraded, warned (made all the same),"
        " unpriced (no price was known to go by), beyond_worst_case (one took more than was held).",
        ("event",),
    ),
    "unpriced_call": Counter(
        "Calls in the usage ledger whose price is not known, as far as this process wrote it.",
        ("model",),
    ),
}
"""Every counter."""

GAUGES: Mapping[str, str] = {
    "working_set_bytes": "Bytes of working sets in memory.",
    "cache_bytes": "Bytes of cached answers and vectors in memory.",
    "working_sets": "Entities whose working set is in memory.",
    "budget_used_ratio": "How much of a budget is spent and held, of the one used most of those"
    " this process held room in.",
    "read_connections_busy": "Read connections in use.",
    "reads_waiting": "Reads that wait for a connection.",
    "writes_waiting": "Writes that wait for the writer.",
    "audit_rows_waiting": "Rows of the audit that are in memory and not written yet.",
    "index_lag_generations": "Transactions that the external index lacks, of the project that lacks"
    " most, as far as this process feeds it.",
    "index_projects_waiting": "Projects of which a shard of the external index that is away lacks"
    " something, as far as this process feeds it.",
    "backup_newest_at": "When the newest backup was made, epoch seconds, as the schedule last saw;"
    " 0 if there is none.",
    "backup_bytes": "Bytes of the newest backup.",
    "index_drift": "Points of the external index that were not as they should be when this process"
    " last compared it with the records.",
}
"""Values that are read when they are asked for."""


class Sight(Struct, frozen=True, kw_only=True):
    """The last calls of a part. Times are epoch seconds, 0 for never."""

    succeeded_at: float = 0.0
    failed_at: float = 0.0
    error_code: str = ""
    """Of the last failure."""
    took_s: float = 0.0
    """Seconds of the last call that succeeded."""


class Metrics:
    """The numbers of one deployment in one process."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        """`now` gives epoch seconds."""
        self._now = now
        self._counts: dict[tuple[Name, tuple[str, ...]], float] = {}
        self._gauges: dict[str, Callable[[], float]] = {}
        self._sights: dict[Part, Sight] = {}

    def count(self, name: Name, *labels: str, amount: float = 1) -> None:
        """Add to a counter; `labels` in the order of `COUNTERS`."""
        key = (name, labels)
        self._counts[key] = self._counts.get(key, 0) + amount

    def counts(self) -> Mapping[tuple[Name, tuple[str, ...]], float]:
        """Every counter that was counted: its name and labels to its value."""
        return dict(self._counts)

    def gauge(self, name: str, read: Callable[[], float]) -> None:
        """Name the function that tells a value of `GAUGES`."""
        self._gauges[name] = read

    def gauges(self) -> Mapping[str, float]:
        """The values at this moment."""
        return {name: read() for name, read in self._gauges.items()}

    def called(self, part: Part, error_code: str, took_s: float) -> None:
        """Take down a call of another machine; `error_code` is empty if it succeeded."""
        self.seen(part, error_code, took_s)
        outcome = "failed" if error_code else "ok"
        if part == "index":
            self.count("index_call", outcome)
        else:
            self.count("model_call", part, outcome)

    def seen(self, part: Part, error_code: str, took_s: float) -> None:
        """Take down how a part did, without counting it as a call."""
        now, before = self._now(), self._sights.get(part, Sight())
        if error_code:
            sight = Sight(
                succeeded_at=before.succeeded_at,
                failed_at=now,
                error_code=error_code,
                took_s=before.took_s,
            )
        else:
            sight = Sight(succeeded_at=now, failed_at=before.failed_at, took_s=took_s)
        self._sights[part] = sight

    def sight(self, part: Part) -> Sight:
        """What the last calls of a part were like."""
        return self._sights.get(part, Sight())
