"""Looking inside: stats, events, config, doctor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from holdfast.cli import diagnosis, output
from holdfast.cli.access import done
from holdfast.cli.failure import EXIT_FAILED
from holdfast.cli.options import Common
from holdfast.cli.store import opened, resolved
from holdfast.errors import ValidationError
from holdfast.limits import PAGE_SIZE_MAX
from holdfast.model import ENTITY_KINDS

if TYPE_CHECKING:
    from holdfast.admin import AsyncAdmin

ENTITIES_SHOWN = 20


def stats(common: Common) -> None:
    """Show how much is remembered, and of whom."""
    with opened(common) as memory:
        counts = memory.stats()
        entities = memory.entities(page_size=PAGE_SIZE_MAX)
    if common.json:
        output.print_json({**counts, "named": entities["results"]})
        return
    screen = output.console(no_color=common.no_color)
    screen.print(output.fact_table([(_words(k), _shown(k, v)) for k, v in counts.items()]))
    if entities["results"]:
        screen.print()
        screen.print(_entity_table(sorted(entities["results"], key=_rank)[:ENTITIES_SHOWN]))
        if entities["total"] > ENTITIES_SHOWN:
            screen.print(f"and {entities['total'] - ENTITIES_SHOWN:,} more")


def _rank(entity: Mapping[str, Any]) -> tuple[int, int]:
    """Users before agents, applications and runs; those with the most memories first."""
    return ENTITY_KINDS.index(entity["type"]), -entity["total_memories"]


def _entity_table(entities: list[dict[str, Any]]) -> Any:
    made = output.table("kind", "name", ("memories", {"justify": "right"}), "latest")
    for entity in entities:
        made.add_row(
            entity["type"],
            output.printable(entity["name"]),
            f"{entity['total_memories']:,}",
            output.minute(entity["updated_at"]),
        )
    return made


def _words(key: str) -> str:
    return "size" if key == "bytes" else key.replace("_", " ")


def _shown(key: str, value: Any) -> str:
    if key == "bytes":
        return output.size(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{count:,} {name}" for name, count in value.items()) or "none"
    return f"{value:,}" if isinstance(value, int) else str(value)


def events(
    common: Common,
    event_id: Annotated[str | None, typer.Argument(metavar="ID", help="One event in full.")] = None,
    status: Annotated[
        str | None,
        typer.Option("--status", help="PENDING, RUNNING, SUCCEEDED or FAILED."),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", help="How many at most.")] = 20,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it is done.")] = False,
    rerun: Annotated[bool, typer.Option("--rerun", help="Try a failed one again.")] = False,
    cancel: Annotated[bool, typer.Option("--cancel", help="Give up one that waits.")] = False,
) -> None:
    """Show the extraction jobs behind adds; wait for one, try it again, or give it up."""
    if event_id is None:
        if wait or rerun or cancel:
            raise ValidationError("--wait, --rerun and --cancel need the id of an event.")
        _list_events(common, status, limit)
        return
    event = _cancelled(common, event_id) if cancel else _seen(common, event_id, wait, rerun)
    if common.json:
        output.print_json(event)
        return
    rows = [(_words(key), value) for key, value in event.items() if value not in (None, [], {})]
    output.console(no_color=common.no_color).print(output.fact_table(rows))


def _seen(common: Common, event_id: str, wait: bool, rerun: bool) -> dict[str, Any]:
    with opened(common) as memory:
        if rerun:
            memory.rerun(event_id)
        # A job that was started again is seen through: nothing works on it after this process.
        return memory.wait(event_id) if wait or rerun else memory.event(event_id)


def _cancelled(common: Common, event_id: str) -> dict[str, Any]:
    """Given up by a process without workers, which would take it up."""

    async def work(admin: AsyncAdmin) -> dict[str, Any]:
        return await admin.memory().cancel(event_id)

    return done(common, work)


def _list_events(common: Common, status: str | None, limit: int) -> None:
    wanted: Any = None if status is None else status.upper()
    with opened(common) as memory:
        answer = memory.events(status=wanted, page_size=limit)
    if common.json:
        output.print_json(answer)
        return
    if not answer["results"]:
        typer.echo("No events.")
        return
    made = output.table(
        ("when", {"no_wrap": True, "style": "green"}),
        ("status", {"no_wrap": True, "style": "cyan"}),
        ("tries", {"justify": "right"}),
        ("items", {"justify": "right"}),
        ("id", {"style": "dim", "no_wrap": True}),
    )
    for event in answer["results"]:
        made.add_row(
            output.minute(event["created_at"]),
            event["status"],
            str(event["attempts"]),
            str(len(event["results"])),
            event["id"],
        )
    screen = output.console(no_color=common.no_color)
    screen.print(made)
    for event in answer["results"]:
        if event["error"]:
            screen.print(f"{output.short_id(event['id'])} {output.printable(event['error'])}")


def config(common: Common) -> None:
    """Show the settings in force, secrets hidden, and where each comes from."""
    settings = resolved(common).settings()
    if common.json:
        output.print_json(settings)
        return
    made = output.table(("setting", {"no_wrap": True, "style": "bold"}), "value", "from")
    for name, setting in settings.items():
        made.add_row(name, _value(setting["value"]), setting["source"])
    output.console(no_color=common.no_color).print(made)


def _value(value: Any) -> str:
    return "" if value is None else output.printable(str(value))


def doctor(
    common: Common,
    probe: Annotated[
        bool, typer.Option("--probe", help="Ask the configured LLM one small question.")
    ] = False,
) -> None:
    """Check that everything works here; exit code 1 if something is broken."""
    checks = diagnosis.examine(common, probe=probe)
    broken = any(check.state == "broken" for check in checks)
    if common.json:
        output.print_json({"healthy": not broken, "checks": [check.__dict__ for check in checks]})
    else:
        styles = {"ok": "green", "warning": "yellow", "broken": "bold red"}
        made = output.table(("state", {"no_wrap": True}), ("check", {"no_wrap": True}), "finding")
        for check in checks:
            made.add_row(
                output.styled(check.state, styles[check.state]),
                check.name,
                output.printable(check.finding),
            )
        output.console(no_color=common.no_color).print(made)
    if broken:
        raise typer.Exit(EXIT_FAILED)


COMMANDS: dict[str, Callable[..., None]] = {
    "stats": stats,
    "events": events,
    "config": config,
    "doctor": doctor,
}
