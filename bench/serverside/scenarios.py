"""What the servers are put through, in which order.

Contenders take turns, a round of one and a round of the next; all of them run meanwhile, and the
ones that are not asked have nothing to do.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sidebyside.contender import Turn
from sidebyside.data import make_queries, query_sources
from sidebyside.measures import MB, NS_PER_MS, Results, percentile
from sidebyside.processes import ContenderError, WorkerProcess
from sidebyside.worker import user_of

from serverside import calls
from serverside.measures import CLIENTS, LOOPS
from serverside.servers import Server, ask, language_model, serving, write_calls

PER_USER = 100
MODEL_DELAY_S = 2.0
BROKEN_SHARE = 0.8


@dataclass(frozen=True)
class Sizes:
    """How much of everything a run does."""

    rounds: int
    round_s: float
    """Seconds that one contender is asked in one round, if it does not run out of calls."""
    memories: int
    calls: int
    """Calls prepared for a round; a fast server may run out of them before the time is over."""
    one_client: int
    adds: int
    open_rate: float
    """Adds a second in the open loop."""
    churn: int
    churn_s: float


FULL = Sizes(3, 15.0, 10_000, 30_000, 2_000, 10_000, 200.0, 100_000, 600.0)
QUICK = Sizes(1, 5.0, 2_000, 10_000, 300, 1_500, 100.0, 8_000, 60.0)


@dataclass
class Bench:
    """One run: who takes part, on which data, and where the numbers go."""

    contenders: Sequence[str]
    sizes: Sizes
    folder: Path
    turns_file: Path
    turns: Sequence[str]
    results: Results
    on_step: Callable[[str], None]

    def questions(self, count: int, seed: int) -> list[Turn]:
        """Questions to random users, none asked twice."""
        sources = query_sources(self.sizes.memories, PER_USER, count, seed)[-count:]
        return [
            (user_of(turn, PER_USER), asked) for turn, asked in make_queries(self.turns, sources)
        ]

    def more_turns(self, count: int, start: int) -> list[Turn]:
        """Turns that are not stored yet, for the users there are."""
        users = self.sizes.memories // PER_USER
        return [
            (
                f"user-{(start + i) % users}",
                f"{self.turns[(start + i) % len(self.turns)]} ({start + i})",
            )
            for i in range(count)
        ]

    def home(self, name: str) -> Path:
        """The folder of a contender's filled store."""
        return self.folder / "stores" / name


@dataclass
class Tally:
    """The rounds of one contender under one load."""

    ns: dict[str, list[int]] = field(default_factory=dict)
    rates: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)

    def keep(self, happened: Any) -> None:
        """Adds one round."""
        for kind, taken in happened["ns"].items():
            self.ns.setdefault(kind, []).extend(taken)
        good = sum(map(len, happened["ns"].values()))
        self.rates.append(good / happened["seconds"])
        self.errors.update(happened["errors"])

    def record(self, bench: Bench, name: str, stem: str, kinds: dict[str, str]) -> None:
        """Keeps the median rate as `stem.rate`, and the percentiles of each kind of call."""
        count = sum(map(len, self.ns.values()))
        bench.results.record(f"{stem}.rate", name, statistics.median(self.rates), count)
        for kind, key in kinds.items():
            _percentiles(bench, name, key, self.ns.get(kind, []))
        if self.errors:
            told = f"{stem}: {name} failed {sum(self.errors.values())} of {count} calls or more: "
            kept = bench.results.failures if name == "holdfast" else bench.results.notes
            kept.append(told + ", ".join(f"{what} x {n}" for what, n in self.errors.items()))


def fill(bench: Bench) -> None:
    """Fills the stores before any server has them open; measures searches in process meanwhile."""
    asked = make_queries(
        bench.turns, query_sources(bench.sizes.memories, PER_USER, bench.sizes.one_client, 1)
    )
    for name in bench.contenders:
        if name == "bare":
            continue
        bench.on_step(f"fill: {name}")
        with WorkerProcess(name, bench.home(name), bench.turns_file) as worker:
            worker.call("open")
            worker.call("load", start=0, count=bench.sizes.memories, per_user=PER_USER)
            if name == "holdfast":
                found = worker.call("search_on_loop", queries=asked, per_user=PER_USER)
                inside = found["ns"][-bench.sizes.one_client :]
                value = percentile(inside, 50) / NS_PER_MS
                bench.results.record("one.inside", name, value, len(inside))
            worker.call("close")


def search(bench: Bench) -> None:
    """Searches only, from many clients, and then from one."""
    with _servers(bench, "search") as servers:
        tallies = {server.name: Tally() for server in servers}
        for number in range(bench.sizes.rounds):
            asked = bench.questions(bench.sizes.calls, number)
            for server in _turn(servers, number):
                each = [calls.search(server.name, user, query) for user, query in asked]
                tallies[server.name].keep(_round(bench, server, each, "search"))
        for name, tally in tallies.items():
            tally.record(bench, name, "search", {"search": "search"})
        _one_client(bench, servers)


def mixed(bench: Bench) -> None:
    """Adds and searches by turns, from many clients."""
    with _servers(bench, "mixed") as servers:
        tallies = {server.name: Tally() for server in servers}
        half = bench.sizes.calls // 2
        for number in range(bench.sizes.rounds):
            asked, turns = (
                bench.questions(half, 100 + number),
                bench.more_turns(half, number * half),
            )
            for server in _turn(servers, number):
                each = calls.mixed(server.name, asked, turns)
                tallies[server.name].keep(_round(bench, server, each, "mixed"))
        for name, tally in tallies.items():
            tally.record(bench, name, "mixed", {"search": "mixed.search", "add": "mixed.add"})


def acknowledge(bench: Bench) -> None:
    """Adds that do not wait, while the language model is slow and then while it mostly fails."""
    if "holdfast" not in bench.contenders:
        return
    for model, share in (("slow", 0.0), ("broken", BROKEN_SHARE)):
        with language_model(MODEL_DELAY_S, share) as url:
            home = bench.folder / f"acknowledge-{model}"
            with serving("holdfast", home, url) as server:
                for loop in LOOPS:
                    _acknowledged(bench, server, model, loop)


def _acknowledged(bench: Bench, server: Server, model: str, loop: str) -> None:
    sizes = bench.sizes
    turns = bench.more_turns(sizes.adds, 0 if loop == "closed" else sizes.adds)
    each = [calls.add("holdfast", user, text, infer=True) for user, text in turns]
    more = {"rate": sizes.open_rate} if loop == "open" else {}
    tally = Tally()
    tally.keep(_round(bench, server, each, f"acknowledge-{model}-{loop}", **more))
    stem = f"ack.{model}.{loop}"
    tally.record(bench, "holdfast", stem, {"add": stem})


def memory(bench: Bench) -> None:
    """Whether memory stays flat over many requests that leave the store as large as it was."""
    if "holdfast" not in bench.contenders:
        return
    rounds = bench.sizes.churn // 3
    each = calls.churn(bench.questions(rounds, 999), bench.more_turns(rounds, 10**6), users=50)
    file = write_calls(bench.folder / "memory.jsonl", each)
    with serving("holdfast", bench.home("holdfast")) as server:
        bench.on_step("memory: holdfast")
        every = max(1, len(each) // 100)
        happened = ask(server, file, CLIENTS, bench.sizes.churn_s, rss_every=every)
    tally = Tally()
    tally.keep(happened)
    served, rss = sum(map(len, tally.ns.values())), [value / MB for value in happened["rss"]]
    tenth = max(1, len(rss) // 10)
    middle = rss[len(rss) // 2 - tenth : len(rss) // 2 + tenth]
    begin, half, end = map(statistics.median, (rss[:tenth], middle, rss[-tenth:]))
    numbers = {"begin": begin, "middle": half, "end": end, "growth": 100 * (end / half - 1)}
    for key, value in {**numbers, "requests": served}.items():
        bench.results.record(f"memory.{key}", "holdfast", value, served)
    if tally.errors:
        bench.results.failures.append(f"memory: {dict(tally.errors)}")


SCENARIOS: dict[str, Callable[[Bench], None]] = {
    "search": search,
    "mixed": mixed,
    "acknowledge": acknowledge,
    "memory": memory,
}


def _one_client(bench: Bench, servers: Sequence[Server]) -> None:
    """Searches from one client, one after the other: what HTTP adds to a search in process."""
    asked = bench.questions(bench.sizes.one_client, 50)
    for server in servers:
        if server.name == "mem0":
            continue
        each = [calls.search(server.name, user, query) for user, query in asked]
        happened = _round(bench, server, each, "one", clients=1)
        taken = happened["ns"]["search"]
        bench.results.record("one.http", server.name, percentile(taken, 50) / NS_PER_MS, len(taken))
    samples = {m.spec.key: m.samples for m in bench.results.measured()}
    if "holdfast" in samples.get("one.http", {}) and "holdfast" in samples.get("one.inside", {}):
        over = samples["one.http"]["holdfast"].value - samples["one.inside"]["holdfast"].value
        bench.results.record(
            "one.overhead", "holdfast", over, samples["one.http"]["holdfast"].count
        )


def _percentiles(bench: Bench, name: str, stem: str, ns: Sequence[int]) -> None:
    for percent in (50, 99) if ns else ():
        value = percentile(ns, percent) / NS_PER_MS
        bench.results.record(f"{stem}.p{percent}", name, value, len(ns))


@contextmanager
def _servers(bench: Bench, title: str) -> Iterator[list[Server]]:
    """The contenders' servers on their filled stores; one that does not start is left out."""
    with ExitStack() as stack:
        servers = []
        for name in bench.contenders:
            bench.on_step(f"{title}: starting {name}")
            try:
                servers.append(stack.enter_context(serving(name, bench.home(name))))
            except ContenderError as error:
                bench.results.failures.append(f"{title}: {error}")
        yield servers


def _turn(servers: Sequence[Server], number: int) -> list[Server]:
    """The servers, another one first in each round."""
    start = number % max(1, len(servers))
    return [*servers[start:], *servers[:start]]


def _round(
    bench: Bench,
    server: Server,
    each: list[calls.Call],
    title: str,
    *,
    clients: int = CLIENTS,
    **more: Any,
) -> Any:
    bench.on_step(f"{title}: {server.name}")
    file = write_calls(bench.folder / f"{title}-{server.name}.jsonl", each)
    return ask(server, file, clients, bench.sizes.round_s, **more)
