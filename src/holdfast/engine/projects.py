"""Projects: made, changed, deleted, and what was set for them."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from holdfast.core.project_settings import clean_description, clean_name, clean_settings
from holdfast.directory import (
    ApiKey,
    Budget,
    KeyUse,
    Member,
    ProjectInfo,
    Row,
    Spending,
    Webhook,
    Where,
)
from holdfast.engine.parts import Parts
from holdfast.errors import ConflictError, NotFoundError, ValidationError
from holdfast.model import Json
from holdfast.ports import Reset

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")


async def create(
    parts: Parts, name: str, description: str | None, project_id: str | None
) -> ProjectInfo:
    """A new project. Raises ConflictError if there is one with this id."""
    id_ = project_id or f"proj-{secrets.token_hex(8)}"
    if not _ID.fullmatch(id_):
        raise ValidationError(
            "This is no id of a project.",
            hint="Use letters, digits, '-', '_' and '.', at most 128 of them.",
        )
    if id_ == parts.home:
        raise ConflictError(
            f"The project {id_} is there from the start.", hint="Choose another id."
        )
    now = parts.clock.now()
    info = ProjectInfo(
        id=id_, name=name, description=description, settings={}, created_at=now, updated_at=now
    )
    await parts.directory.insert(info)
    return info


async def listed(parts: Parts) -> Sequence[ProjectInfo]:
    """Every project, the one that is there from the start included."""
    found = await parts.directory.select(ProjectInfo)
    if any(info.id == parts.home for info in found):
        return found
    return [_unwritten(parts.home), *found]


async def find(parts: Parts, project: str) -> ProjectInfo:
    """One project. Raises NotFoundError."""
    found = await parts.directory.select(ProjectInfo, Where("id", project))
    if found:
        return found[0]
    if project == parts.home:
        return _unwritten(project)
    raise NotFoundError(f"Project {project} not found.", hint="`projects` lists those there are.")


async def update(parts: Parts, values: Mapping[str, Json]) -> ProjectInfo:
    """Set name, description or settings of this project; None clears a setting.

    Raises ValidationError for a setting that is wrong, or that nothing would heed.
    """
    cleaned = clean_settings(values)
    info = await find(parts, parts.project)
    settings = {**info.settings, **cleaned}
    changed = replace(
        info,
        name=clean_name(values["name"]) if values.get("name") is not None else info.name,
        description=clean_description(values.get("description", info.description)),
        settings={key: value for key, value in settings.items() if value is not None},
        updated_at=parts.clock.now(),
    )
    mine = Where("id", info.id)
    new = {
        "name": changed.name,
        "description": changed.description,
        "settings": changed.settings,
        "updated_at": changed.updated_at,
    }
    if not await parts.directory.update(ProjectInfo, mine, values=new):
        await parts.directory.insert(changed)
    return changed


async def delete(parts: Parts) -> None:
    """Delete this project with everything in it. Raises NotFoundError, ValidationError."""
    if parts.project == parts.home:
        raise ValidationError(
            f"The project {parts.home} cannot be deleted.", hint="`reset` empties it."
        )
    await find(parts, parts.project)
    access: tuple[type[Row], ...] = (ApiKey, KeyUse, Webhook, Member, Budget, Spending)
    for kind in access:  # nobody may write to it any more
        await parts.directory.delete(kind, Where("project", parts.project))
    await parts.records.commit(parts.project, [Reset()])
    await parts.directory.delete(ProjectInfo, Where("id", parts.project))


def _unwritten(project: str) -> ProjectInfo:
    """The project that is there from the start, before anything was set for it."""
    return ProjectInfo(id=project, name=project, created_at=0.0, updated_at=0.0)
