"""The numbers of a run for people (a table), for documents (Markdown) and for programs (JSON)."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from sidebyside.measures import Measure, Results, Verdict

COLUMNS = ("measure", "bare limit", "Holdfast", "Mem0", "cost / bare", "gain on Mem0", "must")
NAMES = ("bare", "holdfast", "mem0")
TITLE = "Holdfast beside Mem0 and the bare limit"
WORDS = {True: "yes", False: "**no**", None: "not decided"}


def number(value: float) -> str:
    """Three significant digits, thousands apart, no exponent."""
    if value >= 1_000:
        return f"{round(value, -1 if value < 10_000 else -2):,.0f}"
    digits = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3
    return f"{value:.{digits}f}"


def _times(ratio: float | None) -> str:
    return "" if ratio is None else f"{number(ratio)} x"


def _must(verdict: Verdict, unit: str) -> str:
    """The target in words."""
    bound = number(verdict.target.bound)
    if verdict.target.basis == "bare":
        return f"<= {bound} x bare"
    if verdict.target.over is not None:
        return f">= {bound} x Mem0 one by one (is {number(verdict.reached)})"
    if verdict.target.basis == "mem0":
        return f">= {bound} x Mem0"
    return f">= {bound} {unit}" if unit == "/s" else f"<= {bound} {unit}"


def _cells(measure: Measure) -> list[str]:
    """The row without its targets."""
    samples = measure.samples
    values = [
        f"{number(samples[name].value)} {measure.spec.unit}" if name in samples else ""
        for name in NAMES
    ]
    ratios = [_times(measure.cost_in_bare()), _times(measure.gain_on_mem0())]
    return [measure.spec.label, *values, *ratios]


def print_table(results: Results, console: Console, title: str = TITLE) -> None:
    """The table, notes and failures under it, and how many targets were met."""
    table = Table(title=title, header_style="bold")
    for position, column in enumerate(COLUMNS):
        table.add_column(column, justify="left" if position in (0, 6) else "right", no_wrap=True)
    passed = undecided = total = 0
    for measure in results.measured():
        if measure.spec.detail:
            continue
        verdicts = results.verdicts(measure.spec.key)
        marks = [_mark(verdict, measure.spec.unit) for verdict in verdicts]
        passed += sum(verdict.passed is True for verdict in verdicts)
        undecided += sum(verdict.passed is None for verdict in verdicts)
        total += len(verdicts)
        table.add_row(*_cells(measure), "\n".join(marks))
    console.print(table)
    for note in results.notes:
        console.print(f"note: {note}", markup=False, highlight=False)
    for failure in results.failures:
        console.print(f"failed: {failure}", style="red", markup=False, highlight=False)
    console.print(f"{passed} of {total} targets met that this run measured.")
    if undecided:
        console.print(f"{undecided} not decided (?): other programs kept the machine busy.")


def _mark(verdict: Verdict, unit: str) -> str:
    signs = {True: "[green]✓[/green]", False: "[red]✗[/red]", None: "[yellow]?[/yellow]"}
    return f"{signs[verdict.passed]} {_must(verdict, unit)}"


def markdown(results: Results) -> str:
    """The same table for a document; the samples behind each number stand in the JSON."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|---|" + "---:|" * 5 + "---|"]
    for measure in results.measured():
        if measure.spec.detail:
            continue
        verdicts = results.verdicts(measure.spec.key)
        marks = [
            f"{_must(verdict, measure.spec.unit)} {WORDS[verdict.passed]}" for verdict in verdicts
        ]
        lines.append("| " + " | ".join([*_cells(measure), ", ".join(marks)]) + " |")
    return "\n".join(lines) + "\n"


def as_json(results: Results, about: dict[str, Any]) -> dict[str, Any]:
    """Everything measured, with sample counts, ratios, targets and failures."""
    return {
        "about": about,
        "measures": [_measure_json(results, measure) for measure in results.measured()],
        "notes": results.notes,
        "failures": results.failures,
    }


def _measure_json(results: Results, measure: Measure) -> dict[str, Any]:
    spec = measure.spec
    return {
        "key": spec.key,
        "label": spec.label,
        "unit": spec.unit,
        "disturbed": measure.disturbed,
        "values": {
            name: {"value": sample.value, "samples": sample.count}
            for name, sample in measure.samples.items()
        },
        "cost_in_bare": measure.cost_in_bare(),
        "gain_on_mem0": measure.gain_on_mem0(),
        "targets": [
            {
                "basis": verdict.target.basis,
                "bound": verdict.target.bound,
                "reached": verdict.reached,
                "passed": verdict.passed,
            }
            for verdict in results.verdicts(spec.key)
        ],
    }


def about_machine(
    versions: dict[str, str], contenders: Sequence[str], quick: bool
) -> dict[str, Any]:
    """What the numbers were measured on and with."""
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "contenders": list(contenders),
        "quick": quick,
        "versions": versions,
    }
