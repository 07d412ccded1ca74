"""What calls of models took and cost, from the command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from holdfast.cli import output
from holdfast.cli.access import Project, done
from holdfast.cli.options import Common, Group

if TYPE_CHECKING:
    from rich.console import Console

    from holdfast.admin import AsyncAdmin
    from holdfast.core.usage import UsageReport

_BAR = 20
"""Characters of the longest bar of a chart."""


@dataclass(frozen=True)
class Calls(Group):
    """Which calls are meant."""

    since: Annotated[
        str | None,
        typer.Option("--since", metavar="DATE", help="From then on. Default: the last 30 days."),
    ] = None
    before: Annotated[
        str | None, typer.Option("--before", metavar="DATE", help="Before then. Default: now.")
    ] = None
    user: Annotated[str | None, typer.Option("--user", "-u", metavar="ID", help="Of one.")] = None
    key: Annotated[str | None, typer.Option("--key", metavar="ID", help="Of one.")] = None
    model: Annotated[str | None, typer.Option("--model", metavar="NAME", help="Of one.")] = None
    operation: Annotated[
        str | None, typer.Option("--operation", metavar="NAME", help="Of one, as add or search.")
    ] = None

    @property
    def where(self) -> dict[str, str]:
        """The values they must have."""
        names = ("user", "key", "model", "operation")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


def show_usage(
    common: Common,
    calls: Calls,
    by: Annotated[
        list[str] | None,
        typer.Option(
            "--by",
            metavar="WHAT",
            help="day, month, model, operation, user, agent, app, run, key or project; may be"
            " repeated. Default: model.",
        ),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", help="How many rows at most.")] = 20,
    chart: Annotated[
        Path | None,
        typer.Option("--chart", metavar="FILE", help="Draw the cost of each row: .png or .svg."),
    ] = None,
    project: Project = None,
    all_projects: Annotated[
        bool, typer.Option("--all-projects", help="Of every project of the store.")
    ] = False,
) -> None:
    """Show what calls of models took and cost: tokens, money, and a chart.

    Times are of UTC, as those of providers' bills are. What was written before its price was known
    is counted as unpriced.
    """
    if chart is not None:
        from holdfast.eval import chart as charts

        charts.check(chart)

    async def work(admin: AsyncAdmin) -> UsageReport:
        return await admin.usage.report(
            by=by or ["model"],
            since=calls.since,
            before=calls.before,
            where=calls.where,
            limit=limit,
            project=project,
            all_projects=all_projects,
        )

    from holdfast.core.usage import report_shape

    report = report_shape(done(common, work))
    if chart is not None:
        from holdfast.cli.usage_chart import draw

        draw(report, chart)
    if common.json:
        output.print_json(report)
        return
    _say(output.console(no_color=common.no_color), report)
    if chart is not None:
        typer.echo(f"Chart: {chart}")


def _say(screen: Console, report: Mapping[str, Any]) -> None:
    total = report["total"]
    span = f"{output.minute(report['since'])} to {output.minute(report['before'])} UTC"
    if not total["calls"] and not total["spared_calls"]:
        screen.print(f"No calls of models from {span}.")
        return
    number: dict[str, Any] = {"justify": "right", "no_wrap": True}
    names = ("calls", "input", "cached", "output", "USD", "saved")
    shown = output.table(*report["by"], *((name, number) for name in names), "")
    longest = max([one["cost_usd"] for one in report["results"]], default=0.0)
    for one in report["results"]:
        group = [output.printable(one[name] or "-") for name in report["by"]]
        shown.add_row(*group, *_numbers(one), output.styled(_bar(one["cost_usd"], longest), "cyan"))
    if len(report["results"]) != 1 or report["left_off"]:
        shown.add_section()
        shown.add_row("in all", *[""] * (len(report["by"]) - 1), *_numbers(total), "")
    screen.print(shown)
    for line in _notes(report, span):
        screen.print(line, style="dim")


def _numbers(one: Mapping[str, Any]) -> list[str]:
    counts = ("calls", "input_tokens", "cached_tokens", "output_tokens")
    saved = money(one["saved_usd"] + one["spared_usd"])
    return [*(f"{one[name]:,}" for name in counts), money(one["cost_usd"]), saved]


def _notes(report: Mapping[str, Any], span: str) -> list[str]:
    total, notes = report["total"], [f"From {span}.", *_savings(report)]
    if report["left_off"]:
        notes.append(f"{report['left_off']:,} more rows are left off: see --limit.")
    if total["unpriced"]:
        notes.append(f"{total['unpriced']:,} calls have no price: set `prices`.")
    return notes


def _savings(report: Mapping[str, Any]) -> list[str]:
    total, told = report["total"], report["instructions"]
    spared = f"{total['spared_calls']:,} calls not made, about {total['spared_tokens']:,} tokens"
    by_providers, by_ours = money(total["saved_usd"]), money(total["spared_usd"])
    notes = [f"Saved: {by_providers} USD by providers' caches, about {by_ours} by ours ({spared})."]
    if told["calls"]:
        notes.append(
            f"Instructions: about {told['tokens_per_call']:,} tokens a call. With the"
            f" {told['compared_tokens_per_call']:,} of {told['compared_with']}, {told['calls']:,}"
            f" calls would have read {told['fewer_tokens']:,} more: {money(told['fewer_usd'])} USD."
        )
    return notes


def money(usd: float) -> str:
    """US dollars: to the cent, or as small as they are."""
    return f"{usd:,.2f}" if usd >= 100 or usd == 0 else f"{usd:.4f}"


def _bar(value: float, longest: float) -> str:
    """A bar of eighths of a character."""
    if longest <= 0:
        return ""
    eighths = round(value / longest * _BAR * 8)
    part = "" if eighths % 8 == 0 else chr(0x2590 - eighths % 8)
    return "█" * (eighths // 8) + part


COMMANDS: dict[str, Callable[..., None]] = {"usage": show_usage}
