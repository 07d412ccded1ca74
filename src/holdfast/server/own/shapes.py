"""What is shown of keys and projects."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from holdfast.clock import iso
from holdfast.directory import ApiKey, Permission, ProjectInfo

Ids = Annotated[list[str] | None, Field(description="The only ones it is for; null: no bound.")]


class WhoShape(BaseModel):
    """Who a credential belongs to, and what it may do."""

    id: str
    kind: Literal["root", "key", "account", "token", "anyone"]
    project: str
    permissions: list[Permission]
    users: Ids
    agents: Ids
    apps: Ids
    runs: Ids
    trust: Literal["trusted", "untrusted"]


class KeyShape(BaseModel):
    """A key without what proves it."""

    id: Annotated[str, Field(examples=["2ef2540a0751"])]
    project: str
    label: Annotated[str, Field(examples=["The mobile app"])]
    permissions: list[Permission]
    users: Ids
    agents: Ids
    apps: Ids
    runs: Ids
    trust: Literal["trusted", "untrusted"]
    created_at: str
    expires_at: str | None
    revoked_at: str | None
    last_used_at: Annotated[str | None, Field(description="To within some minutes.")]


class KeysShape(BaseModel):
    """Keys, the newest first."""

    results: list[KeyShape]


class NewKeyShape(KeyShape):
    """A key that was just made."""

    secret: Annotated[str, Field(description="The whole key; it is told this once.")]


class OwnProject(BaseModel):
    """A project, and what was set for it."""

    id: str
    name: str
    description: str | None
    settings: dict[str, Any]
    created_at: str
    updated_at: str | None


class OwnProjects(BaseModel):
    """Every project."""

    results: list[OwnProject]


def key_shape(key: ApiKey, used_at: float | None = None) -> dict[str, Any]:
    """A key without what proves it; `used_at`: when it was used last."""
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
        "created_at": iso(key.created_at),
        "expires_at": iso(key.ends_at),
        "revoked_at": iso(key.revoked_at),
        "last_used_at": iso(used_at),
    }


def project_shape(project: ProjectInfo) -> dict[str, Any]:
    """A project, and what was set for it."""
    return {
        "id": project.id,
        "name": project.name,
        "description": project.description,
        "settings": project.settings,
        "created_at": iso(project.created_at),
        "updated_at": iso(project.updated_at),
    }


def is_unrestricted_admin(key: ApiKey) -> bool:
    """Whether a key administers all of its project."""
    restricted = (key.users, key.agents, key.apps, key.runs)
    return "admin" in key.permissions and all(ids is None for ids in restricted)
