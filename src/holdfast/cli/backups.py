"""Backups: make, list, look into, verify, restore."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from holdfast.cli import output
from holdfast.cli.access import done
from holdfast.cli.failure import EXIT_FAILED
from holdfast.cli.indexing import show as print_document
from holdfast.cli.options import Common
from holdfast.cli.store import resolved
from holdfast.clock import iso
from holdfast.errors import ConfigError, ValidationError

if TYPE_CHECKING:
    from holdfast.admin import AsyncAdmin
    from holdfast.admin.backups import Backups
    from holdfast.engine.backups import Backup, BackupContents
    from holdfast.engine.merging import Merged
    from holdfast.engine.restoring import Restored, Verified
    from holdfast.model import OnProgress

T = TypeVar("T")

At = Annotated[
    str | None,
    typer.Option("--at", metavar="PLACE", help="Folder or s3://, gs://, az://; default: as set."),
]
Which = Annotated[str, typer.Argument(metavar="[ID]", help="Which one; `latest`, the newest.")]


def create(
    common: Common,
    full: Annotated[
        bool, typer.Option("--full", help="All of it, not only what changed since the last full.")
    ] = False,
    at: At = None,
) -> None:
    """Make a backup while others read and write."""

    def work(backups: Backups, told: OnProgress) -> Awaitable[Backup]:
        return backups.create(full=full, at=at, told=told)

    print_document(common, _document(_with_progress(common, "archiving", work)))


def list_(common: Common, at: At = None) -> None:
    """List the backups there are, the oldest first."""
    found = _done(common, lambda backups: backups.listed(at=at))
    if common.json:
        output.print_json([_document(one) for one in found])
        return
    right = {"justify": "right"}
    made = output.table("id", "made", "kind", ("size", right), "sealed", "state")
    for one in found:
        state = "whole" if one.whole else "damaged"
        sealed = "yes" if one.sealed else "no"
        made.add_row(one.id, _when(one), one.kind, output.size(one.size), sealed, state)
    output.console(no_color=common.no_color).print(made)


def show(common: Common, backup_id: Which = "latest", at: At = None) -> None:
    """Show what a backup holds, table by table."""

    async def work(backups: Backups) -> BackupContents:
        return await backups.show(backup_id, at=at)

    found = _done(common, work)
    document = {**_document(found.backup), "fresh": found.fresh, "tables": found.tables}
    if common.json:
        output.print_json(document)
        return
    facts = [(name, str(value)) for name, value in document.items() if name != "tables"]
    facts += [(name, f"{rows:,}") for name, rows in found.tables.items()]
    output.console(no_color=common.no_color).print(output.fact_table(facts))


def verify(common: Common, backup_id: Which = "latest", at: At = None) -> None:
    """Restore a backup into a store that is thrown away, and compare them row by row."""

    def work(backups: Backups, told: OnProgress) -> Awaitable[Verified]:
        return backups.verify(backup_id, at=at, told=told)

    print_document(common, output.fields_of(_with_progress(common, "verifying", work)))


def restore(
    common: Common,
    backup_id: Which = "latest",
    at: At = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Drop what an interrupted restore left, begin anew.")
    ] = False,
    merge: Annotated[
        bool,
        typer.Option("--merge", help="Add the memories to those that are there, which stay."),
    ] = False,
    project: Annotated[
        list[str] | None,
        typer.Option(
            "--project",
            metavar="OLD[=NEW]",
            help="Only the memories of this project, into NEW if given; may be repeated.",
        ),
    ] = None,
) -> None:
    """Restore a backup into the configured store, which must be empty, or with --merge need not.

    Nothing is embedded again. Interrupted, it goes on where it was when it is started again. With
    --merge or --project only memories come, with their history.
    """
    if merge or project:
        if restart:
            raise ValidationError("--restart is for a restore of everything.")
        _merged(common, backup_id, at, _projects(project or []), only_empty=not merge)
        return

    def work(backups: Backups, told: OnProgress) -> Awaitable[Restored]:
        return backups.restore(backup_id, at=at, restart=restart, told=told)

    print_document(common, output.fields_of(_with_progress(common, "restoring", work)))


def _merged(
    common: Common, backup_id: str, at: str | None, projects: dict[str, str], *, only_empty: bool
) -> None:
    async def whole(admin: AsyncAdmin) -> Merged:
        with output.progress("restoring", None, unit="rows", no_color=common.no_color) as advance:
            return await admin.backups.merge(
                backup_id, at=at, projects=projects, only_empty=only_empty, told=_steps(advance)
            )

    print_document(common, output.fields_of(done(common, whole)))


def _projects(given: list[str]) -> dict[str, str]:
    """Each project that was named, and its new name."""
    pairs = [one.partition("=") for one in given]
    return {old: new if equals else old for old, equals, new in pairs}


def prune(
    common: Common,
    dry: Annotated[
        bool, typer.Option("--dry-run", help="Only tell which would be removed.")
    ] = False,
    at: At = None,
) -> None:
    """Remove the backups that are not to be kept: see keep_last, keep_daily and so on."""
    found = _done(common, lambda backups: backups.prune(dry=dry, at=at))
    if common.json:
        output.print_json({"removed": found.removed, "kept": found.kept, "dry_run": dry})
        return
    word = "would be removed" if dry else "removed"
    rows = [(one, word) for one in found.removed]
    screen = output.console(no_color=common.no_color)
    screen.print(output.fact_table([*rows, ("kept", f"{found.kept:,}")]))


def schedule(
    common: Common,
    run: Annotated[
        bool, typer.Option("--run", help="Make them here as they become due, until stopped.")
    ] = False,
) -> None:
    """Show how scheduled backups stand; exit with 1 if the newest is too old, or one has failed.

    The server makes them by itself.
    """
    if run:

        async def serve(admin: AsyncAdmin) -> None:
            if not (await admin.backups.status()).schedule:
                raise ConfigError("There is no schedule.", hint="Set backup.config.schedule.")
            await admin.backups.serve()

        with suppress(KeyboardInterrupt):
            done(common, serve)
        return
    found = done(common, lambda admin: admin.backups.status())
    shown = {
        "newest": None if found.newest is None else found.newest.id,
        "age_s": None if found.age_s is None else round(found.age_s),
        "too_old": found.too_old,
        "failed_at": iso(found.failed_at),
        "schedule": found.schedule or None,
        "next_at": iso(found.next_at),
    }
    print_document(common, shown)
    if not found.well:
        raise typer.Exit(EXIT_FAILED)


def _done(common: Common, work: Callable[[Backups], Awaitable[T]]) -> T:
    """What becomes of work on backups; the store is not opened for it."""
    from holdfast.admin import AsyncAdmin

    async def whole() -> T:
        return await work(AsyncAdmin(resolved(common).config).backups)

    return asyncio.run(whole())


def _with_progress(
    common: Common, what: str, work: Callable[[Backups, OnProgress], Awaitable[T]]
) -> T:
    async def whole(backups: Backups) -> T:
        with output.progress(what, None, unit="rows", no_color=common.no_color) as advance:
            return await work(backups, _steps(advance))

    return _done(common, whole)


def _steps(advance: output.Advance) -> OnProgress:
    last = 0

    def told(done: int, total: int) -> None:
        nonlocal last
        advance(done - last, total=total)
        last = done

    return told


def _document(one: Backup) -> dict[str, Any]:
    return {**output.fields_of(one), "created_at": iso(one.created_at)}


def _when(one: Backup) -> str:
    return (iso(one.created_at) or "")[:16].replace("T", " ")


GROUPS: dict[str, tuple[str, dict[str, Callable[..., None]]]] = {
    "backup": (
        "Make backups while all goes on, verify them, restore them.",
        {
            "create": create,
            "list": list_,
            "show": show,
            "verify": verify,
            "restore": restore,
            "prune": prune,
            "schedule": schedule,
        },
    ),
}
"""Commands of two words: the first one, what it is about, and the second ones."""
