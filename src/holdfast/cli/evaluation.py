"""Trying Holdfast out: the evaluation and the demonstration."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from holdfast.cli import output
from holdfast.cli.options import Common
from holdfast.cli.sources import known_form
from holdfast.cli.store import opened, resolved
from holdfast.errors import ValidationError
from holdfast.eval.questions import EVAL_FORMATS

if TYPE_CHECKING:
    from rich.console import Console

    from holdfast import Memory
    from holdfast.demo.play import Answer, Script
    from holdfast.eval.run import Dataset

_COMMAND_CHARS = 25
"""Longer ways to this program are not spelt out in the demonstration's hints."""
_MEMORY_CHARS = 170
"""Characters of a memory that the demonstration shows."""

_MEASURES = {
    "recall@5": "R@5",
    "recall@10": "R@10",
    "recall@20": "R@20",
    "recall@50": "R@50",
    "hit@10": "hit@10",
    "mrr": "MRR",
    "ndcg@10": "nDCG",
}
"""Measures shown to people, and their headings."""


def evaluate(
    common: Common,
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="Conversations with questions."),
    ],
    form: Annotated[
        str | None,
        typer.Option(
            "--format", metavar="FORM", help=f"Told by content, or: {', '.join(EVAL_FORMATS)}."
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", metavar="N", min=1, help="Ask only the first N.")
    ] = None,
    threshold: Annotated[
        float, typer.Option("--threshold", help="Score below which a search abstains.")
    ] = 0.1,
    chart: Annotated[
        Path | None,
        typer.Option("--chart", metavar="FILE", help="Draw recall by category: .png or .svg."),
    ] = None,
) -> None:
    """Measure recall: store every turn, ask every question, look for the evidence. No model needed.

    Works in a store of its own that is removed afterwards.
    """
    from holdfast.eval import chart as charts
    from holdfast.eval import run
    from holdfast.eval.report import summarise

    if not 0 <= threshold <= 1:
        raise ValidationError("--threshold must be from 0 to 1.")
    if chart is not None:
        charts.check(chart)
    dataset = run.load(file, known_form(form), limit=limit)
    with _fresh(common, None) as memory:
        with _bar(common, "storing", dataset.turns, "turns") as advance:
            stored = run.store(memory, dataset, advance)
        outcomes = []
        with _bar(common, "asking", len(dataset.questions), "questions") as advance:
            for question in dataset.questions:
                outcomes.append(run.ask(memory, question, stored.ids, threshold=threshold))
                advance(1)
    report = {
        "file": file.name,
        **_described(dataset),
        "embedder": resolved(common).config.embedder.provider,
        "threshold": threshold,
        "store_turns_per_s": stored.turns / stored.seconds,
        **summarise(outcomes),
    }
    if chart is not None:
        charts.draw(report, chart, title=f"Evidence recall, {file.stem}")
    _say_report(common, report, chart)


def _described(dataset: Dataset) -> dict[str, Any]:
    return {
        "format": dataset.form,
        "conversations": len(dataset.conversations),
        "turns": dataset.turns,
        "questions": len(dataset.questions),
        "questions_skipped": dataset.skipped,
    }


def _say_report(common: Common, report: Mapping[str, Any], chart: Path | None) -> None:
    if common.json:
        output.print_json(report)
        return
    overall = report["overall"]
    numbers = {"justify": "right", "no_wrap": True}
    made = output.table(
        ("category", {"no_wrap": True}),
        ("n", numbers),
        *((heading, numbers) for heading in _MEASURES.values()),
    )
    for name, found in report["categories"].items():
        _add_scores(made, name, found)
    made.add_section()
    _add_scores(made, "overall", overall)
    screen = output.console(no_color=common.no_color)
    screen.print(
        f"{report['file']} ({report['format']}, {report['embedder']}): {report['turns']:,} turns in"
        f" {report['conversations']} conversations"
    )
    screen.print(made)
    for line in _remarks(report, overall):
        screen.print(line)
    if chart is not None:
        screen.print(f"Chart: {chart}")


def _remarks(report: Mapping[str, Any], overall: Mapping[str, Any]) -> Iterator[str]:
    yield (
        f"search p50 {overall['search_p50_ms']:.2f} ms, p99 {overall['search_p99_ms']:.2f} ms;"
        f" stored {report['store_turns_per_s']:,.0f} turns a second"
    )
    if "abstained" in overall:
        yield (
            f"no result at threshold {report['threshold']:g}: {overall['abstained']:.1%} of"
            " questions with an answer"
            + (
                f", {overall['unanswerable_abstained']:.1%} of {overall['unanswerable']} without"
                if "unanswerable" in overall
                else ""
            )
        )
    if report["questions_skipped"]:
        yield f"left out: {report['questions_skipped']} questions that name no turn as evidence"


def _add_scores(table: Any, name: str, found: Mapping[str, Any]) -> None:
    scores = [f"{found[key]:.3f}" if key in found else "" for key in _MEASURES]
    table.add_row(output.printable(name), f"{found['questions']:,}", *scores)


@contextmanager
def _fresh(common: Common, keep: Path | None) -> Iterator[Memory]:
    """A store in a folder of its own, removed afterwards unless it is to be kept."""
    if keep is not None:
        with opened(common, keep) as memory:
            yield memory
        return
    with (
        tempfile.TemporaryDirectory(prefix="holdfast-") as folder,
        opened(common, Path(folder)) as memory,
    ):
        yield memory


def _bar(common: Common, label: str, total: int, unit: str) -> Any:
    return output.progress(label, total, unit=unit, no_color=common.no_color)


def demo(
    common: Common,
    keep: Annotated[
        Path | None,
        typer.Option("--keep", metavar="DIR", help="Keep the store here."),
    ] = None,
) -> None:
    """Watch Holdfast take in a long conversation and answer questions about it, offline."""
    from holdfast.demo import play

    told = play.script()
    screen = output.console(no_color=common.no_color)
    if not common.json:
        screen.print(told.title, style="bold")
    began = time.perf_counter()
    with _fresh(common, keep) as memory:
        ready = time.perf_counter()
        with _bar(common, "remembering", len(told.turns), "turns") as advance:
            ids = play.remember(memory, told, advance)
        stored = time.perf_counter()
        if not common.json:
            _say_stored(screen, told, ready - began, stored - ready)
        answers = []
        for number, asked in enumerate(told.questions, 1):
            answers.append(play.ask(memory, told, asked, ids))
            if not common.json:
                _say_answer(screen, number, answers[-1])
    if common.json:
        output.print_json(_demo_report(told, answers, stored - ready))
    else:
        _say_end(screen, told, answers, keep)


def _say_stored(screen: Console, told: Script, opening: float, storing: float) -> None:
    speed = len(told.turns) / storing
    screen.print(
        f"{len(told.turns)} turns of {told.sessions} sessions remembered in"
        f" {output.duration(storing)} ({speed:,.0f} a second; start"
        f" {output.duration(opening)}), offline, without a language model.\n"
    )


def _say_answer(screen: Console, number: int, answer: Answer) -> None:
    from rich.table import Table
    from rich.text import Text

    heading = Text(f"{number}. {answer.question}", style="bold")
    heading.append(f"  {output.duration(answer.seconds)}", style="dim not bold")
    screen.print(heading)
    rows = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1, 0, 0))
    rows.add_column(width=3, justify="right", style="green")
    rows.add_column(no_wrap=True, style="cyan")
    rows.add_column(no_wrap=True, style="dim")
    rows.add_column(overflow="fold", ratio=1)
    for memory in answer.found:
        expected = memory["id"] in answer.expected
        rows.add_row(
            "\N{CHECK MARK}" if expected else "",
            f"{memory['score']:.2f}",
            output.day(memory["event_at"]),
            Text(_shortened(memory["memory"]), style="" if expected else "dim"),
        )
    screen.print(rows)
    screen.print()


def _shortened(text: str) -> str:
    whole = output.printable(" ".join(text.split()))
    return textwrap.shorten(whole, _MEMORY_CHARS, placeholder=" \N{HORIZONTAL ELLIPSIS}")


def _say_end(screen: Console, told: Script, answers: Sequence[Answer], keep: Path | None) -> None:
    right = sum(answer.answered for answer in answers)
    middle = sorted(answer.seconds for answer in answers)[len(answers) // 2]
    screen.print(
        f"{right} of {len(answers)} questions found their evidence (\N{CHECK MARK}) among the first"
        f" three memories, in {output.duration(middle)} each."
    )
    screen.print("\nNow your own:", style="bold")
    command = _command()
    screen.print(f'  {command} add "I am allergic to peanuts" --user me', soft_wrap=True)
    again = f'  {command} search "What must I not eat?" --user me'
    if keep is not None:
        again = f'  {command} search "Who is Biscuit?" --home {keep} --user {told.user_id}'
    screen.print(again, soft_wrap=True)  # to be copied: not broken over two lines


def _command() -> str:
    """How this program can be called again from here."""
    here = os.path.relpath(sys.argv[0])
    known = shutil.which("holdfast") is not None or len(here) > _COMMAND_CHARS
    return "holdfast" if known else here


def _demo_report(told: Script, answers: Sequence[Answer], seconds: float) -> dict[str, Any]:
    return {
        "turns": len(told.turns),
        "sessions": told.sessions,
        "store_seconds": seconds,
        "answered": sum(answer.answered for answer in answers),
        "questions": [
            {
                "question": answer.question,
                "answered": answer.answered,
                "seconds": answer.seconds,
                "results": [
                    {**memory, "expected": memory["id"] in answer.expected}
                    for memory in answer.found
                ],
            }
            for answer in answers
        ],
    }


COMMANDS: dict[str, Callable[..., None]] = {"eval": evaluate, "demo": demo}
