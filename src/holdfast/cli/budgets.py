"""Budgets and estimates from the command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from holdfast.cli import output
from holdfast.cli.access import Project, done, say
from holdfast.cli.inputs import text_from
from holdfast.cli.options import Common, Ids
from holdfast.cli.usage import money

if TYPE_CHECKING:
    from holdfast.admin import AsyncAdmin
    from holdfast.core.budgets import BudgetStatus
    from holdfast.directory import Budget
    from holdfast.engine.estimating import Estimate


def set_budget(
    common: Common,
    amount: Annotated[float, typer.Argument(metavar="AMOUNT", help="US dollars, or tokens.")],
    unit: Annotated[str, typer.Option("--unit", help="usd or tokens.")] = "usd",
    period: Annotated[str, typer.Option("--per", help="day or month, of UTC.")] = "month",
    at_limit: Annotated[
        str,
        typer.Option("--at-limit", help="warn: go on; degrade: do without; block: refuse."),
    ] = "block",
    user: Annotated[
        str | None, typer.Option("--user", "-u", metavar="ID", help='Of one; "*" of each.')
    ] = None,
    key: Annotated[
        str | None, typer.Option("--key", metavar="ID", help='Of one; "*" of each.')
    ] = None,
    project: Project = None,
) -> None:
    """Bound what calls of models take, in place of an earlier bound of the same kind.

    Of the whole project, unless --user or --key names whose calls. Takes effect at once, in every
    process; extractions that waited for a budget are tried again.
    """

    async def work(admin: AsyncAdmin) -> Budget:
        return await admin.budgets.put(
            amount,
            unit=unit,
            period=period,
            at_limit=at_limit,
            user=user,
            key=key,
            project=project,
        )

    from holdfast.core.budgets import budget_shape

    made = budget_shape(done(common, work))
    whose = f"{made['kind']} {output.printable(made['subject'] or '')}".strip()
    line = f"{_amount(made, made['amount'])} a {made['period']} for {whose}: {made['at_limit']}."
    say(common, made, line)


def list_budgets(common: Common, project: Project = None) -> None:
    """List the budgets of a project, and what is spent of them in this day or month."""

    async def work(admin: AsyncAdmin) -> Sequence[BudgetStatus]:
        return await admin.budgets.listed(project=project)

    from holdfast.core.budgets import status_shape

    found = [status_shape(one) for one in done(common, work)]
    if common.json:
        output.print_json({"results": found})
        return
    if not found:
        typer.echo("No budgets: calls of models are not bounded.")
        return
    number: dict[str, Any] = {"justify": "right", "no_wrap": True}
    made = output.table(
        "whose", "per", ("amount", number), ("spent", number), ("held", number), ("used", number),
        "at limit", "id",
    )  # fmt: skip
    for one in found:
        whose = f"{one['kind']} {output.printable(one['subject'] or '')}".strip()
        used = output.styled(f"{one['used_ratio']:.0%}", _style(one["used_ratio"]))
        amounts = (_amount(one, one[name]) for name in ("amount", "spent", "held"))
        made.add_row(whose, one["period"], *amounts, used, one["at_limit"], one["id"])
    output.console(no_color=common.no_color).print(made)


def remove_budget(
    common: Common,
    budget_id: Annotated[str, typer.Argument(metavar="ID", help="The budget.")],
    project: Project = None,
) -> None:
    """Remove a budget, and what was counted for it."""

    async def work(admin: AsyncAdmin) -> None:
        await admin.budgets.remove(budget_id, project=project)

    done(common, work)
    say(common, {"id": budget_id, "removed": True}, f"Removed {output.printable(budget_id)}.")


def estimate(
    common: Common,
    ids: Ids,
    text: Annotated[
        list[str] | None, typer.Argument(metavar="TEXT", help='What would be added; "-" reads it.')
    ] = None,
    project: Project = None,
) -> None:
    """Tell what adding a text would cost, before anything is stored or asked.

    Exits with 1 if the budgets have no room for it.
    """
    message = {"role": "user", "content": text_from(text, "text to add")}

    async def work(admin: AsyncAdmin) -> Estimate:
        return await admin.usage.estimate([message], project=project, **ids.named())

    found = done(common, work)
    shape = output.fields_of(found)
    if common.json:
        output.print_json(shape)
    else:
        _say_estimate(common, shape)
    if not found.fits:
        raise typer.Exit(1)


def _say_estimate(common: Common, found: Mapping[str, Any]) -> None:
    if not found["calls"]:
        typer.echo("Nothing: no model of others is asked.")
        return
    costs = {
        name: "unknown: set `prices`" if found[key] is None else f"{money(found[key])} USD"
        for name, key in (("cost", "cost_usd"), ("at most", "cost_usd_max"))
    }
    rows = [
        ("models", ", ".join(found["models"])),
        ("calls", f"{found['calls']:,}"),
        ("tokens", f"about {found['input_tokens']:,} in, {found['output_tokens']:,} out"),
        *((name, told) for name, told in costs.items()),
        ("budgets", "have room" if found["fits"] else "have no room"),
    ]
    output.console(no_color=common.no_color).print(output.fact_table(rows))


def _amount(one: Mapping[str, Any], value: float) -> str:
    return f"{money(value)} USD" if one["unit"] == "usd" else f"{value:,.0f} tokens"


def _style(ratio: float) -> str:
    return "red" if ratio >= 1 else "yellow" if ratio >= 0.8 else "green"


COMMANDS: dict[str, Callable[..., None]] = {"estimate": estimate}

GROUPS: dict[str, tuple[str, dict[str, Callable[..., None]]]] = {
    "budget": (
        "Bound what calls of models take, in money or tokens.",
        {"set": set_budget, "list": list_budgets, "remove": remove_budget},
    ),
}
