"""The audit from the command line: who did what, whether that was meddled with, what is kept."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from holdfast.cli import output
from holdfast.cli.access import Project, done, say
from holdfast.cli.failure import EXIT_STORE
from holdfast.cli.indexing import steps
from holdfast.cli.memories import agreed
from holdfast.cli.options import Common
from holdfast.errors import ValidationError

if TYPE_CHECKING:
    from holdfast.admin import AsyncAdmin
    from holdfast.engine.trail import AuditPage
    from holdfast.trail import Anchor, AuditRow, Verdict

_FORMATS = ("jsonl", "csv")


def _about(kind: str) -> Any:
    return typer.Option(f"--{kind}", metavar="ID", help=f"About memories of this {kind}.")


Who = Annotated[str | None, typer.Option("--principal", metavar="ID", help="Done by this one.")]
User = Annotated[str | None, _about("user")]
Agent = Annotated[str | None, _about("agent")]
App = Annotated[str | None, _about("app")]
Run = Annotated[str | None, _about("run")]
Action = Annotated[
    str | None, typer.Option("--action", metavar="VERB", help="search, delete_all, create_key, ...")
]
Sort = Annotated[str | None, typer.Option("--sort", metavar="WORD", help="read, write or admin.")]
Outcome = Annotated[
    str | None, typer.Option("--outcome", metavar="WORD", help="ok, begun, denied or failed.")
]
Target = Annotated[
    str | None, typer.Option("--target", metavar="ID", help="Done to this memory, key, webhook.")
]
Request = Annotated[str | None, typer.Option("--request", metavar="ID", help="Of this request.")]
Since = Annotated[
    str | None, typer.Option("--since", metavar="DATE", help="From then on (ISO 8601).")
]
Before = Annotated[
    str | None, typer.Option("--before", metavar="DATE", help="Before then (ISO 8601).")
]
All = Annotated[
    str | None, typer.Option("--project", metavar="ID", help="Of this project; default: of all.")
]


def list_rows(
    common: Common,
    principal: Who = None,
    user: User = None,
    agent: Agent = None,
    app: App = None,
    run: Run = None,
    action: Action = None,
    sort: Sort = None,
    outcome: Outcome = None,
    target: Target = None,
    request: Request = None,
    since: Since = None,
    before: Before = None,
    limit: Annotated[int, typer.Option("--limit", "-n", help="How many at most.")] = 50,
    cursor: Annotated[
        int | None, typer.Option("--cursor", metavar="NUMBER", help="Before this row.")
    ] = None,
    project: Project = None,
) -> None:
    """List who did what, the newest first: `--user ann --sort read` tells who looked at ann's."""
    from holdfast.core.audit_shapes import row_shape

    asked = _asked(
        principal, user, agent, app, run, action, sort, outcome, target, request, since, before
    )

    async def work(admin: AsyncAdmin) -> AuditPage:
        return await admin.audit.listed(**asked, size=limit, cursor=cursor, project=project)

    page = done(common, work)
    if common.json:
        output.print_json({"results": [row_shape(row) for row in page.rows], "cursor": page.cursor})
        return
    if not page.rows:
        typer.echo("No rows.")
        return
    made = output.table("no", "time", "who", "via", "did", "outcome", "whose", "to", "count")
    for row in page.rows:
        made.add_row(*map(output.printable, _cells(row)))
    output.console(no_color=common.no_color).print(made)
    if page.cursor is not None:
        typer.echo(f"More: --cursor {page.cursor}", err=True)


def _cells(row: AuditRow) -> tuple[str, ...]:
    from holdfast.clock import iso

    kinds = ("user", "agent", "app", "run")
    whose = " ".join(f"{k}={v}" for k in kinds if (v := getattr(row, f"{k}_id")) is not None)
    via = f"{row.via} {row.address}".strip()
    outcome = row.outcome if row.code is None else f"{row.outcome} {row.code}"
    count = "" if row.count is None else f"{row.count:,}"
    who = row.principal or row.principal_kind
    time = (iso(row.at) or "")[:19].replace("T", " ")
    target = output.short_id(row.target or "")
    return (str(row.no), time, who, via, row.action, outcome, whose, target, count)


def export_rows(
    common: Common,
    form: Annotated[str, typer.Option("--format", metavar="WORD", help="jsonl or csv.")] = "jsonl",
    to: Annotated[
        Path | None,
        typer.Option("--to", metavar="FILE", help="A new file; default: standard output."),
    ] = None,
    principal: Who = None,
    user: User = None,
    agent: Agent = None,
    app: App = None,
    run: Run = None,
    action: Action = None,
    sort: Sort = None,
    outcome: Outcome = None,
    target: Target = None,
    request: Request = None,
    since: Since = None,
    before: Before = None,
    project: Project = None,
) -> None:
    """Write all rows of a project that fulfil the conditions, the oldest first."""
    from holdfast.core.audit_shapes import as_csv, as_jsonl

    if form not in _FORMATS:
        raise ValidationError("--format is unknown.", hint=f"Use {' or '.join(_FORMATS)}.")
    asked = _asked(
        principal, user, agent, app, run, action, sort, outcome, target, request, since, before
    )

    async def work(admin: AsyncAdmin) -> int:
        count = 0
        pages = await admin.audit.export(**asked, project=project)
        with output.progress("exporting", None, unit="rows", no_color=common.no_color) as advance:
            if form == "csv":
                write(as_csv((), header=True))
            async for rows in pages:
                write(as_csv(rows, header=False) if form == "csv" else as_jsonl(rows))
                count += len(rows)
                advance(len(rows))
        return count

    if to is None:
        write = sys.stdout.write
        done(common, work)
        return
    with to.open("x", encoding="utf-8", newline="") as file:
        to.chmod(0o600)
        write = file.write
        count = done(common, work)
    say(common, {"rows": count, "file": str(to)}, f"{count:,} rows in {to}.")


def head(common: Common, project: All = None) -> None:
    """Print the last row of each chain, to be kept where this deployment cannot write.

    `audit verify --since-head FILE` shows later that nothing up to there was rewritten or cut off.
    """

    async def work(admin: AsyncAdmin) -> Sequence[Anchor]:
        return await admin.audit.heads(project=project)

    found = done(common, work)
    if common.json:
        output.print_json({"results": [output.fields_of(anchor) for anchor in found]})
        return
    if not found:
        typer.echo("No rows.")
        return
    made = output.table("project", ("row", {"no_wrap": True, "overflow": "ignore"}))
    for anchor in found:
        made.add_row(output.printable(anchor.project), f"{anchor.no}:{anchor.hash}")
    output.console(no_color=common.no_color).print(made)


def verify(
    common: Common,
    since_head: Annotated[
        Path | None,
        typer.Option("--since-head", metavar="FILE", help="What `audit head --json` printed once."),
    ] = None,
    expect: Annotated[
        list[str] | None,
        typer.Option("--expect", metavar="NO:HASH", help="A row that was noted elsewhere."),
    ] = None,
    project: All = None,
) -> None:
    """Look whether any row was changed, removed, swapped or inserted; exit code 4 if one was."""
    from holdfast.cli.store import resolved
    from holdfast.core.audit_shapes import anchor_of, anchors_of

    place = project or resolved(common).config.project
    anchors = [anchor_of(text, place) for text in expect or ()]
    if since_head is not None:
        anchors += anchors_of(since_head.read_text("utf-8"))

    async def work(admin: AsyncAdmin) -> Sequence[Verdict]:
        with output.progress("verifying", None, unit="rows", no_color=common.no_color) as advance:
            told = steps(advance)
            return await admin.audit.verify(project=project, anchors=anchors, told=told)

    verdicts = done(common, work)
    _show(common, verdicts)
    if not all(verdict.is_good for verdict in verdicts):
        raise typer.Exit(EXIT_STORE)


def _show(common: Common, verdicts: Sequence[Verdict]) -> None:
    if common.json:
        output.print_json({"results": [verdict_shape(verdict) for verdict in verdicts]})
        return
    if not verdicts:
        typer.echo("No rows.")
        return
    made = output.table("project", "rows", "from", "to", "keyed by", "found")
    for one in verdicts:
        key = {"store": "a secret of the store", "sealed": "the keyring"}.get(one.keyed, "")
        found = "good" if one.fault is None else f"{one.fault.kind}: {one.fault.told}"
        style = "green" if one.is_good else "bold red"
        numbers = (f"{one.rows:,}", f"{one.first_no:,}", f"{one.last_no:,}")
        made.add_row(output.printable(one.project), *numbers, key, output.styled(found, style))
    output.console(no_color=common.no_color).print(made)


def verdict_shape(verdict: Verdict) -> dict[str, Any]:
    """What came of a chain, as an object."""
    fault = None if verdict.fault is None else output.fields_of(verdict.fault)
    return {**output.fields_of(verdict), "good": verdict.is_good, "fault": fault}


def prune(
    common: Common,
    before: Annotated[
        str | None,
        typer.Option(
            "--before", metavar="DATE", help="Older than this; default: as `audit_days` says."
        ),
    ] = None,
    project: All = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete old rows; the chain begins behind them, and verifies as before."""
    if before is not None and not yes and not agreed(f"Delete the audit of before {before}?"):
        return

    async def work(admin: AsyncAdmin) -> int:
        with output.progress("pruning", None, unit="rows", no_color=common.no_color) as advance:
            return await admin.audit.prune(before=before, project=project, told=steps(advance))

    count = done(common, work)
    say(common, {"pruned": count}, f"{count:,} rows are deleted.")


def _asked(*values: str | None) -> dict[str, Any]:
    names = (
        "principal", "user_id", "agent_id", "app_id", "run_id", "action", "sort", "outcome",
        "target", "request_id", "since", "before",
    )  # fmt: skip
    return dict(zip(names, values, strict=True))


GROUPS: dict[str, tuple[str, dict[str, Callable[..., None]]]] = {
    "audit": (
        "See who did what, verify that nothing of it was meddled with, export and prune it.",
        {
            "list": list_rows,
            "verify": verify,
            "export": export_rows,
            "head": head,
            "prune": prune,
        },
    ),
}
"""Commands of two words: the first one, what it is about, and the second ones."""
