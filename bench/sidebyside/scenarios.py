"""What is done to the contenders, in which order.

In every scenario all contenders have a process each and take turns: a round of one, a round of the
next, so that a noisy minute of the machine falls on all of them. Only one works at a time.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sidebyside.data import Query, make_queries, query_sources
from sidebyside.measures import MB, NS_PER_MS, Results, median_rate, percentile
from sidebyside.processes import ContenderError, WorkerProcess, start_times

PER_USER = 100
LOAD_CHUNK = 10_000
MS_PER_S = 1_000

Answers = dict[str, dict[str, Any]]
Plan = Callable[[str], tuple[str, dict[str, Any]] | None]
"""Contender's name to the command and arguments it gets, or to None to leave it out."""


@dataclass(frozen=True)
class Sizes:
    """How much of everything a run does.

    `mem0_queries` gives, for a store of so many memories, how many questions Mem0 gets each round.
    """

    start_runs: int
    rounds: int
    add_rounds: int
    adds: int
    writers: int
    concurrent_adds: int
    batch_turns: int
    scales: tuple[int, ...]
    one_user: int
    queries: int
    mem0_queries: dict[int, int]
    api_fill_max: int
    deletes: int
    delete_all: int
    delete_others: int


FULL = Sizes(
    start_runs=5,
    rounds=5,
    add_rounds=20,
    adds=50,
    writers=64,
    concurrent_adds=1_280,
    batch_turns=1_000,
    scales=(1_000, 10_000, 100_000),
    one_user=100_000,
    queries=200,
    mem0_queries={1_000: 20, 10_000: 10, 100_000: 3},
    api_fill_max=10_000,
    deletes=50,
    delete_all=10_000,
    delete_others=10_000,
)
QUICK = Sizes(
    start_runs=3,
    rounds=3,
    add_rounds=10,
    adds=30,
    writers=64,
    concurrent_adds=640,
    batch_turns=1_000,
    scales=(1_000, 10_000),
    one_user=5_000,
    queries=100,
    mem0_queries={1_000: 10, 5_000: 5, 10_000: 5},
    api_fill_max=1_000,
    deletes=20,
    delete_all=2_000,
    delete_others=2_000,
)


class Group:
    """The contenders' processes of one scenario; one that fails is left out from then on."""

    def __init__(self, workers: Sequence[WorkerProcess], bench: Bench, title: str) -> None:
        self._workers = {worker.name: worker for worker in workers}
        self._bench = bench
        self._title = title

    def ask(self, plan: Plan) -> Answers:
        """Gives each contender in turn its command; the answers of those that carried it out."""
        answers = {}
        for name, worker in list(self._workers.items()):
            planned = plan(name)
            if planned is None:
                continue
            command, arguments = planned
            self._bench.on_step(f"{self._title}: {name} {command}")
            try:
                answers[name] = worker.call(command, **arguments)
            except ContenderError as error:
                self._bench.results.failures.append(f"{self._title}: {error}")
                del self._workers[name]
        self._rotate()
        return answers

    def _rotate(self) -> None:
        """Lets another contender begin the next round."""
        names = list(self._workers)
        self._workers = {name: self._workers[name] for name in names[1:] + names[:1]}

    def ask_all(self, command: str, **arguments: Any) -> Answers:
        """Gives all the same command."""
        return self.ask(lambda name: (command, arguments))


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

    @contextmanager
    def group(self, title: str) -> Iterator[Group]:
        """The contenders' processes, ended when the block is left."""
        with ExitStack() as stack:
            workers = [
                stack.enter_context(
                    WorkerProcess(name, self.folder / title / name, self.turns_file)
                )
                for name in self.contenders
            ]
            yield Group(workers, self, title)


class Tally:
    """Collects the rounds of each contender."""

    def __init__(self) -> None:
        self.ns: dict[str, list[list[int]]] = {}

    def keep(self, answers: Answers) -> None:
        """Adds one round's latencies."""
        for name, answer in answers.items():
            self.ns.setdefault(name, []).append(answer["ns"])

    def record_percentiles(self, results: Results, stem: str, percents: Sequence[int]) -> None:
        """Keeps percentiles over all rounds, in milliseconds, as `stem.pNN`."""
        for name, rounds in self.ns.items():
            pooled = [value / NS_PER_MS for values in rounds for value in values]
            for percent in percents:
                value = percentile(pooled, percent)
                results.record(f"{stem}.p{percent}", name, value, len(pooled))

    def record_rate(self, results: Results, key: str, per_call: int) -> None:
        """Keeps the median over the rounds of items per second, `per_call` items for each call."""
        for name, rounds in self.ns.items():
            counts = [len(values) * per_call for values in rounds]
            rate = median_rate(counts, [sum(values) / 1e9 for values in rounds])
            results.record(key, name, rate, sum(counts))


def start(bench: Bench) -> None:
    """Import, construction, first answer; the first run warms the disk and does not count."""
    names = [name for name in bench.contenders if name != "bare"]
    times: dict[str, list[list[float]]] = {name: [] for name in names}
    for run in range(bench.sizes.start_runs + 1):
        for name in list(times):
            bench.on_step(f"start: {name}")
            try:
                measured = start_times(name, bench.folder / "start" / f"{name}-{run}")
            except ContenderError as error:
                bench.results.failures.append(f"start: {error}")
                del times[name]
                continue
            if run:
                times[name].append(measured)
    for name, runs in times.items():
        firsts = {"import": [run[0] for run in runs], "construct": [run[1] for run in runs]}
        firsts["answer"] = [sum(run) for run in runs]
        for key, seconds in firsts.items():
            value = statistics.median(seconds) * MS_PER_S
            bench.results.record(f"start.{key}", name, value, len(seconds))


def add(bench: Bench) -> None:
    """Adds one by one."""
    tally = Tally()
    with bench.group("add") as group:
        group.ask_all("open")
        group.ask_all("add_each", start=0, count=PER_USER, per_user=PER_USER)
        for number in range(bench.sizes.add_rounds):
            first = PER_USER + number * bench.sizes.adds
            arguments = {"start": first, "count": bench.sizes.adds, "per_user": PER_USER}
            tally.keep(group.ask_all("add_each", **arguments))
        group.ask_all("close")
    tally.record_rate(bench.results, "add.each", per_call=1)
    tally.record_percentiles(bench.results, "add.each", (50, 99))


def concurrent(bench: Bench) -> None:
    """Adds from many tasks of one event loop, each round into a new store.

    The rate counts accepted adds only. Refused ones of Holdfast are a failure, those of another
    contender a note: its rate stands, for what it is worth.
    """
    count = bench.sizes.concurrent_adds
    seconds: dict[str, list[float]] = {}
    errors: dict[str, list[str]] = {}
    for number in range(bench.sizes.rounds):
        with bench.group(f"concurrent-{number}") as group:
            sizes = {"count": count, "per_user": PER_USER, "writers": bench.sizes.writers}
            answers = group.ask_all("add_concurrently", start=number * count, **sizes)
        for name, answer in answers.items():
            seconds.setdefault(name, []).append(answer["seconds"])
            errors.setdefault(name, []).extend(answer["errors"])
    for name, taken in seconds.items():
        asked, refused = count * len(taken), len(errors[name])
        rate = median_rate([count] * len(taken), taken) * (asked - refused) / asked
        bench.results.record("add.concurrent", name, rate, asked - refused)
        if refused:
            told = f"{bench.sizes.writers} writers: {name} refused {refused} of {asked} adds"
            kept = bench.results.failures if name == "holdfast" else bench.results.notes
            kept.append(f"{told}, the first with {errors[name][0]}")


def batch(bench: Bench) -> None:
    """Imports, one call of many turns for each round."""
    count = bench.sizes.batch_turns
    tally = Tally()
    with bench.group("batch") as group:
        group.ask_all("open")
        group.ask_all("add_many", start=0, count=PER_USER, per_user=PER_USER)
        for number in range(1, bench.sizes.rounds + 1):
            arguments = {"start": number * count, "count": count, "per_user": count}
            tally.keep(group.ask_all("add_many", **arguments))
        group.ask_all("close")
    tally.record_rate(bench.results, "add.batch", per_call=count)


def search(bench: Bench, kind: Literal["many", "one"], total: int) -> None:
    """Searches in a store of `total` memories, first visits apart from repeated ones."""
    per_user = PER_USER if kind == "many" else total
    rounds, count = bench.sizes.rounds, bench.sizes.queries
    sources = query_sources(total, per_user, rounds * count)
    queries = make_queries(bench.turns, sources)
    users = total // per_user
    stem = f"search.{kind}.{total}"
    with bench.group(f"search-{kind}-{total}") as group:
        group.ask_all("open")
        _fill(bench, group, total, per_user)
        _first_visits(bench, group, queries[:users], per_user, stem)
        tally, on_loop, found = Tally(), Tally(), _Found()
        for number in range(rounds):
            begin = users + number * count
            plan = _search_plan(bench, queries[begin : begin + count], per_user, total)
            answers = group.ask(plan)
            tally.keep(answers)
            found.keep(answers)
            on_loop.keep(group.ask(_loop_plan(plan)))
        memory = group.ask_all("memory")
    tally.record_percentiles(bench.results, stem, (50, 99))
    on_loop.record_percentiles(bench.results, f"{stem}.loop", (50,))
    found.record(bench.results, f"{stem}.found")
    for name, answer in memory.items():
        bench.results.record(f"{stem}.rss", name, answer["rss"] / MB, 1)
        bench.results.record(f"{stem}.peak", name, answer["peak"] / MB, 1)


def _fill(bench: Bench, group: Group, total: int, per_user: int) -> None:
    """Stores the first `total` turns, in chunks so that progress can be seen.

    Small stores are filled through Mem0's own `add`; large ones by its vector store directly.
    """
    by_api = total <= bench.sizes.api_fill_max and per_user == PER_USER
    chunk = min(LOAD_CHUNK, total)
    for first in range(0, total, chunk):
        arguments = {"start": first, "count": chunk, "per_user": per_user}
        group.ask(
            lambda name, arguments=arguments: (  # type: ignore[misc]  # a default binds the loop's value
                "add_many" if by_api and name == "mem0" else "load",
                arguments,
            )
        )


def _first_visits(
    bench: Bench, group: Group, queries: list[Query], per_user: int, stem: str
) -> None:
    """Opens the stores anew and asks every user one question.

    Mem0 is left out: its store is wholly in memory once open, and opening takes minutes when large.
    """
    group.ask(lambda name: None if name == "mem0" else _reopen(name))
    tally = Tally()
    arguments = {"queries": queries, "per_user": per_user}
    tally.keep(group.ask(lambda name: None if name == "mem0" else ("search", arguments)))
    for name, rounds in tally.ns.items():
        pooled = [value / NS_PER_MS for value in rounds[0]]
        bench.results.record(f"{stem}.first", name, percentile(pooled, 50), len(pooled))


def _reopen(name: str) -> tuple[str, dict[str, Any]] | None:
    """The bare limit has its vectors in memory only and stays open."""
    return None if name == "bare" else ("reopen", {})


def _search_plan(bench: Bench, queries: list[Query], per_user: int, total: int) -> Plan:
    def plan(name: str) -> tuple[str, dict[str, Any]]:
        count = bench.sizes.mem0_queries[total] if name == "mem0" else len(queries)
        return "search", {"queries": queries[:count], "per_user": per_user}

    return plan


def _loop_plan(plan: Plan) -> Plan:
    """The same questions through `AsyncMemory`, beside the bare limit once more."""

    def on_loop(name: str) -> tuple[str, dict[str, Any]] | None:
        planned = plan(name)
        if name != "holdfast" or planned is None:
            return planned if name == "bare" else None
        return "search_on_loop", planned[1]

    return on_loop


class _Found:
    """Counts how often the turn that was asked about was among the results."""

    def __init__(self) -> None:
        self._asked: dict[str, int] = {}
        self._found: dict[str, int] = {}

    def keep(self, answers: Answers) -> None:
        for name, answer in answers.items():
            self._asked[name] = self._asked.get(name, 0) + len(answer["ns"])
            self._found[name] = self._found.get(name, 0) + answer["found"]

    def record(self, results: Results, key: str) -> None:
        """Keeps the share; to find none at all is a failure."""
        for name, asked in self._asked.items():
            results.record(key, name, 100 * self._found[name] / asked, asked)
            if not self._found[name]:
                results.failures.append(f"{key}: {name} found nothing of what it was asked about")


def delete(bench: Bench) -> None:
    """Deletes single memories, then all of one large user, in a store of others' memories."""
    others, large = bench.sizes.delete_others, bench.sizes.delete_all
    with bench.group("delete") as group:
        group.ask_all("open")
        group.ask_all("load", start=0, count=others, per_user=PER_USER)
        group.ask_all("load", start=others, count=large, per_user=large)
        tally = Tally()
        for number in range(bench.sizes.rounds):
            user = f"user-{PER_USER}-{number}"
            tally.keep(group.ask_all("delete_each", user=user, count=bench.sizes.deletes))
        taken = group.ask_all("delete_all", user=f"user-{large}-{others // large}")
    tally.record_percentiles(bench.results, "delete.each", (50,))
    for name, answer in taken.items():
        bench.results.record("delete.all", name, answer["seconds"] * MS_PER_S, 1)
        if answer["left"]:
            bench.results.failures.append(f"delete_all: {name} left memories of the user")


def scenarios(sizes: Sizes) -> dict[str, Callable[[Bench], None]]:
    """Every scenario of a run by the name that `--only` takes."""

    def searching(kind: Literal["many", "one"], total: int) -> Callable[[Bench], None]:
        return lambda bench: search(bench, kind, total)

    named: dict[str, Callable[[Bench], None]] = {
        "start": start,
        "add": add,
        "concurrent": concurrent,
        "batch": batch,
    }
    for total in sizes.scales:
        named[f"search-{total}"] = searching("many", total)
    named["search-one"] = searching("one", sizes.one_user)
    named["delete"] = delete
    return named
