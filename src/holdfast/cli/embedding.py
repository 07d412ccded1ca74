"""Changing the embedder while the store is used: see how it stands, change, switch, go back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from holdfast.cli import output
from holdfast.cli.access import done
from holdfast.cli.failure import EXIT_FAILED
from holdfast.cli.options import Common

if TYPE_CHECKING:
    from holdfast.admin import AsyncAdmin
    from holdfast.engine.reembedding import (
        Changed,
        EmbedderStatus,
        OnEmbedded,
        Progress,
        SpaceStatus,
        Switched,
    )


def status(common: Common) -> None:
    """Show the embedders whose vectors the store has: which one is searched, what the others
    lack."""

    async def work(admin: AsyncAdmin) -> EmbedderStatus:
        return await admin.embedder.status()

    found = done(common, work)
    spaces = [output.fields_of(each) for each in found.spaces]
    if common.json:
        output.print_json({"epoch": found.epoch, "spaces": spaces})
        return
    rows = [(each.embedder, _told(each)) for each in found.spaces]
    output.console(no_color=common.no_color).print(output.fact_table(rows))


def _told(space: SpaceStatus) -> str:
    has = space.memories - space.missing
    said = (
        f"{space.status}; {space.dimensions:,} dimensions; {has:,} of {space.memories:,} memories"
    )
    return said if space.configured else f"{said}; not configured here"


def change(
    common: Common,
    budget: Annotated[
        float | None,
        typer.Option("--budget", metavar="USD", help="Stop before more than this is spent."),
    ] = None,
    rate: Annotated[
        float | None, typer.Option("--rate", metavar="N", help="Texts a second, at most.")
    ] = None,
    requests: Annotated[
        float | None,
        typer.Option("--requests-per-minute", metavar="N", help="Requests a minute, at most."),
    ] = None,
) -> None:
    """Make the vectors of the new embedder, beside those that are searched.

    The configuration names it as `embedder`, and the one the store has as `embedder_before`.
    Interrupted, it goes on where it was when it is started again. Exits with 1 if the money is
    spent before all are made.
    """

    async def work(admin: AsyncAdmin) -> Changed:
        from holdfast.engine.reembedding import ChangeLimits

        limits = ChangeLimits(
            texts_per_second=rate, requests_per_minute=requests, budget_usd=budget
        )
        with _bar(common, "embedding") as told:
            return await admin.embedder.change(limits, told=told)

    changed = done(common, work)
    _show(common, changed)
    if changed.state == "budget_spent":
        raise typer.Exit(EXIT_FAILED)


def cutover(common: Common) -> None:
    """Search the vectors of the new embedder from now on, in every instance at once.

    Refused, and nothing changed, while any of them are missing.
    """

    async def work(admin: AsyncAdmin) -> Switched:
        with _bar(common, "indexing") as told:
            return await admin.embedder.cutover(told)

    _show(common, done(common, work))


def rollback(common: Common) -> None:
    """Search the vectors of the embedder before again.

    Those of what was written since the cut-over are made first.
    """

    async def work(admin: AsyncAdmin) -> Switched:
        with _bar(common, "embedding") as told:
            return await admin.embedder.rollback(told=told)

    _show(common, done(common, work))


def finish(common: Common) -> None:
    """Delete the vectors that are not searched any more; going back then costs embedding anew."""

    async def work(admin: AsyncAdmin) -> int:
        return await admin.embedder.finish()

    count = done(common, work)
    if common.json:
        output.print_json({"deleted": count})
        return
    rows = [("deleted", f"{count:,} vectors")]
    output.console(no_color=common.no_color).print(output.fact_table(rows))


@contextmanager
def _bar(common: Common, label: str) -> Iterator[OnEmbedded]:
    with output.progress(label, None, unit="memories", no_color=common.no_color) as advance:
        last = 0

        def told(progress: Progress) -> None:
            nonlocal last
            cost = f"{progress.cost_usd:,.4f} USD" if progress.cost_usd else ""
            advance(progress.done - last, total=progress.total, note=cost)
            last = progress.done

        yield told


def _show(common: Common, value: Any) -> None:
    document = output.fields_of(value)
    if common.json:
        output.print_json(document)
        return
    rows = [
        (name.replace("_", " "), f"{item:,}" if type(item) is int else str(item))
        for name, item in document.items()
    ]
    output.console(no_color=common.no_color).print(output.fact_table(rows))


GROUPS: dict[str, tuple[str, dict[str, Callable[..., None]]]] = {
    "embedder": (
        "Change the embedder while the store is used, and go back.",
        {
            "status": status,
            "change": change,
            "cutover": cutover,
            "rollback": rollback,
            "finish": finish,
        },
    ),
}
"""Commands of two words: the first one, what it is about, and the second ones."""
