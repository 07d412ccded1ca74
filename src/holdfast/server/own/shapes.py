"""What is shown of keys and projects."""

from __future__ import annotations

from typing import Any

from holdfast.clock import iso
from holdfast.directory import ApiKey, ProjectInfo


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
