"""Many memories at once: import and export."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Annotated, Any

import typer

from holdfast.cli import output
from holdfast.cli.failure import EXIT_MODEL
from holdfast.cli.importing import Tally, store
from holdfast.cli.options import Common, Ids, Of
from holdfast.cli.sources import Source, Survey, known_form, open_source, survey
from holdfast.cli.store import opened, opened_async
from holdfast.core.transcripts import FORMATS
from holdfast.model import ENTITY_KINDS, Scope, Trust

PAGE = 500
"""Memories fetched at a time by an export."""

EVERYTHING = {"OR": [{f"{kind}_id": "*"} for kind in ENTITY_KINDS]}
"""The filter that every memory fits: each belongs to somebody."""


def import_(
    common: Common,
    ids: Ids,
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE", help='Chat exports or our own; "-" reads one.'),
    ],
    form: Annotated[
        str | None,
        typer.Option(
            "--format", metavar="FORM", help=f"Told by content, or: {', '.join(FORMATS)}."
        ),
    ] = None,
    infer: Annotated[
        bool, typer.Option("--infer/--no-infer", help="Let a configured LLM extract facts.")
    ] = False,
    untrusted: Annotated[
        bool, typer.Option("--untrusted", help="Held until it is approved (`quarantine`).")
    ] = False,
) -> None:
    """Remember chat exports. Running it again adds nothing; an interrupted run goes on."""
    began = time.perf_counter()
    with _sources(files, form) as sources:
        surveys = [survey(source, ids.scope) for source in sources]
        total = sum(found.records for found in surveys)
        with (
            _going_on(total) as counted,
            output.progress(
                "importing", total, unit="messages", no_color=common.no_color
            ) as advance,
        ):
            trust: Trust | None = "untrusted" if untrusted else None
            storing = partial(store, infer=infer, advance=counted(advance), trust=trust)
            tally = _stored(common, sources, ids.scope, storing)
    _say_imported(common, sources, surveys, tally, time.perf_counter() - began)


@contextmanager
def _going_on(total: int) -> Iterator[Callable[[output.Advance], output.Advance]]:
    """Says, when the import is interrupted, how far it came and how it goes on."""
    stored = 0

    def counted(advance: output.Advance) -> output.Advance:
        def both(done: int, /, *, total: int | None = None, note: str = "") -> None:
            nonlocal stored
            stored += done
            advance(done, total=total, note=note)

        return both

    try:
        yield counted
    except KeyboardInterrupt:
        typer.echo(
            f"{stored:,} of {total:,} messages or more are stored;"
            " the same command goes on from there.",
            err=True,
        )
        raise


@contextmanager
def _sources(files: list[Path], form: str | None) -> Iterator[list[Source]]:
    """The files opened; standard input is copied to a file first, for it is read twice."""
    wanted = known_form(form)
    with tempfile.TemporaryDirectory(prefix="holdfast-import-") as folder:
        copy = Path(folder, "stdin")
        sources = []
        for file in files:
            if str(file) == "-":
                copy.write_bytes(sys.stdin.buffer.read())
                sources.append(open_source(copy, "standard input", wanted))
            else:
                sources.append(open_source(file, file.name, wanted))
        yield sources


def _stored(
    common: Common, sources: list[Source], fill: Scope, storing: Callable[..., Awaitable[None]]
) -> Tally:
    async def run() -> Tally:
        tally = Tally()
        async with opened_async(common) as memory:
            for source in sources:
                await storing(memory, source.records(), fill, tally)
        return tally

    return asyncio.run(run())


def _say_imported(
    common: Common, sources: list[Source], surveys: list[Survey], tally: Tally, seconds: float
) -> None:
    total = sum(found.records for found in surveys)
    skipped = sum((found.skipped for found in surveys), Counter[str]())
    if common.json:
        output.print_json(
            {
                "files": [
                    {"file": source.name, "format": source.form, "messages": found.records}
                    for source, found in zip(sources, surveys, strict=True)
                ],
                "messages": total,
                "added": tally.added,
                "known": tally.known,
                "waiting": tally.waiting,
                "failed": tally.failed,
                "held": tally.held,
                "skipped": dict(skipped),
                "seconds": round(seconds, 3),
            }
        )
    else:
        _say_tally(sources, total, tally, seconds)
        for reason, count in sorted(skipped.items()):
            typer.echo(output.printable(f"Left out: {count:,} {reason}."))
        if in_runs := sum(found.in_runs_only for found in surveys):
            typer.echo(
                f"{in_runs:,} messages are in runs only, the conversations' ids, each found with"
                " --run. Import with --user to have a user's found together.",
                err=True,
            )
    if tally.failed or tally.waiting:
        raise typer.Exit(EXIT_MODEL)


def _say_tally(sources: list[Source], total: int, tally: Tally, seconds: float) -> None:
    forms = ", ".join(dict.fromkeys(source.form for source in sources))
    speed = f", {total / seconds:,.0f} a second" if seconds > 0 else ""
    typer.echo(f"Read {total:,} messages ({forms}) in {output.duration(seconds)}{speed}.")
    if tally.added:
        known = f"; {tally.known:,} were already here" if tally.known else ""
        typer.echo(f"Added {tally.added:,} memories{known}.")
    elif tally.known:
        typer.echo("Added nothing: all of it was already here.")
    if tally.held:
        typer.echo(f"Held {tally.held:,} messages: `holdfast quarantine list` shows them.")
    for count, state in ((tally.waiting, "waits"), (tally.failed, "failed")):
        if count:
            typer.echo(
                f"{count:,} messages are kept, but their extraction {state}: holdfast events",
                err=True,
            )


def export(
    common: Common,
    of: Of,
    file: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Standard output unless given."),
    ] = None,
    everybody: Annotated[
        bool, typer.Option("--all", help="Everybody's, even if HOLDFAST_USER is set.")
    ] = False,
) -> None:
    """Write memories as JSON lines that `holdfast import` reads: everybody's, or those chosen."""
    filters = EVERYTHING if everybody else of.filters() or EVERYTHING
    with opened(common) as memory, _target(file) as target:
        total = memory.count(filters)
        count = 0
        with output.progress("exporting", total, unit="memories", no_color=common.no_color) as tell:
            for item in _all(memory, filters):
                target.write(json.dumps(_exported(item), ensure_ascii=False) + "\n")
                count += 1
                tell(1)
    place = "standard output" if file is None else str(file)
    if common.json and file is not None:
        output.print_json({"file": str(file), "memories": count})
    else:
        typer.echo(f"Wrote {count:,} memories to {place}.", err=True)


def _all(memory: Any, filters: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Oldest first: imported in this order, they are listed as they were."""
    cursor: str | None = None
    while True:
        page = memory.get_all(
            filters=filters, top_k=PAGE, show_expired=True, oldest_first=True, cursor=cursor
        )
        yield from page["results"]
        cursor = page["cursor"]
        if cursor is None:
            return


def _exported(item: dict[str, Any]) -> dict[str, Any]:
    """The library's shape without what is empty and what the import makes anew."""
    dropped = ("hash", "score")
    return {k: v for k, v in item.items() if k not in dropped and v not in (None, {}, [])}


@contextmanager
def _target(file: Path | None) -> Iterator[IO[str]]:
    """Standard output, or a file that appears whole or not at all."""
    if file is None or str(file) == "-":
        yield sys.stdout
        return
    try:
        handle, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.absolute().parent)
    except OSError as fault:
        raise OSError(fault.errno, fault.strerror, str(file)) from fault
    part = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as target:
            yield target
            target.flush()
            os.fsync(target.fileno())
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)


COMMANDS: dict[str, Callable[..., None]] = {"import": import_, "export": export}
