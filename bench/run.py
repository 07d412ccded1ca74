"""Holdfast, Mem0 as shipped and the bare limit, measured in one run: `make bench`.

    python bench/run.py [--quick] [--only NAME,..] [--contenders NAME,..]
                        [--fsync-ms N] [--json FILE] [--markdown FILE]

Prints a table of medians and ratios with the targets beside them. What is measured and how is told
in `docs/benchmarks.md`. Exits with 1 if a contender failed, 0 otherwise, targets met or not.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from sidebyside import disturbance, environments, report
from sidebyside.contender import NAMES
from sidebyside.data import write_turns
from sidebyside.measures import Results, all_specs
from sidebyside.scenarios import FULL, QUICK, Bench, Sizes, scenarios
from sidebyside.slow_disk import SlowDiskError, slow_disk

PIPED_WIDTH = 160


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure Holdfast, Mem0 and the bare limit.")
    parser.add_argument("--quick", action="store_true", help="small stores, under two minutes")
    parser.add_argument("--only", metavar="NAME,..", help="scenarios to run (default: all)")
    parser.add_argument("--contenders", metavar="NAME,..", default=",".join(NAMES))
    parser.add_argument(
        "--fsync-ms", type=float, default=0.0, metavar="N", help="a disk that is so much slower"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers here")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table here")
    return parser.parse_args()


def chosen(given: str | None, known: list[str], what: str) -> list[str]:
    """The names given, in the order of `known`; all of them if none was given."""
    names = known if given is None else given.split(",")
    unknown = set(names) - set(known)
    if unknown:
        raise SystemExit(
            f"no such {what}: {', '.join(sorted(unknown))}; there are {', '.join(known)}"
        )
    return [name for name in known if name in names]


def _turns_needed(sizes: Sizes) -> int:
    grown = (
        sizes.rounds * sizes.concurrent_adds,
        (sizes.rounds + 1) * sizes.batch_turns,
        sizes.delete_others + sizes.delete_all,
    )
    return max(*sizes.scales, sizes.one_user, *grown)


def _run(bench: Bench, names: list[str], progress: Progress) -> None:
    """Runs the scenarios with a bar that moves with each and a line that tells the step."""
    bar = progress.add_task("", total=len(names))

    def show(step: str) -> None:
        progress.update(bar, description=step)

    bench.on_step = show
    every = scenarios(bench.sizes)
    for name in names:
        _watched(bench, name, every[name])
        progress.advance(bar)


def _watched(bench: Bench, name: str, scenario: Callable[[Bench], None]) -> None:
    """Runs a scenario; if other programs were busy meanwhile, its numbers are marked and noted."""
    known = {measure.spec.key for measure in bench.results.measured()}
    before = disturbance.usage()
    scenario(bench)
    cores = disturbance.others_cores(before, disturbance.usage())
    if cores is not None and cores > disturbance.OTHERS_CORES_MAX:
        new = [m.spec.key for m in bench.results.measured() if m.spec.key not in known]
        bench.results.disturb(new)
        bench.results.notes.append(f"{name}: other programs used {cores:.1f} cores meanwhile")


def _ignore(step: str) -> None:
    """Where nobody watches."""


def _measure(
    sizes: Sizes, names: list[str], contenders: list[str], console: Console
) -> tuple[Results, float]:
    """The run's numbers and how many seconds it took; its folder is removed afterwards."""
    begin = time.monotonic()
    on_step: Callable[[str], None] = _ignore
    columns = (
        BarColumn(20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    cache = environments.cache_folder()
    with tempfile.TemporaryDirectory(prefix="run-", dir=cache) as folder:
        turns_file = Path(folder) / "turns.txt"
        turns = write_turns(turns_file, _turns_needed(sizes))
        specs = all_specs(sizes.scales, sizes.one_user, sizes.delete_all, sizes.writers)
        results = Results(specs)
        bench = Bench(contenders, sizes, Path(folder), turns_file, turns, results, on_step)
        with Progress(*columns, console=console, transient=True) as progress:
            _run(bench, names, progress)
    return results, time.monotonic() - begin


def versions(contenders: list[str]) -> dict[str, str]:
    """Of what is measured and of the embedder."""
    found = {name: importlib.metadata.version(name) for name in ("numpy", "wordllama")}
    return found | (environments.peer_versions() if "mem0" in contenders else {})


def main() -> int:
    """Runs what the command line asks for; the exit code."""
    arguments = _arguments()
    sizes = QUICK if arguments.quick else FULL
    # Piped, rich would wrap the table at 80 columns.
    console = Console(width=None if sys.stdout.isatty() else PIPED_WIDTH)
    contenders = chosen(arguments.contenders, list(NAMES), "contender")
    names = chosen(arguments.only, list(scenarios(sizes)), "scenario")
    try:
        if "mem0" in contenders:
            with console.status("preparing Mem0's own environment (once)"):
                environments.ensure_peer()
        if arguments.fsync_ms:
            os.environ |= slow_disk(arguments.fsync_ms)  # the contenders inherit it
    except (environments.PeerUnavailableError, SlowDiskError) as error:
        raise SystemExit(str(error)) from error
    results, seconds = _measure(sizes, names, contenders, console)
    if arguments.fsync_ms:
        results.notes.append(f"every fsync took {arguments.fsync_ms:g} ms longer than the disk's")
    report.print_table(results, console)
    about = report.about_machine(versions(contenders), contenders, arguments.quick)
    console.print(
        f"{seconds:.0f} s on {about['cores']} cores, {about['versions']}", highlight=False
    )
    if arguments.json:
        arguments.json.write_text(json.dumps(report.as_json(results, about), indent=2) + "\n")
    if arguments.markdown:
        arguments.markdown.write_text(report.markdown(results))
    return 1 if results.failures else 0


if __name__ == "__main__":
    sys.exit(main())
