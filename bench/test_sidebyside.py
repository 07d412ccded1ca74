"""The benchmark's own tests: data, arithmetic, processes; no contender but the bare limit."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from shutil import which

import pytest
from sidebyside import data, disturbance, report
from sidebyside.measures import TARGETS, Results, Spec, all_specs, median_rate, percentile
from sidebyside.processes import ContenderError, WorkerProcess
from sidebyside.scenarios import FULL, QUICK, Bench, Sizes
from sidebyside.slow_disk import SlowDiskError, slow_disk
from sidebyside.writers import write_all

PER_USER = 100


@pytest.fixture
def turns_file(tmp_path: Path) -> Path:
    path = tmp_path / "turns.txt"
    data.write_turns(path, 400)
    return path


def _results() -> Results:
    return Results(all_specs((1_000, 10_000, 100_000), 100_000, 10_000, 64))


def _bench(folder: Path, turns_file: Path) -> Bench:
    return Bench(["bare"], QUICK, folder, turns_file, [], _results(), lambda step: None)


def test_turns_are_distinct_and_the_same_every_time() -> None:
    turns = list(data.make_turns(2_000))
    assert turns == list(data.make_turns(2_000))
    assert turns != list(data.make_turns(2_000, seed=1))
    assert len(set(turns)) == len(turns)
    assert all(text.strip() == text and "{" not in text and "\n" not in text for text in turns)


def test_turns_have_few_frequent_and_many_rare_words() -> None:
    counts: dict[str, int] = {}
    for text in data.make_turns(2_000):
        for word in text.lower().replace(".", "").split():
            counts[word] = counts.get(word, 0) + 1
    ranked = sorted(counts.values(), reverse=True)
    assert sum(ranked[:50]) > sum(ranked) / 3
    assert sum(count <= 5 for count in ranked) > len(ranked) / 3


def test_questions_are_distinct_and_share_words_with_their_turn() -> None:
    turns = list(data.make_turns(500))
    queries = data.make_queries(turns, [7] * 40 + [8] * 40)
    assert len({question for _, question in queries}) == 80
    for turn, question in queries:
        assert set(turns[turn].replace(".", "").split()) & set(question.replace("?", "").split())


def test_every_user_is_visited_once_before_any_is_again() -> None:
    sources = data.query_sources(1_000, PER_USER, rounds=30)
    assert sorted(turn // PER_USER for turn in sources[:10]) == list(range(10))
    assert len(sources) == 40
    assert all(0 <= turn < 1_000 for turn in sources)


def test_turns_file_is_read_back_in_part(turns_file: Path) -> None:
    assert data.read_turns(turns_file, 390, 10) == list(data.make_turns(400))[390:]
    with pytest.raises(ValueError, match="no 11 lines"):
        data.read_turns(turns_file, 390, 11)


@pytest.mark.parametrize(("percent", "expected"), [(50, 5), (99, 10), (1, 1), (100, 10)])
def test_percentile_is_a_value_that_was_measured(percent: int, expected: int) -> None:
    assert percentile(list(range(10, 0, -1)), percent) == expected


def test_percentile_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 50)


def test_rate_is_the_median_of_the_rounds() -> None:
    assert median_rate([10, 10, 10], [1.0, 10.0, 2.0]) == 5.0


@pytest.mark.parametrize(
    ("key", "values", "expected"),
    [
        ("start.import", {"holdfast": 150.0}, [True]),
        ("start.import", {"holdfast": 151.0}, [False]),
        ("add.batch", {"holdfast": 3_000.0}, [True]),
        ("add.batch", {"holdfast": 2_999.0}, [False]),
        ("add.each", {"holdfast": 300.0, "mem0": 100.0}, [True]),
        ("add.each", {"holdfast": 299.0, "mem0": 100.0}, [False]),
        ("add.each", {"holdfast": 299.0}, []),
        ("search.many.100000.loop.p50", {"bare": 1.0, "holdfast": 5.0}, [True]),
        ("search.many.100000.loop.p50", {"bare": 1.0, "holdfast": 5.1}, [False]),
        ("search.many.100000.p50", {"bare": 1.0, "holdfast": 5.0, "mem0": 2_500.0}, [True]),
        ("search.many.100000.p50", {"bare": 1.0, "holdfast": 5.1, "mem0": 2_500.0}, [False]),
    ],
)
def test_targets_are_held_against_the_right_ratio(
    key: str, values: dict[str, float], expected: list[bool]
) -> None:
    results = _results()
    for name, value in values.items():
        results.record(key, name, value, count=1)
    assert [verdict.passed for verdict in results.verdicts(key)] == expected


def test_concurrent_writers_are_held_against_single_adds() -> None:
    results = _results()
    results.record("add.each", "mem0", 100.0, count=1)
    results.record("add.concurrent", "mem0", 400.0, count=1)
    results.record("add.concurrent", "holdfast", 1_600.0, count=1)
    (verdict,) = results.verdicts("add.concurrent")
    assert (verdict.reached, verdict.passed) == (16.0, True)
    (measure,) = (m for m in results.measured() if m.spec.key == "add.concurrent")
    assert measure.gain_on_mem0() == 4.0


@pytest.mark.parametrize("busy", ["add.concurrent", "add.each"])
def test_a_busy_machine_decides_nothing(busy: str) -> None:
    results = _results()
    results.record("add.each", "mem0", 1.0, count=1)
    results.record("add.concurrent", "holdfast", 900.0, count=1)
    results.disturb([busy])
    (verdict,) = results.verdicts("add.concurrent")
    assert (verdict.reached, verdict.passed) == (900.0, None)


def test_busy_seconds_leave_idle_waiting_and_guests_out() -> None:
    ticks = os.sysconf("SC_CLK_TCK")
    columns = [10, 1, 5, 700, 800, 2, 3, 4, 90, 90]
    line = "cpu  " + " ".join(str(value * ticks) for value in columns)
    assert disturbance.busy_seconds(line + "\ncpu0 1 2 3\n") == 25


def test_others_are_all_but_our_own() -> None:
    before = disturbance.Usage(at_s=10.0, all_s=100.0, own_s=5.0)
    after = disturbance.Usage(at_s=20.0, all_s=118.0, own_s=13.0)
    assert disturbance.others_cores(before, after) == 1.0
    assert disturbance.others_cores(None, after) is None


def test_every_target_belongs_to_a_measure_of_the_full_run() -> None:
    results = _results()
    for target in TARGETS:
        results.record(target.key, "holdfast", 1.0, count=1)
    assert {m.spec.key for m in results.measured()} == {target.key for target in TARGETS}


@pytest.mark.parametrize("sizes", [FULL, QUICK])
def test_every_store_size_has_its_number_of_questions(sizes: Sizes) -> None:
    assert {*sizes.scales, sizes.one_user} <= set(sizes.mem0_queries)
    assert max(sizes.mem0_queries.values()) <= sizes.queries
    assert all(total % PER_USER == 0 for total in sizes.scales)
    assert sizes.delete_others % sizes.delete_all == 0
    assert sizes.rounds <= sizes.delete_others // PER_USER


def test_tables_show_ratios_and_missed_targets() -> None:
    results = _results()
    for name, value in {"bare": 0.1, "holdfast": 0.7, "mem0": 140.0}.items():
        results.record("search.many.100000.p50", name, value, count=9)
    row = report.markdown(results).splitlines()[-1]
    assert "7.00 x" in row
    assert "200 x" in row
    assert ">= 500 x Mem0 **no**" in row
    written = report.as_json(results, {"quick": False})
    assert written["measures"][0]["values"]["mem0"] == {"value": 140.0, "samples": 9}
    assert [target["passed"] for target in written["measures"][0]["targets"]] == [False]


def test_measures_compare_by_what_is_better() -> None:
    for higher, cost in ((True, 2.0), (False, 0.5)):
        results = Results([Spec("x", "x", "/s", higher_is_better=higher)])
        results.record("x", "bare", 100.0, count=1)
        results.record("x", "holdfast", 50.0, count=1)
        (measure,) = results.measured()
        assert measure.cost_in_bare() == cost


def test_the_bare_limit_does_all_it_is_told(tmp_path: Path, turns_file: Path) -> None:
    with WorkerProcess("bare", tmp_path / "home", turns_file) as worker:
        worker.call("open")
        added = worker.call("add_each", start=0, count=30, per_user=PER_USER)
        worker.call("load", start=100, count=300, per_user=PER_USER)
        queries = data.make_queries(list(data.make_turns(400)), [150, 250, 350])
        answer = worker.call("search", queries=queries, per_user=PER_USER)
        deleted = worker.call("delete_each", user="user-100-0", count=10)
        rest = worker.call("delete_all", user="user-100-0")
        memory = worker.call("memory")
    assert len(added["ns"]) == 30
    assert answer["found"] == 3
    assert len(deleted["ns"]) == 10
    assert rest["left"] == 0
    assert 0 < memory["rss"] <= memory["peak"] * 1.1


def test_a_failing_worker_is_an_error_with_its_reason(tmp_path: Path, turns_file: Path) -> None:
    with WorkerProcess("bare", tmp_path / "home", turns_file) as worker:
        worker.call("open")
        with pytest.raises(ContenderError, match="no 10 lines"):
            worker.call("add_each", start=395, count=10, per_user=PER_USER)
        with pytest.raises(ContenderError):
            worker.call("memory")


def test_a_worker_that_takes_too_long_is_killed(tmp_path: Path, turns_file: Path) -> None:
    with WorkerProcess("bare", tmp_path / "home", turns_file) as worker:
        with pytest.raises(ContenderError, match="no answer"):
            worker.call("open", timeout_s=0.001)
        with pytest.raises(ContenderError):
            worker.call("memory")


def test_a_contender_that_fails_is_noted_and_left_out(tmp_path: Path, turns_file: Path) -> None:
    bench = _bench(tmp_path, turns_file)
    with bench.group("broken") as group:
        assert list(group.ask_all("open")) == ["bare"]
        assert group.ask_all("add_each", start=395, count=10, per_user=PER_USER) == {}
        assert group.ask_all("memory") == {}
    (failure,) = bench.results.failures
    assert failure.startswith("broken: bare add_each:")


def test_refused_adds_are_counted_and_the_writers_go_on() -> None:
    stored = []

    async def add(user: str, text: str) -> None:
        await asyncio.sleep(0)
        if text == "bad":
            raise OSError("disk full")
        stored.append(text)

    turns = [("u", "good"), ("u", "bad"), ("u", "fine")]
    written = asyncio.run(write_all(add, turns, writers=2))
    assert sorted(stored) == ["fine", "good"]
    assert written.errors == ["OSError: disk full"]
    assert written.seconds > 0


@pytest.mark.skipif(not (which("cc") and which("strace")), reason="cc or strace is not installed")
def test_a_slow_disk_waits_after_each_sync_and_syncs_still(tmp_path: Path) -> None:
    script = "import os, sys; file = open(sys.argv[1], 'w'); os.fsync(file.fileno())"
    variables = slow_disk(0.5)
    assert variables["SLOW_DISK_US"] == "500"
    traced = ["strace", "-f", "-e", "trace=fsync,fdatasync,nanosleep,clock_nanosleep"]
    done = subprocess.run(
        [*traced, sys.executable, "-c", script, str(tmp_path / "file")],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    calls = [line for line in done.stderr.splitlines() if "sync(" in line or "sleep(" in line]
    assert ["sync" in call for call in calls] == [True, False]


def test_a_slow_disk_without_a_compiler_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SlowDiskError, match="C compiler"):
        slow_disk(1)
