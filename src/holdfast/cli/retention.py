"""Retention: rules by which what is old is removed for good."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from holdfast.cli import output
from holdfast.cli.access import Project, Yes, done
from holdfast.cli.memories import agreed
from holdfast.cli.options import Common
from holdfast.core.retention import RULES
from holdfast.errors import ValidationError

if TYPE_CHECKING:
    from holdfast.admin import AsyncAdmin


def show_rules(common: Common, project: Project = None) -> None:
    """Show the rules of a project, and how many rows are older than they allow."""

    async def work(admin: AsyncAdmin) -> tuple[dict[str, float], dict[str, int]]:
        face = admin.retention
        return await face.rules(project=project), await face.due(project=project)

    _show(common, *done(common, work))


def set_rules(
    common: Common,
    rules: Annotated[
        list[str],
        typer.Argument(metavar="RULE=DAYS...", help="E.g. turns=90; turns=off takes it away."),
    ],
    project: Project = None,
) -> None:
    """Set rules of a project: from which age on, in days, something is removed for good.

    A server or worker does it within the hour; `retention run` does it now.
    """
    wanted = dict(map(_rule, rules))

    async def work(admin: AsyncAdmin) -> tuple[dict[str, float], dict[str, int]]:
        info = await admin.project(project)
        kept = await admin.retention.set(wanted, project=info.id)
        return kept, await admin.retention.due(project=info.id)

    _show(common, *done(common, work))


def run_rules(
    common: Common,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count what would go; change nothing.")
    ] = False,
    yes: Yes = False,
    project: Project = None,
) -> None:
    """Remove what is older than the rules of a project allow, now."""

    async def count(admin: AsyncAdmin) -> dict[str, int]:
        return await admin.retention.due(project=project)

    async def work(admin: AsyncAdmin) -> dict[str, int]:
        return await admin.retention.run(project=project)

    due = done(common, count) if dry_run or not yes else {}
    if not dry_run:
        if not yes and not agreed(f"Remove {sum(due.values()):,} rows for good?"):
            raise typer.Exit(1)
        due = done(common, work)
    if common.json:
        output.print_json({"rows": due, "removed": not dry_run})
        return
    word = "would be removed" if dry_run else "removed"
    for name, rows in due.items():
        typer.echo(f"{name}: {rows:,} {word}")
    if not due:
        typer.echo("No rules.")


def _rule(written: str) -> tuple[str, float | None]:
    name, _, days = written.partition("=")
    if days == "off":
        return name, None
    try:
        return name, float(days)
    except ValueError:
        raise ValidationError(
            f"{written[:64]!r} is no rule.", hint="Write it like turns=90, or turns=off."
        ) from None


def _show(common: Common, rules: Mapping[str, float], due: Mapping[str, int]) -> None:
    if common.json:
        output.print_json({"rules": rules, "due": due})
        return
    made = output.table("rule", "days", "due", "what it removes")
    for name, about in RULES.items():
        days = f"{rules[name]:g}" if name in rules else "-"
        made.add_row(name, days, str(due.get(name, "")), about)
    output.console(no_color=common.no_color).print(made)


GROUPS: dict[str, tuple[str, dict[str, Callable[..., None]]]] = {
    "retention": (
        "Rules by which what is old is removed for good.",
        {"show": show_rules, "set": set_rules, "run": run_rules},
    ),
}
"""Commands of two words: the first one, what it is about, and the second ones."""
