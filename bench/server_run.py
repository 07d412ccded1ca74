"""Holdfast's server and Mem0 behind FastAPI under the same load: `make bench-server`.

    python bench/server_run.py [--quick] [--only NAME,..] [--contenders NAME,..]
                               [--json FILE] [--markdown FILE]

Everything stays on this machine and is bounded in count and time. What is measured and how is told
in `docs/benchmarks.md`. Exits with 1 if a contender failed, 0 otherwise, targets met or not.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from run import chosen, versions
from serverside import measures, scenarios
from serverside.servers import NAMES
from sidebyside import disturbance, environments, report
from sidebyside.data import write_turns
from sidebyside.measures import Results

TITLE = "Holdfast's server beside Mem0 behind FastAPI; the bare limit answers without any work"
PIPED_WIDTH = 160


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure Holdfast's server and Mem0's.")
    parser.add_argument("--quick", action="store_true", help="small stores, short rounds")
    parser.add_argument("--only", metavar="NAME,..", help="scenarios to run (default: all)")
    parser.add_argument("--contenders", metavar="NAME,..", default=",".join(NAMES))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers here")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table here")
    return parser.parse_args()


def _measure(
    sizes: scenarios.Sizes, names: list[str], contenders: list[str], console: Console
) -> Results:
    """The run's numbers; its folder is removed afterwards."""
    results = Results(measures.SPECS, measures.TARGETS)
    with tempfile.TemporaryDirectory(prefix="serve-", dir=environments.cache_folder()) as folder:
        turns_file = Path(folder) / "turns.txt"
        turns = write_turns(turns_file, sizes.memories)
        with console.status("") as status:
            bench = scenarios.Bench(
                contenders, sizes, Path(folder), turns_file, turns, results, status.update
            )
            scenarios.fill(bench)
            for name in names:
                _watched(bench, name)
    return results


def _watched(bench: scenarios.Bench, name: str) -> None:
    """Runs a scenario; if other programs were busy meanwhile, its numbers are marked and noted."""
    results = bench.results
    known = {measure.spec.key for measure in results.measured()}
    before = disturbance.usage()
    scenarios.SCENARIOS[name](bench)
    cores = disturbance.others_cores(before, disturbance.usage())
    if cores is not None and cores > disturbance.OTHERS_CORES_MAX:
        results.disturb([m.spec.key for m in results.measured() if m.spec.key not in known])
        results.notes.append(f"{name}: other programs used {cores:.1f} cores meanwhile")


def main() -> int:
    """Runs what the command line asks for; the exit code."""
    arguments = _arguments()
    console = Console(width=None if sys.stdout.isatty() else PIPED_WIDTH)
    contenders = chosen(arguments.contenders, list(NAMES), "contender")
    names = chosen(arguments.only, list(scenarios.SCENARIOS), "scenario")
    try:
        if "mem0" in contenders:
            with console.status("preparing Mem0's own environment (once)"):
                environments.ensure_peer()
    except environments.PeerUnavailableError as error:
        raise SystemExit(str(error)) from error
    begin = time.monotonic()
    sizes = scenarios.QUICK if arguments.quick else scenarios.FULL
    results = _measure(sizes, names, contenders, console)
    report.print_table(results, console, TITLE)
    about = report.about_machine(versions(contenders), contenders, arguments.quick)
    seconds = time.monotonic() - begin
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
