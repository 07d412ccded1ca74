"""The external index: how it stands, whether it is right, to build it anew."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from holdfast.cli import output
from holdfast.cli.access import done
from holdfast.cli.failure import EXIT_FAILED
from holdfast.cli.options import Common

if TYPE_CHECKING:
    from holdfast.admin import AsyncAdmin
    from holdfast.engine.comparing import Drift
    from holdfast.engine.rebalancing import Rebalanced
    from holdfast.engine.reindexing import IndexStatus, Rebuilt


def status(common: Common) -> None:
    """Show how the index stands: what it holds, what it lacks, whether it answers."""

    async def work(admin: AsyncAdmin) -> IndexStatus:
        return await admin.index.status()

    show(common, output.fields_of(done(common, work)))


def verify(
    common: Common,
    repair: Annotated[bool, typer.Option("--repair", help="Mend what differs.")] = False,
) -> None:
    """Compare every point of the index with its memory; exit with 1 if any differs."""

    async def work(admin: AsyncAdmin) -> Drift:
        with await _progress(common, admin, "comparing") as advance:
            return await admin.index.verify(repair=repair, told=steps(advance))

    drift = done(common, work)
    show(common, {**output.fields_of(drift), "repaired": repair and drift.total > 0})
    if drift.total and not repair:
        raise typer.Exit(EXIT_FAILED)


def rebuild(
    common: Common,
    discard: Annotated[
        bool, typer.Option("--discard", help="Drop what an interrupted rebuild made, instead.")
    ] = False,
) -> None:
    """Build the index anew beside the one that is searched, then search the new one.

    Nothing is embedded again. Interrupted, it goes on where it was when it is started again.
    """
    if discard:

        async def give_up(admin: AsyncAdmin) -> bool:
            return await admin.index.discard()

        show(common, {"discarded": done(common, give_up)})
        return

    async def work(admin: AsyncAdmin) -> Rebuilt:
        with await _progress(common, admin, "building") as advance:
            return await admin.index.rebuild(steps(advance))

    show(common, output.fields_of(done(common, work)))


def rebalance(common: Common) -> None:
    """Move the memories of a sharded index to where the configuration wants them.

    Start every instance with the configuration first. Everybody works meanwhile. Interrupted, it
    goes on where it was when it is started again.
    """

    async def work(admin: AsyncAdmin) -> Rebalanced:
        with await _progress(common, admin, "moving", times=2) as advance:
            return await admin.index.rebalance(steps(advance))

    show(common, output.fields_of(done(common, work)))


async def _progress(
    common: Common, admin: AsyncAdmin, what: str, times: int = 1
) -> AbstractContextManager[output.Advance]:
    total = times * (await admin.index.status()).memories
    return output.progress(what, total, unit="memories", no_color=common.no_color)


def steps(advance: output.Advance) -> Callable[[int, int], None]:
    """A bar moves by steps; who works tells how far it is."""
    last = 0

    def told(done: int, _total: int) -> None:
        nonlocal last
        advance(done - last)
        last = done

    return told


def show(common: Common, document: dict[str, Any]) -> None:
    """Print what a result tells."""
    if common.json:
        output.print_json(document)
        return
    rows = [
        (name.replace("_", " "), f"{value:,}" if type(value) is int else _word(value))
        for name, value in document.items()
        if value is not None
    ]
    output.console(no_color=common.no_color).print(output.fact_table(rows))


def _word(value: Any) -> str:
    return {True: "yes", False: "no"}.get(value, str(value))


GROUPS: dict[str, tuple[str, dict[str, Callable[..., None]]]] = {
    "index": (
        "See how an external index stands, compare it with the records, build it anew.",
        {"status": status, "verify": verify, "rebuild": rebuild, "rebalance": rebalance},
    ),
}
"""Commands of two words: the first one, what it is about, and the second ones."""
