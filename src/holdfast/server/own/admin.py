"""Running a deployment over HTTP: its keys and its projects."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Depends, Query
from pydantic import BaseModel, ConfigDict, Field

from holdfast.core.access import granted
from holdfast.directory import ProjectInfo
from holdfast.errors import AccessError, NotFoundError
from holdfast.server.bodies import Done
from holdfast.server.context import Context, allow
from holdfast.server.own.shapes import (
    KeysShape,
    NewKeyShape,
    OwnProject,
    OwnProjects,
    WhoShape,
    is_unrestricted_admin,
    key_shape,
    project_shape,
)
from holdfast.server.reply import Reply
from holdfast.server.routing import Routes

route = Routes("Holdfast administration")
router = route.router

Named = Annotated[
    str | None, Query(description="Another project than the key's; for whoever runs the server.")
]
Ids = Annotated[list[str] | None, Field(description="Only memories of these.", max_length=1_000)]


class _Body(BaseModel):
    """A body whose every field has a meaning: others are refused."""

    model_config = ConfigDict(extra="forbid")


class KeyBody(_Body):
    """What a new key may do, and for whom."""

    label: Annotated[str, Field(max_length=256, examples=["The mobile app"])] = ""
    permissions: Annotated[
        list[str], Field(min_length=1, max_length=8, examples=[["read", "write"]])
    ] = ["read", "write"]
    users: Ids = None
    agents: Ids = None
    apps: Ids = None
    runs: Ids = None
    expires_at: Annotated[str | float | None, Field(description="ISO 8601, or Unix seconds.")] = (
        None
    )
    trust: Annotated[
        Literal["trusted", "untrusted"] | None,
        Field(description="untrusted: all it adds is held, and it changes nothing else."),
    ] = None


class RotationBody(_Body):
    """How long the old key stays good."""

    grace_s: Annotated[float, Field(ge=0, le=86_400)] = 0.0


class ProjectBody(_Body):
    """A new project."""

    name: Annotated[str, Field(min_length=1, max_length=256)]
    description: Annotated[str | None, Field(max_length=4_096)] = None
    project_id: Annotated[str | None, Field(min_length=1, max_length=128)] = None


class ProjectChangeBody(_Body):
    """What to set of a project; null clears a setting."""

    name: Annotated[str | None, Field(min_length=1, max_length=256)] = None
    description: Annotated[str | None, Field(max_length=4_096)] = None
    custom_instructions: Annotated[str | None, Field(max_length=65_536)] = None
    custom_categories: Annotated[list[Any] | None, Field(max_length=64)] = None
    trust: Annotated[
        dict[str, Any] | None,
        Field(
            description="Whose turns are held: `roles`, `actors`, `default`.",
            examples=[{"roles": {"tool": "untrusted"}}],
        ),
    ] = None


@route("GET", "/holdfast/whoami", summary="Who the credential belongs to", response_model=WhoShape)
async def whoami(context: Annotated[Context, Depends(allow("whoami"))]) -> Reply:
    """The project, the permissions and the restrictions of the credential."""
    who, fence = context.principal, context.principal.fence
    return Reply(
        {
            "id": who.id,
            "kind": who.kind,
            "project": who.project,
            "permissions": sorted(who.permissions),
            "users": fence.users,
            "agents": fence.agents,
            "apps": fence.apps,
            "runs": fence.runs,
            "trust": who.trust,
        }
    )


@route("GET", "/holdfast/keys", summary="List API keys", response_model=KeysShape)
async def list_keys(
    context: Annotated[Context, Depends(allow("keys"))], project: Named = None
) -> Reply:
    """The keys of a project, revoked and expired ones too, the newest first; never a secret."""
    keys = await context.admin.keys(project=project_of(context, project))
    uses = await context.admin.key_uses(keys)
    return Reply({"results": [key_shape(key, uses.get(key.id)) for key in keys]})


@route(
    "POST",
    "/holdfast/keys",
    summary="Create an API key",
    status_code=201,
    response_model=NewKeyShape,
)
async def create_key(
    body: KeyBody,
    context: Annotated[Context, Depends(allow("change_keys"))],
    project: Named = None,
) -> Reply:
    """A new key. `secret` is the whole key; it is told in this answer and never again."""
    where = project_of(context, project)
    fenced = any(ids is not None for ids in (body.users, body.agents, body.apps, body.runs))
    _check_rank(context, where, runs="admin" in granted(body.permissions) and not fenced)
    made = await context.admin.create_key(project=where, **body.model_dump())
    return Reply({**key_shape(made.key), "secret": made.secret}, 201)


@route(
    "POST",
    "/holdfast/keys/{key_id}/rotate",
    summary="Change an API key for a new one",
    response_model=NewKeyShape,
)
async def rotate_key(
    key_id: str,
    body: RotationBody,
    context: Annotated[Context, Depends(allow("change_keys"))],
    project: Named = None,
) -> Reply:
    """A new key with the rights of the old one, which stays good for `grace_s` seconds."""
    where = await _place_of(context, key_id, project)
    made = await context.admin.rotate_key(key_id, project=where, grace_s=body.grace_s)
    return Reply({**key_shape(made.key), "secret": made.secret})


@route("DELETE", "/holdfast/keys/{key_id}", summary="Revoke an API key", response_model=Done)
async def revoke_key(
    key_id: str,
    context: Annotated[Context, Depends(allow("change_keys"))],
    project: Named = None,
) -> Reply:
    """Refuse a key from now on, in every process."""
    where = await _place_of(context, key_id, project)
    await context.admin.revoke_key(key_id, project=where)
    return Reply({"message": "Key revoked."})


@route("GET", "/holdfast/projects", summary="List projects", response_model=OwnProjects)
async def list_projects(context: Annotated[Context, Depends(allow("projects"))]) -> Reply:
    """Every project."""
    return Reply({"results": [project_shape(one) for one in await context.admin.projects()]})


@route(
    "POST",
    "/holdfast/projects",
    summary="Create a project",
    status_code=201,
    response_model=OwnProject,
)
async def create_project(
    body: ProjectBody, context: Annotated[Context, Depends(allow("create_project"))]
) -> Reply:
    """A new, empty project; give it a key to use it."""
    made = await context.admin.create_project(
        body.name, description=body.description, project_id=body.project_id
    )
    return Reply(project_shape(made), 201)


@route("GET", "/holdfast/projects/{project}", summary="Get a project", response_model=OwnProject)
async def get_project(
    project: str, context: Annotated[Context, Depends(allow("get_project"))]
) -> Reply:
    """One project, and what was set for it."""
    return Reply(project_shape(await _found(context, project)))


@route(
    "PATCH", "/holdfast/projects/{project}", summary="Change a project", response_model=OwnProject
)
async def update_project(
    project: str,
    body: ProjectChangeBody,
    context: Annotated[Context, Depends(allow("update_project"))],
) -> Reply:
    """Set name, description or settings; what is not named stays."""
    await _found(context, project)
    values = body.model_dump(exclude_unset=True)
    return Reply(project_shape(await context.admin.update_project(values, project=project)))


@route("DELETE", "/holdfast/projects/{project}", summary="Delete a project", response_model=Done)
async def delete_project(
    project: str, context: Annotated[Context, Depends(allow("delete_project"))]
) -> Reply:
    """Delete a project with its memories, keys and members."""
    await context.admin.delete_project(project)
    return Reply({"message": "Project deleted."})


def project_of(context: Context, named: str | None) -> str:
    """The project that is meant. Raises NotFoundError for one the caller may not know of."""
    if named is None or named == context.project:
        return context.project
    if not context.principal.is_root:
        raise NotFoundError(
            f"Project {named[:128]} not found.", hint="Leave it out for the key's own."
        )
    return named


async def _found(context: Context, project: str) -> ProjectInfo:
    return await context.admin.project(project_of(context, project))


async def _place_of(context: Context, key_id: str, project: str | None) -> str:
    """The project of a key that the caller may change. Raises NotFoundError, AccessError."""
    where = project_of(context, project)
    keys = await context.admin.keys(project=where)
    runs = any(one.id == key_id and is_unrestricted_admin(one) for one in keys)
    _check_rank(context, where, runs=runs)
    return where


def _check_rank(context: Context, project: str, *, runs: bool) -> None:
    """Keys that run the deployment (`runs`) are for those who run it. Raises AccessError."""
    if runs and project == context.admin.config.project and not context.principal.is_root:
        raise AccessError(
            "An unrestricted admin key of this project runs the deployment.",
            hint="Use the admin key, or give the new key a restriction.",
        )
