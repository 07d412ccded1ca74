"""One memory at a time: add, search, list, get, update, delete, history."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from holdfast.cli import output
from holdfast.cli.failure import EXIT_MODEL
from holdfast.cli.inputs import json_object, text_from
from holdfast.cli.options import Common, Ids, Of
from holdfast.cli.store import opened
from holdfast.errors import NotFoundError, ValidationError
from holdfast.limits import PAGE_SIZE_MAX
from holdfast.model import Answer

if TYPE_CHECKING:
    from rich.table import Table

Wide = Annotated[bool, typer.Option("--wide", "-w", help="Whole ids, identities and metadata.")]
Metadata = Annotated[
    str | None, typer.Option("--metadata", metavar="JSON", help='E.g. \'{"source": "mail"}\'.')
]
At = Annotated[
    str | None, typer.Option("--at", metavar="DATE", help="When it was said (ISO 8601).")
]
Expires = Annotated[
    str | None, typer.Option("--expires", metavar="DAY", help="Last day it is valid.")
]
ShowSuperseded = Annotated[
    bool, typer.Option("--show-superseded", help="What is not true any more as well.")
]
TimesAsked = Annotated[
    bool,
    typer.Option(
        "--temporal-reasoning/--no-temporal-reasoning", help="Times named in the question count."
    ),
]
ShowExpired = Annotated[bool, typer.Option("--show-expired", help="Expired memories too.")]
MemoryId = Annotated[str, typer.Argument(metavar="ID", help="Whole id, as --wide shows it.")]


def add(
    common: Common,
    ids: Ids,
    text: Annotated[
        list[str] | None, typer.Argument(metavar="TEXT", help='What to remember; "-" reads it.')
    ] = None,
    role: Annotated[str, typer.Option("--role", help="Who spoke: user or assistant.")] = "user",
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="The speaker's name.")
    ] = None,
    at: At = None,
    expires: Expires = None,
    metadata: Metadata = None,
    category: Annotated[
        list[str] | None, typer.Option("--category", metavar="NAME", help="May be repeated.")
    ] = None,
    infer: Annotated[
        bool, typer.Option("--infer/--no-infer", help="Let a configured LLM extract facts.")
    ] = True,
    immutable: Annotated[
        bool, typer.Option("--immutable", help="Never changed or superseded, only deleted.")
    ] = False,
    temporal_reasoning: Annotated[
        bool,
        typer.Option(
            "--temporal-reasoning/--no-temporal-reasoning",
            help="Let the LLM tell when things happened.",
        ),
    ] = True,
    key: Annotated[
        str | None, typer.Option("--key", metavar="KEY", help="Idempotency key: repeat safely.")
    ] = None,
    untrusted: Annotated[
        bool, typer.Option("--untrusted", help="Held until it is approved (`quarantine`).")
    ] = False,
) -> None:
    """Remember a text, given here or piped in."""
    message = {"role": role, "content": text_from(text, "text to remember")}
    if name is not None:
        message["name"] = name
    with opened(common) as memory:
        answer = memory.add(
            [message],
            **ids.named(),
            metadata=None if metadata is None else json_object(metadata, "--metadata"),
            timestamp=at,
            expiration_date=expires,
            categories=category or None,
            infer=infer,
            immutable=immutable,
            temporal_reasoning=temporal_reasoning,
            idempotency_key=key,
            trust="untrusted" if untrusted else None,
        )
    if common.json:
        output.print_json(answer)
    else:
        _say_added(answer)
    _report_job(answer)


def _say_added(answer: Mapping[str, Any]) -> None:
    verbs = {"ADD": "remembered", "UPDATE": "updated", "NONE": "known already", "HELD": "held"}
    for item in answer["results"]:
        verb = verbs.get(item["event"], item["event"].lower())
        typer.echo(f"{verb}: {output.printable(item['memory'] or '')}  ({item['id']})")
    if not answer["results"] and answer.get("status") in (None, "SUCCEEDED"):
        typer.echo("Nothing to remember in this text.")


def _report_job(answer: Mapping[str, Any]) -> None:
    """Ends with the code of a failed model if the text is kept, but its extraction is not done."""
    status = answer.get("status", "SUCCEEDED")
    if status == "SUCCEEDED":
        return
    state = "its extraction failed" if status == "FAILED" else "its extraction waits for the model"
    reason = f": {answer['error']}" if answer.get("error") else ""
    typer.echo(
        output.printable(f"The text is kept and found; {state}{reason}")
        + f" (holdfast events {answer['event_id']})",
        err=True,
    )
    raise typer.Exit(EXIT_MODEL)


def search(
    common: Common,
    of: Of,
    query: Annotated[
        list[str] | None, typer.Argument(metavar="QUERY", help='A question; "-" reads it.')
    ] = None,
    top_k: Annotated[int, typer.Option("--top-k", "-k", help="How many at most.")] = 10,
    threshold: Annotated[
        float | None, typer.Option("--threshold", help="Lowest score, 0 to 1; as configured.")
    ] = None,
    as_of: Annotated[
        str | None, typer.Option("--as-of", metavar="DATE", help="What was true then.")
    ] = None,
    reference_date: Annotated[
        str | None,
        typer.Option("--reference-date", metavar="DATE", help='What "last week" counts from.'),
    ] = None,
    temporal_reasoning: TimesAsked = True,
    rerank: Annotated[bool, typer.Option("--rerank", help="Use the configured reranker.")] = False,
    explain: Annotated[bool, typer.Option("--explain", help="Show the parts of scores.")] = False,
    show_expired: ShowExpired = False,
    show_superseded: ShowSuperseded = False,
    wide: Wide = False,
) -> None:
    """Find what matters for a question."""
    asked = text_from(query, "question")
    least: dict[str, Any] = {} if threshold is None else {"threshold": threshold}
    with opened(common) as memory:
        answer = memory.search(
            asked,
            top_k=top_k,
            filters=of.required(),
            rerank=rerank,
            explain=explain,
            reference_date=reference_date,
            temporal_reasoning=temporal_reasoning,
            show_expired=show_expired,
            show_superseded=show_superseded,
            as_of=as_of,
            **least,
        )
    if common.json:
        output.print_json(answer)
        return
    found = answer["results"]
    if found:
        screen = output.console(no_color=common.no_color)
        output.print_memories(screen, found, scored=True, whole=wide)
        if explain:
            screen.print(_explanation(found))
    else:
        typer.echo("Nothing found.")
    if answer.get("degraded"):
        typer.echo(f"answered without: {', '.join(answer['degraded'])}", err=True)


def _explanation(found: Sequence[Mapping[str, Any]]) -> Any:
    """The parts of each score, largest first; those that add nothing are left out."""
    made = output.table(("id", {"style": "dim", "no_wrap": True}), "parts of the score")
    for item in found:
        parts = sorted(item["score_details"]["parts"].items(), key=lambda part: -abs(part[1]))
        shown = (f"{name} {value:+.2f}" for name, value in parts if abs(value) >= 0.005)
        made.add_row(output.short_id(item["id"]), "  ".join(shown))
    return made


def list_(
    common: Common,
    of: Of,
    top_k: Annotated[
        int, typer.Option("--limit", "-n", min=1, max=PAGE_SIZE_MAX, help="How many at most.")
    ] = 20,
    cursor: Annotated[
        str | None, typer.Option("--cursor", help="Go on where the last page ended.")
    ] = None,
    show_expired: ShowExpired = False,
    show_superseded: ShowSuperseded = False,
    wide: Wide = False,
) -> None:
    """Show memories, newest first."""
    with opened(common) as memory:
        page = memory.get_all(
            filters=of.required(),
            top_k=top_k,
            show_expired=show_expired,
            show_superseded=show_superseded,
            cursor=cursor,
        )
    if common.json:
        output.print_json(page)
        return
    rows = page["results"]
    if not rows:
        typer.echo("No memories.")
        return
    screen = output.console(no_color=common.no_color)
    output.print_memories(screen, rows, scored=False, whole=wide)
    if page.get("cursor"):
        typer.echo(f"{len(rows)} of {page['total']:,}. More: --cursor {page['cursor']}", err=True)


def get(common: Common, memory_id: MemoryId) -> None:
    """Show one memory in full."""
    with opened(common) as memory:
        found = memory.get(memory_id)
    if found is None:
        raise NotFoundError(f"there is no memory {memory_id!r}.", hint="Ids: holdfast list --wide.")
    if common.json:
        output.print_json(found)
        return
    rows = [(key, value) for key, value in found.items() if value not in (None, {}, [])]
    output.console(no_color=common.no_color).print(output.fact_table(rows))


def update(
    common: Common,
    memory_id: MemoryId,
    text: Annotated[
        list[str] | None, typer.Argument(metavar="TEXT", help='New text; "-" reads it.')
    ] = None,
    metadata: Metadata = None,
    at: At = None,
    expires: Expires = None,
    never_expires: Annotated[
        bool, typer.Option("--never-expires", help="Remove the expiry.")
    ] = False,
) -> None:
    """Change one memory; its history keeps what it was."""
    changes: dict[str, Any] = {}
    if text:
        changes["text"] = text_from(text, "text")
    if metadata is not None:
        changes["metadata"] = json_object(metadata, "--metadata")
    if at is not None:
        changes["timestamp"] = at
    if expires is not None or never_expires:
        changes["expiration_date"] = expires
    if not changes:
        raise ValidationError("there is nothing to change.", hint="Give a text or an option.")
    if expires is not None and never_expires:
        raise ValidationError("--expires and --never-expires contradict each other.")
    with opened(common) as memory:
        answer = memory.update(memory_id, **changes)
    _done(answer, common)


def delete(
    common: Common,
    ids: Ids,
    memory_id: Annotated[
        list[str] | None, typer.Argument(metavar="ID", help="Memories to forget.")
    ] = None,
    all_: Annotated[
        bool, typer.Option("--all", help="Everything of --user, --agent, --app, --run together.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Forget memories: some by id, or with --all everything of a user, agent, app or run."""
    if all_ == bool(memory_id):
        raise ValidationError("say what to delete: ids, or --all with --user.")
    if all_:
        _delete_all(common, ids, yes=yes)
        return
    with opened(common) as memory:
        for name in memory_id or ():
            _done({**memory.delete(name), "id": name}, common)


def _delete_all(common: Common, ids: Ids, *, yes: bool) -> None:
    whose = {key: value for key, value in ids.arguments().items() if value is not None}
    if not whose:
        raise ValidationError("--all needs --user, --agent, --app or --run.")
    with opened(common) as memory:
        count = memory.count(whose)
        named = ", ".join(f"{key} {value}" for key, value in whose.items())
        if not yes and not agreed(f"Forget {count:,} memories of {output.printable(named)}?"):
            raise typer.Exit(1)
        _done(memory.delete_all(**whose), common)


def agreed(question: str) -> bool:
    """Asks a person; a program must say --yes, so that nothing is lost by a slip in a script."""
    if not sys.stdin.isatty():
        raise ValidationError("this needs --yes when nobody can be asked.")
    return typer.confirm(question, err=True)


def _done(answer: Mapping[str, Any], common: Common) -> None:
    if common.json:
        output.print_json(answer)
        return
    count = answer.get("count")
    typer.echo(answer["message"] + (f" ({count:,})" if count is not None else ""))


def history(common: Common, memory_id: MemoryId) -> None:
    """Show every change of one memory."""
    with opened(common) as memory:
        changes = memory.history(memory_id)
    if common.json:
        output.print_json(changes)
        return
    if not changes:
        raise NotFoundError(f"there is no history of {memory_id!r}.")
    made = output.table(
        ("when", {"no_wrap": True, "style": "green"}),
        ("event", {"style": "cyan"}),
        "before",
        "after",
    )
    for change in changes:
        made.add_row(
            output.minute(change.get("updated_at") or change["created_at"]),
            change["event"],
            output.printable(change["old_memory"] or ""),
            output.printable(change["new_memory"] or ""),
        )
    output.console(no_color=common.no_color).print(made)


def provenance(common: Common, memory_id: MemoryId) -> None:
    """Show where a memory comes from: who and what made it, of which turns, and who changed it."""
    with opened(common) as memory:
        found = memory.provenance(memory_id)
    if common.json:
        output.print_json(found)
        return
    made = output.table(
        ("said", {"no_wrap": True, "style": "green"}),
        ("by", {"style": "cyan"}),
        "words",
        ("turn", {"no_wrap": True}),
    )
    for source in found["sources"]:
        who = ", ".join(filter(None, (source["role"], source["actor_id"])))
        quote = source["quote"] or "(all of it)"
        row = (output.minute(source["said_at"]), *map(output.printable, (who, quote)))
        made.add_row(*row, source["turn_id"])
    typer.echo(f"{output.printable(found['memory'])}\n{output.printable(_origin_told(found))}")
    console = output.console(no_color=common.no_color)
    console.print(made)
    console.print(_changes_table(found["changes"]))


def _origin_told(found: Answer) -> str:
    """In one line: how a memory was made, by which model, for whom, and what became of it since."""
    prompt = f" with prompt {found['prompt']}" if found["prompt"] else ""
    by = f" by {found['model']}{prompt}" if found["model"] else ""
    told = [f"{found['made']}{by}"]
    if found["way"]:
        told.append(_BY_WAY[found["way"]])
    if found["restored"]:
        told.append("restored from a backup")
    if found["edited"]:
        told.append("edited since")
    return f"{', '.join(told[:-1])}, and {told[-1]}" if len(told) > 1 else told[0]


_BY_WAY = {"import": "imported", "approval": "approved"}


def _changes_table(changes: list[Answer]) -> Table:
    made = output.table(
        ("at", {"no_wrap": True, "style": "green"}),
        ("change", {"no_wrap": True}),
        ("by", {"style": "cyan"}),
        "through",
        "model",
    )
    for change in changes:
        who = change["principal"] or ""
        kind = f" ({change['principal_kind']})" if change["principal_kind"] else ""
        told = (change["how"] or change["event"].lower(), who + kind, change["via"] or "")
        row = (*told, change["model"] or "")
        made.add_row(output.minute(change["at"]), *map(output.printable, row))
    return made


COMMANDS: dict[str, Callable[..., None]] = {
    "add": add,
    "search": search,
    "list": list_,
    "get": get,
    "update": update,
    "delete": delete,
    "history": history,
    "provenance": provenance,
}
