"""Forgetting a subject: what is known of it, that it is erased, and the proof."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from holdfast.cli import output
from holdfast.cli.access import Project, Yes, done, say
from holdfast.cli.memories import agreed
from holdfast.cli.options import Common, Ids
from holdfast.core.erasure import BESIDE, PLACES, erasure_shape, subject_entity
from holdfast.errors import ValidationError
from holdfast.model import Entity

if TYPE_CHECKING:
    from holdfast.admin import AsyncAdmin
    from holdfast.cli.output import Advance
    from holdfast.directory import Erasure
    from holdfast.engine.forget import OnCopy

Receipts = Annotated[
    list[Path], typer.Argument(metavar="FILE...", help="Receipts, as `forget` wrote them.")
]


def forget(
    common: Common,
    ids: Ids,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show every copy there is; change nothing.")
    ] = False,
    receipt: Annotated[
        Path | None, typer.Option("--receipt", metavar="FILE", help="Write the receipt there.")
    ] = None,
    yes: Yes = False,
    project: Project = None,
) -> None:
    """Erase everything that is known of one user, agent, app or run, and prove it.

    What it shares with others goes too. Interrupted, it goes on when it is called again.
    """
    entity = subject_entity(ids.scope)
    whose: Any = {f"{entity.kind}_id": entity.id}

    async def look(admin: AsyncAdmin) -> dict[str, int]:
        return await admin.erasure.inventory(**whose, project=project)

    if dry_run or not (yes or common.json):
        found = done(common, look)
        _show_inventory(common, found)
        if dry_run:
            return
    if not yes and not agreed(f"Erase all this of the {_named(entity)}, for good?"):
        raise typer.Exit(1)

    async def work(admin: AsyncAdmin) -> Erasure:
        with output.progress("erasing", None, unit="rows", no_color=common.no_color) as advance:
            return await admin.erasure.forget(**whose, project=project, told=_steps(advance))

    _show_end(common, done(common, work), receipt)


def export_subject(
    common: Common,
    ids: Ids,
    form: Annotated[
        str, typer.Option("--format", metavar="FORM", help="json, or html: a page to read.")
    ] = "json",
    file: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Default: standard output."),
    ] = None,
    project: Project = None,
) -> None:
    """Write everything that is known of one user, agent, app or run."""
    entity = subject_entity(ids.scope)

    def work(write: Callable[[str], object]) -> None:
        async def whole(admin: AsyncAdmin) -> None:
            whose: Any = {f"{entity.kind}_id": entity.id}
            async for piece in admin.erasure.export(**whose, form=form, project=project):
                write(piece)

        done(common, whole)

    if file is None:
        work(lambda piece: typer.echo(piece, nl=False))
        return
    try:
        with file.open("w", encoding="utf-8") as out:
            file.chmod(0o600)
            work(out.write)
    except OSError as error:
        raise ValidationError(f"{file.name} cannot be written: {error.strerror}.") from error
    say(common, {"file": str(file), "format": form}, f"All that is known is in {file}.")


def list_erasures(
    common: Common,
    limit: Annotated[int, typer.Option("--limit", "-n", help="How many at most.")] = 20,
    project: Project = None,
) -> None:
    """List erasures, the newest first; whom they were of is not known any more."""

    async def work(admin: AsyncAdmin) -> Sequence[Erasure]:
        info = await admin.project(project)
        return await admin.erasure.listed(page_size=limit, project=info.id)

    found = [erasure_shape(one) for one in done(common, work)]
    if common.json:
        output.print_json({"results": found})
        return
    if not found:
        typer.echo("No erasures.")
        return
    made = output.table("id", "kind", "state", "rows", "left", "began", "ended")
    for one in found:
        counts = (str(sum(one["found"].values())), str(sum(one["remains"].values()) or ""))
        times = (output.minute(one["started_at"]), output.minute(one["completed_at"]))
        made.add_row(one["id"], one["kind"], one["state"], *counts, *times)
    output.console(no_color=common.no_color).print(made)


def resume(common: Common) -> None:
    """Go on with erasures of any project whose process died."""

    async def work(admin: AsyncAdmin) -> Sequence[Erasure]:
        with output.progress("erasing", None, unit="rows", no_color=common.no_color) as advance:
            return await admin.erasure.resume(_steps(advance))

    _show_several(common, done(common, work))


def reapply(
    common: Common,
    files: Receipts,
    key: Annotated[
        str | None,
        typer.Option(
            "--key",
            metavar="PUBLIC",
            help="The key of the receipts, for a backup of before the first erasure.",
        ),
    ] = None,
    yes: Yes = False,
) -> None:
    """Erase again who is there though erased: after a backup of before was restored.

    Known are the erasures that the store tells of, and those of the receipts given.
    """
    given = [_read(file) for file in files]
    if not yes and not agreed("Erase every subject again whose erasure is known?"):
        raise typer.Exit(1)

    async def work(admin: AsyncAdmin) -> Sequence[Erasure]:
        with output.progress("erasing", None, unit="rows", no_color=common.no_color) as advance:
            return await admin.erasure.reapply(given, public_key=key, told=_steps(advance))

    _show_several(common, done(common, work))


def verify_receipt(
    common: Common,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The receipt.")],
    ids: Ids,
    key: Annotated[
        str | None,
        typer.Option("--key", metavar="PUBLIC", help="The public key; no store is opened then."),
    ] = None,
) -> None:
    """Say whether a receipt is genuine, and, with --user, whether it is that user's.

    Its exit code is 1 if not.
    """
    receipt = _read(file)
    good = _is_signed(receipt, key, ids) if key else _is_ours(common, receipt, ids)
    say(common, {"good": good}, "The receipt is good." if good else "The receipt is NOT good.")
    if not good:
        raise typer.Exit(1)


def public_key(common: Common) -> None:
    """Print the key that anybody can verify receipts with."""

    async def work(admin: AsyncAdmin) -> str | None:
        return await admin.erasure.public_key()

    key = done(common, work)
    say(
        common,
        {"public_key": key},
        key or "Receipts are signed with a secret: no package cryptography.",
    )


def _is_signed(receipt: Mapping[str, Any], key: str, ids: Ids) -> bool:
    from holdfast.engine.receipts import is_signed_by

    if ids.scope.entities():
        raise ValidationError("whose it is only the store can tell: leave --key out.")
    return is_signed_by(receipt, key)


def _is_ours(common: Common, receipt: Mapping[str, Any], ids: Ids) -> bool:
    whose = {name: id_ for name, id_ in ids.arguments().items() if id_ is not None}

    async def work(admin: AsyncAdmin) -> bool:
        return await admin.erasure.verify_receipt(receipt, subject=whose or None)

    return done(common, work)


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_bytes())
    except OSError as error:
        raise ValidationError(f"{file.name} cannot be read: {error.strerror}.") from error
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ValidationError(f"{file.name} is no receipt.", hint="It is one JSON object.")
    return found


def _steps(advance: Advance) -> OnCopy:
    def told(copy: str, rows: int, _total: int) -> None:
        advance(rows, note=copy)

    return told


def _named(entity: Entity) -> str:
    return f"{entity.kind} {output.printable(entity.id)}"


def _show_inventory(common: Common, found: Mapping[str, int]) -> None:
    if common.json:
        output.print_json({"found": found})
        return
    made = output.table("copy", ("rows", {"justify": "right"}), "becomes", "what it is")
    for name, count in found.items():
        place = PLACES.get(name)
        fate, why = (place.fate, place.why) if place else ("erased", BESIDE[name])
        made.add_row(name, f"{count:,}", fate, why)
    output.console(no_color=common.no_color).print(made)


def _show_end(common: Common, erasure: Erasure, file: Path | None) -> None:
    written = json.dumps(erasure.receipt, indent=2) + "\n"
    if file is not None:
        file.write_text(written, encoding="utf-8")
    if common.json:
        output.print_json(erasure_shape(erasure))
        return
    rows = sum(erasure.found.values())
    typer.echo(f"Erased {rows:,} rows, looked for them, and found nothing ({erasure.id}).")
    if file is None:
        typer.echo(written, nl=False)
        typer.echo("This is the receipt: keep it, a restored backup needs it.", err=True)
    else:
        typer.echo(f"The receipt is in {file}: keep it, a restored backup needs it.", err=True)


def _show_several(common: Common, ended: Sequence[Erasure]) -> None:
    shapes = [erasure_shape(one) for one in ended]
    say(common, {"results": shapes}, f"Erased {len(shapes):,} subjects.")


COMMANDS: dict[str, Callable[..., None]] = {"forget": forget}

GROUPS: dict[str, tuple[str, dict[str, Callable[..., None]]]] = {
    "subject": (
        "Everything that is known of a user, agent, app or run.",
        {"export": export_subject},
    ),
    "erasure": (
        "See erasures, go on with them, verify receipts, apply them to a restored backup.",
        {
            "list": list_erasures,
            "resume": resume,
            "verify": verify_receipt,
            "reapply": reapply,
            "key": public_key,
        },
    ),
}
"""Commands of two words: the first one, what it is about, and the second ones."""
