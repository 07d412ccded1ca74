"""Who may use a deployment: its projects, and their keys."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from holdfast.cli import output
from holdfast.cli.memories import agreed
from holdfast.cli.options import Common
from holdfast.cli.store import resolved
from holdfast.clock import iso

if TYPE_CHECKING:
    from holdfast.admin import AsyncAdmin
    from holdfast.directory import ApiKey, ProjectInfo
    from holdfast.engine.keys import NewKey

T = TypeVar("T")

Project = Annotated[
    str | None,
    typer.Option("--project", metavar="ID", help="Its project; default: the configured one."),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def done(common: Common, work: Callable[[AsyncAdmin], Awaitable[T]]) -> T:
    """What becomes of some work on the deployment; background workers stay at home."""
    from msgspec.structs import replace

    from holdfast.admin import AsyncAdmin

    async def whole() -> T:
        async with AsyncAdmin(replace(resolved(common).config, workers=0)) as admin:
            return await work(admin)

    return asyncio.run(whole())


# ------------------------------------------------------------------ keys


def _only(kind: str) -> Any:
    return typer.Option(f"--{kind}", metavar="ID", help=f"Only of this {kind}; may be repeated.")


def create_key(
    common: Common,
    label: Annotated[str, typer.Option("--label", metavar="TEXT", help="What it is for.")] = "",
    allow: Annotated[
        list[str] | None,
        typer.Option(
            "--allow",
            metavar="WORD",
            help="read, write or admin, or a role: reader, writer, admin. Default: writer.",
        ),
    ] = None,
    user: Annotated[list[str] | None, _only("user")] = None,
    agent: Annotated[list[str] | None, _only("agent")] = None,
    app: Annotated[list[str] | None, _only("app")] = None,
    run: Annotated[list[str] | None, _only("run")] = None,
    expires: Annotated[
        str | None,
        typer.Option("--expires", metavar="DATE", help="From when on it is refused (ISO 8601)."),
    ] = None,
    untrusted: Annotated[
        bool, typer.Option("--untrusted", help="All it adds is held; it changes nothing else.")
    ] = False,
    project: Project = None,
) -> None:
    """Make an API key; it is printed this once."""

    async def work(admin: AsyncAdmin) -> NewKey:
        return await admin.create_key(
            project=project,
            label=label,
            permissions=allow or ["writer"],
            users=user or None,
            agents=agent or None,
            apps=app or None,
            runs=run or None,
            expires_at=expires,
            trust="untrusted" if untrusted else None,
        )

    _show_new(common, done(common, work))


def list_keys(common: Common, project: Project = None) -> None:
    """List the keys of a project, the newest first; their secrets are stored nowhere."""

    async def work(admin: AsyncAdmin) -> list[dict[str, Any]]:
        info = await admin.project(project)
        found = await admin.keys(project=info.id)
        uses = await admin.key_uses(found)
        return [_key_shape(key, uses.get(key.id)) for key in found]

    keys = done(common, work)
    if common.json:
        output.print_json({"results": keys})
        return
    if not keys:
        typer.echo("No keys.")
        return
    made = output.table("id", "label", "may", "only", "made", "used", "expires", "revoked")
    for key in keys:
        made.add_row(
            key["id"],
            output.printable(key["label"]),
            " ".join(key["permissions"]),
            output.printable(_limits(key)),
            output.minute(key["created_at"]),
            output.minute(key["last_used_at"]),
            output.minute(key["expires_at"]),
            output.minute(key["revoked_at"]),
        )
    output.console(no_color=common.no_color).print(made)


def rotate_key(
    common: Common,
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The key to replace.")],
    grace: Annotated[
        float, typer.Option("--grace", metavar="SECONDS", help="How long the old one stays good.")
    ] = 0.0,
    project: Project = None,
) -> None:
    """Make a key with the same rights in place of another."""

    async def work(admin: AsyncAdmin) -> NewKey:
        return await admin.rotate_key(key_id, project=project, grace_s=grace)

    _show_new(common, done(common, work))


def revoke_key(
    common: Common,
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The key to refuse.")],
    project: Project = None,
) -> None:
    """Refuse a key from now on, in every server that runs on the store."""

    async def work(admin: AsyncAdmin) -> None:
        await admin.revoke_key(key_id, project=project)

    done(common, work)
    say(common, {"id": key_id, "revoked": True}, f"Revoked {key_id}.")


def _show_new(common: Common, new: NewKey) -> None:
    """The key alone on standard output, so that it can be piped; the rest beside it."""
    if common.json:
        output.print_json({**_key_shape(new.key), "key": new.secret})
        return
    typer.echo(new.secret)
    typer.echo(
        f"Keep it: it is stored nowhere. `holdfast key revoke {new.key.id}` ends it.", err=True
    )


def _key_shape(key: ApiKey, used_at: float | None = None) -> dict[str, Any]:
    return {
        "id": key.id,
        "project": key.project,
        "label": key.label,
        "permissions": list(key.permissions),
        "users": key.users,
        "agents": key.agents,
        "apps": key.apps,
        "runs": key.runs,
        "trust": key.trust or "trusted",
        "account": key.account,
        "created_at": iso(key.created_at),
        "expires_at": iso(key.ends_at),
        "revoked_at": iso(key.revoked_at),
        "last_used_at": iso(used_at),
    }


def _limits(key: dict[str, Any]) -> str:
    kinds = ("user", "agent", "app", "run")
    words = [f"{kind}={id_}" for kind in kinds for id_ in key[f"{kind}s"] or ()]
    return " ".join(["untrusted", *words] if key["trust"] == "untrusted" else words)


# ------------------------------------------------------------------ projects


def create_project(
    common: Common,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is called.")],
    id_: Annotated[
        str | None, typer.Option("--id", metavar="ID", help="Its id; default: a random one.")
    ] = None,
    description: Annotated[
        str | None, typer.Option("--description", metavar="TEXT", help="What it is for.")
    ] = None,
) -> None:
    """Make a project: a tenant whose memories no other one sees."""

    async def work(admin: AsyncAdmin) -> ProjectInfo:
        return await admin.create_project(name, description=description, project_id=id_)

    info = done(common, work)
    if common.json:
        output.print_json(_project_shape(info))
        return
    typer.echo(info.id)


def list_projects(common: Common) -> None:
    """List the projects."""

    async def work(admin: AsyncAdmin) -> Sequence[ProjectInfo]:
        return await admin.projects()

    projects = [_project_shape(info) for info in done(common, work)]
    if common.json:
        output.print_json({"results": projects})
        return
    made = output.table("id", "name", "description", "made")
    for info in projects:
        words = (info["id"], info["name"], info["description"] or "")
        made.add_row(*map(output.printable, words), output.minute(info["created_at"]))
    output.console(no_color=common.no_color).print(made)


def delete_project(
    common: Common,
    project_id: Annotated[str, typer.Argument(metavar="ID", help="The project.")],
    yes: Yes = False,
) -> None:
    """Delete a project with its memories, keys, members and webhooks."""

    async def find(admin: AsyncAdmin) -> tuple[ProjectInfo, int]:
        info = await admin.project(project_id)
        stats = await admin.memory(info.id).stats()
        return info, int(stats["memories"])

    async def work(admin: AsyncAdmin) -> None:
        await admin.delete_project(project_id)

    if not yes:
        info, count = done(common, find)
        if not agreed(f"Delete {output.printable(info.name)} and its {count:,} memories?"):
            raise typer.Exit(1)
    done(common, work)
    say(common, {"id": project_id, "deleted": True}, f"Deleted {output.printable(project_id)}.")


def _project_shape(info: ProjectInfo) -> dict[str, Any]:
    """Never made before 1970: the project that is there from the start has no date."""
    return {
        "id": info.id,
        "name": info.name,
        "description": info.description,
        "created_at": iso(info.created_at or None),
    }


def say(common: Common, document: dict[str, Any], line: str) -> None:
    if common.json:
        output.print_json(document)
        return
    typer.echo(line)


GROUPS: dict[str, tuple[str, dict[str, Callable[..., None]]]] = {
    "key": (
        "Make, list, rotate and revoke API keys.",
        {"create": create_key, "list": list_keys, "rotate": rotate_key, "revoke": revoke_key},
    ),
    "project": (
        "Make, list and delete projects.",
        {"create": create_project, "list": list_projects, "delete": delete_project},
    ),
}
"""Commands of two words: the first one, what it is about, and the second ones."""
