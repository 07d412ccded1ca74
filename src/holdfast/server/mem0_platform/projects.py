"""The routes of Mem0's hosted platform for projects, their settings and their members."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import Depends, Path, Query
from pydantic import BaseModel, Field

from holdfast.clock import iso
from holdfast.core.project_settings import DESCRIPTION_CHARS_MAX, NAME_CHARS_MAX
from holdfast.directory import Member, ProjectInfo
from holdfast.errors import NotFoundError, ValidationError
from holdfast.model import Json
from holdfast.server.bodies import Body, Done
from holdfast.server.context import Context, allow
from holdfast.server.mem0_platform.shared import ORGANISATION
from holdfast.server.reply import Reply
from holdfast.server.routing import Routes

_PROJECTS = "/api/v1/orgs/organizations/{org_id}/projects"
_PROJECT = _PROJECTS + "/{project_id}"

Organisation = Annotated[str, Path(examples=[ORGANISATION])]
Project = Annotated[str, Path(examples=["default"])]

route = Routes("Mem0 platform: projects", slashes=True)
router = route.router


class PlatformProjectBody(Body):
    """A new project."""

    name: Annotated[str, Field(min_length=1, max_length=NAME_CHARS_MAX, examples=["support"])]
    description: Annotated[str | None, Field(max_length=DESCRIPTION_CHARS_MAX)] = None


class ProjectSettingsBody(Body):
    """What is to be set of a project; null and what is left out stay as they are."""

    name: Annotated[str | None, Field(min_length=1, max_length=NAME_CHARS_MAX)] = None
    description: Annotated[str | None, Field(max_length=DESCRIPTION_CHARS_MAX)] = None
    custom_instructions: Annotated[str | None, Field(examples=["Keep allergies and diets."])] = None
    """What extraction is to heed; "" clears."""
    agent_custom_instructions: str | None = None
    """The same for memories of agents, which heed the others without it."""
    custom_categories: Annotated[
        list[Any] | None, Field(examples=[[{"food": "What they eat and drink."}]])
    ] = None
    """What the model chooses categories from; [] clears."""
    multilingual: bool | None = None
    """false: facts are written in English; else in the language of the conversation."""
    usecase_setting: str | None = None
    """What the memories are for: told to the model with the instructions."""
    decay: Any = None
    """Not offered."""
    memory_depth: Any = None
    """Not offered."""
    enable_graph: Any = None
    """Not offered."""
    retrieval_criteria: Any = None
    """Not offered."""
    version: Any = None
    """Not offered: all versions are served at once."""


class MemberBody(Body):
    """Somebody's role."""

    email: Annotated[str, Field(examples=["ann@example.com"])]
    role: Annotated[str, Field(examples=["READER"])] = "READER"
    """READER or OWNER."""


class MemberShape(BaseModel):
    """Somebody who has a role in a project."""

    username: Annotated[str, Field(description="The same as email.")]
    email: str
    role: Literal["READER", "OWNER"]
    created_at: str


class Members(BaseModel):
    """Who has a role in a project."""

    members: list[MemberShape]


class ProjectShape(BaseModel):
    """A project, or those fields of it that were asked for."""

    project_id: str | None = None
    org_id: str | None = None
    name: str | None = None
    description: str | None = None
    custom_instructions: str | None = None
    agent_custom_instructions: str | None = None
    custom_categories: list[Any] | None = None
    multilingual: bool | None = None
    decay: Annotated[bool | None, Field(description="Always false.")] = None
    memory_depth: Annotated[str | None, Field(description="Always null.")] = None
    usecase: str | None = None
    usecase_setting: str | None = None
    members: list[MemberShape] | None = None
    user_role: Annotated[Literal["READER", "OWNER"] | None, Field(description="The caller's.")] = (
        None
    )
    created_at: str | None = None
    updated_at: str | None = None


class ProjectMade(Done):
    """A project was made."""

    project_id: str


@route("GET", _PROJECTS, summary="List projects", response_model=list[ProjectShape])
async def projects(
    org_id: Organisation, context: Annotated[Context, Depends(allow("get_project"))]
) -> Reply:
    """The caller's project; for whoever runs the deployment, every one."""
    _check(org_id)
    mine = context.project
    found = await context.admin.projects() if context.principal.is_root else []
    found = found or [await context.admin.project(mine)]
    return Reply([_shape(info, [], context) for info in found])


@route("POST", _PROJECTS, summary="Create a project", response_model=ProjectMade)
async def create_project(
    org_id: Organisation,
    body: PlatformProjectBody,
    context: Annotated[Context, Depends(allow("create_project"))],
) -> Reply:
    """A new, empty project; keys for it are made by whoever runs the deployment."""
    _check(org_id)
    made = await context.admin.create_project(body.name, description=body.description)
    return Reply({"message": "Project created successfully", "project_id": made.id})


@route("GET", _PROJECT, summary="Get a project", response_model=ProjectShape)
async def get_project(
    org_id: Organisation,
    project_id: Project,
    context: Annotated[Context, Depends(allow("get_project"))],
    fields: Annotated[list[str] | None, Query(examples=[["custom_instructions"]])] = None,
) -> Reply:
    """What was set for a project: all of it, or the fields asked for."""
    info = await _project(context, org_id, project_id)
    members = await context.admin.members(project=info.id)
    shape = _shape(info, members, context)
    if fields:
        shape = {name: shape.get(name) for name in fields}
    return Reply(shape)


@route("PATCH", _PROJECT, summary="Change a project", response_model=Done)
async def update_project(
    org_id: Organisation,
    project_id: Project,
    body: ProjectSettingsBody,
    context: Annotated[Context, Depends(allow("update_project"))],
) -> Reply:
    """Set what a project's extraction heeds, and its name."""
    info = await _project(context, org_id, project_id)
    values = {k: v for k, v in body.model_dump(exclude_unset=True).items() if v is not None}
    if not values:
        raise ValidationError("Nothing to update.", hint="Give e.g. custom_instructions.")
    await context.admin.update_project(values, project=info.id)
    return Reply({"message": "Project updated successfully"})


@route("DELETE", _PROJECT, summary="Delete a project", response_model=Done)
async def delete_project(
    org_id: Organisation,
    project_id: Project,
    context: Annotated[Context, Depends(allow("delete_project"))],
) -> Reply:
    """Delete a project with its memories, keys, members and webhooks."""
    info = await _project(context, org_id, project_id)
    await context.admin.delete_project(info.id)
    return Reply({"message": "Project deleted successfully"})


@route("GET", _PROJECT + "/members", summary="List members", response_model=Members)
async def members(
    org_id: Organisation,
    project_id: Project,
    context: Annotated[Context, Depends(allow("members"))],
) -> Reply:
    """Who has a role in a project."""
    info = await _project(context, org_id, project_id)
    found = await context.admin.members(project=info.id)
    return Reply({"members": [_member(each) for each in found]})


@route("POST", _PROJECT + "/members", summary="Add a member", response_model=Done)
async def add_member(
    org_id: Organisation,
    project_id: Project,
    body: MemberBody,
    context: Annotated[Context, Depends(allow("change_members"))],
) -> Reply:
    """Give somebody a role."""
    info = await _project(context, org_id, project_id)
    await context.admin.set_member(body.email, body.role, project=info.id)
    return Reply({"message": "Member added successfully"})


@route("PUT", _PROJECT + "/members", summary="Change a member's role", response_model=Done)
async def update_member(
    org_id: Organisation,
    project_id: Project,
    body: MemberBody,
    context: Annotated[Context, Depends(allow("change_members"))],
) -> Reply:
    """Give a member another role."""
    info = await _project(context, org_id, project_id)
    known = {member.email for member in await context.admin.members(project=info.id)}
    if body.email.strip().lower() not in known:
        raise NotFoundError("There is no such member.", hint="Add them first.")
    await context.admin.set_member(body.email, body.role, project=info.id)
    return Reply({"message": "Member updated successfully"})


@route("DELETE", _PROJECT + "/members", summary="Remove a member", response_model=Done)
async def remove_member(
    org_id: Organisation,
    project_id: Project,
    email: Annotated[str, Query(examples=["ann@example.com"])],
    context: Annotated[Context, Depends(allow("change_members"))],
) -> Reply:
    """Take somebody's role away."""
    info = await _project(context, org_id, project_id)
    await context.admin.remove_member(email, project=info.id)
    return Reply({"message": "Member removed successfully"})


def _check(org_id: str) -> None:
    if org_id != ORGANISATION:
        raise NotFoundError("There is no such organisation.", hint="`ping` tells the right one.")


async def _project(context: Context, org_id: str, project_id: str) -> ProjectInfo:
    """The project of a path: the caller's, or any for whoever runs the deployment.

    Raises NotFoundError for every other one, whether there is one or not.
    """
    _check(org_id)
    if project_id != context.project and not context.principal.is_root:
        raise NotFoundError("There is no such project.", hint="`ping` tells the right one.")
    return await context.admin.project(project_id)


def _shape(info: ProjectInfo, found: Sequence[Member], context: Context) -> dict[str, Json]:
    settings = info.settings
    return {
        "project_id": info.id,
        "org_id": ORGANISATION,
        "name": info.name,
        "description": info.description,
        "custom_instructions": settings.get("custom_instructions"),
        "agent_custom_instructions": settings.get("agent_custom_instructions"),
        "custom_categories": settings.get("custom_categories"),
        "multilingual": settings.get("multilingual", True),
        "decay": False,
        "memory_depth": None,
        "usecase": settings.get("usecase_setting"),
        "usecase_setting": settings.get("usecase_setting"),
        "members": [_member(each) for each in found],
        "user_role": "OWNER" if "admin" in context.principal.permissions else "READER",
        "created_at": iso(info.created_at),
        "updated_at": iso(info.updated_at),
    }


def _member(member: Member) -> dict[str, Json]:
    return {
        "username": member.email,
        "email": member.email,
        "role": member.role,
        "created_at": iso(member.created_at),
    }
