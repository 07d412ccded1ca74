"""The quarantine from the command line: what untrusted sources said, let in or thrown away."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from holdfast.cli import output
from holdfast.cli.access import Project, Yes, done
from holdfast.cli.memories import agreed
from holdfast.cli.options import Common, Ids
from holdfast.core.shapes import held_shape
from holdfast.errors import ValidationError

if TYPE_CHECKING:
    from holdfast.admin import AsyncAdmin
    from holdfast.admin.quarantine import HeldPage
    from holdfast.model import Answer, OnProgress

    Decide = Callable[[AsyncAdmin, dict[str, Any], OnProgress], Awaitable[Answer]]

HeldIds = Annotated[
    list[str] | None, typer.Argument(metavar="[ID...]", help="Whole ids, as `list` shows them.")
]
Messages = Annotated[
    list[int] | None,
    typer.Option(
        "--message",
        metavar="NUMBER",
        help="Only this one of one id, as `show` counts them; may be repeated.",
    ),
]
All = Annotated[
    bool, typer.Option("--all", help="All that is held of --user, --agent, --app and --run.")
]


def list_held(
    common: Common,
    ids: Ids,
    limit: Annotated[int, typer.Option("--limit", "-n", help="How many at most.")] = 20,
    project: Project = None,
) -> None:
    """List what is held, of everybody or of some, the newest first."""

    async def work(admin: AsyncAdmin) -> HeldPage:
        return await admin.quarantine.listed(**ids.arguments(), page_size=limit, project=project)

    page = done(common, work)
    rows = [held_shape(held, whole=False) for held in page.rows]
    if common.json:
        output.print_json({"results": rows, "total": page.total})
        return
    if not rows:
        typer.echo("Nothing is held.")
        return
    made = output.table(("id", {"no_wrap": True, "style": "dim"}), "held", "of", "why", "begins")
    for row in rows:
        more = f" (and {row['messages'] - 1:,} more)" if row["messages"] > 1 else ""
        words = (_whose(row), ", ".join(row["reasons"]), f"{row['role']}: {row['preview']}{more}")
        made.add_row(row["id"], output.minute(row["created_at"]), *map(output.printable, words))
    output.console(no_color=common.no_color).print(made)
    if page.total > len(rows):
        typer.echo(f"{len(rows):,} of {page.total:,}.", err=True)


def show_held(
    common: Common,
    held_id: Annotated[str, typer.Argument(metavar="ID", help="As `list` shows it.")],
    project: Project = None,
) -> None:
    """Show all that a held add says, and why each message is held."""

    async def work(admin: AsyncAdmin) -> dict[str, Any]:
        return held_shape(await admin.quarantine.find(held_id, project=project), whole=True)

    shape = done(common, work)
    if common.json:
        output.print_json(shape)
        return
    by = f"{shape['added_by']['id']} ({shape['added_by']['via']})"
    typer.echo(output.printable(f"{_whose(shape)}, added by {by}"))
    made = output.table("no", "said", "who", "why", "text")
    for number, message in enumerate(shape["messages"], 1):
        who = " ".join(filter(None, (message["role"], message["name"])))
        words = (who, ", ".join(message["reasons"]), message["content"])
        made.add_row(str(number), output.minute(message["said_at"]), *map(output.printable, words))
    output.console(no_color=common.no_color).print(made)


def approve(
    common: Common,
    ids: Ids,
    held_ids: HeldIds = None,
    message: Messages = None,
    all_: All = False,
    project: Project = None,
) -> None:
    """Let in what is held: it is added as it would have been, from the moment it was said."""

    async def decide(admin: AsyncAdmin, chosen: dict[str, Any], told: OnProgress) -> Answer:
        return await admin.quarantine.approve(**chosen, told=told, project=project)

    chosen = _chosen(ids, held_ids, all_=all_) | {"messages": message or ()}
    _say(common, "Approved", _decided(common, "approving", chosen, decide))


def reject(
    common: Common,
    ids: Ids,
    held_ids: HeldIds = None,
    message: Messages = None,
    all_: All = False,
    yes: Yes = False,
    project: Project = None,
) -> None:
    """Throw away what is held, for good."""

    async def decide(admin: AsyncAdmin, chosen: dict[str, Any], told: OnProgress) -> Answer:
        return await admin.quarantine.reject(**chosen, told=told, project=project)

    chosen = _chosen(ids, held_ids, all_=all_) | {"messages": message or ()}
    if not yes and not agreed("Throw it away for good?"):
        raise typer.Exit(1)
    _say(common, "Rejected", _decided(common, "rejecting", chosen, decide))


def _chosen(ids: Ids, held_ids: list[str] | None, *, all_: bool) -> dict[str, Any]:
    """What is meant. HOLDFAST_USER alone means nobody: only --all looks at it."""
    if all_ == bool(held_ids):
        raise ValidationError(
            "either ids say what is meant, or --all with a --user (or --agent, --app, --run).",
            hint="`holdfast quarantine list` shows ids.",
        )
    return ids.named() if all_ else {"held_ids": held_ids}


def _decided(common: Common, label: str, chosen: dict[str, Any], decide: Decide) -> Answer:
    """Decide batch by batch until nothing is left."""

    async def work(admin: AsyncAdmin) -> Answer:
        results: list[Any] = []
        rest: dict[str, Any] = {}
        count, left = 0, 1
        with output.progress(label, None, unit="adds", no_color=common.no_color) as advance:
            while left:
                before = count

                def told(_done: int, total: int, before: int = before) -> None:
                    advance(1, total=before + total)

                answer = await decide(admin, chosen, told)
                count, left = count + answer["count"], answer["left"]
                results += answer.get("results", [])
                rest = {name: answer[name] for name in ("rest",) if name in answer}
                if not answer["count"]:
                    break
        whole: Answer = {"count": count, "left": left, **rest}
        return whole | ({"results": results} if label == "approving" else {})

    return done(common, work)


def _say(common: Common, word: str, answer: Answer) -> None:
    if common.json:
        output.print_json(answer)
        return
    typer.echo(f"{word} {answer['count']:,}.")
    for one in (answer, *answer.get("results", ())):
        if one.get("rest"):
            typer.echo(f"The other messages are held on: {one['rest']}")
    for one in answer.get("results", ()):
        for item in one["results"]:
            text = output.printable(item["memory"] or "")
            typer.echo(f"  {item['event'].lower()}: {text}  ({item['id']})")


def _whose(row: dict[str, Any]) -> str:
    kinds = ("user", "agent", "app", "run")
    return " ".join(f"{kind}={row[f'{kind}_id']}" for kind in kinds if row.get(f"{kind}_id"))


GROUPS: dict[str, tuple[str, dict[str, Callable[..., None]]]] = {
    "quarantine": (
        "What untrusted sources said: see it, let it in, throw it away.",
        {"list": list_held, "show": show_held, "approve": approve, "reject": reject},
    ),
}
"""Commands of two words: the first one, what it is about, and the second ones."""
