"""Who may do what: one table of operations and one function that decides.

Three things are asked of a principal: whether it has the permission an operation needs, whether it
reaches far enough (a fenced one never sees more than its memories; only the deployment's own
administrator goes beyond a project), and, for everything that touches memories, whether they are
inside its fence (`core.fence`). What a principal may not know of does not exist for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from holdfast.core.fence import OPEN, Fence
from holdfast.directory import PERMISSIONS, Permission
from holdfast.errors import AccessError
from holdfast.model import Struct, Trust

Reach = Literal["memories", "project", "deployment"]
"""memories: a fenced principal may, inside its fence; project: of one project, without a fence;
deployment: whoever runs it."""

Load = Literal["search", "read", "add", "write", "admin"]
"""Classes of operations that limits are set for."""


class Principal(Struct, frozen=True, kw_only=True):
    """Who calls."""

    id: str
    """Names the credential in logs, limits and the audit; never a secret."""
    kind: Literal["root", "key", "account", "token", "anyone"]
    project: str
    permissions: frozenset[Permission]
    fence: Fence = OPEN
    account: str | None = None
    """The account behind it, if it is a person's."""
    trust: Trust = "trusted"
    """untrusted: all it adds is held, and it changes nothing else."""

    @property
    def is_root(self) -> bool:
        """Whether it may do everything, in every project."""
        return self.kind in ("root", "anyone")


class Rule(Struct, frozen=True):
    """What an operation asks of a principal, and under which limit it falls."""

    permission: Permission
    load: Load
    reach: Reach = "memories"


OPERATIONS: Mapping[str, Rule] = {
    "add": Rule("write", "add"),
    "search": Rule("read", "search"),
    "get": Rule("read", "read"),
    "get_all": Rule("read", "read"),
    "history": Rule("read", "read"),
    "provenance": Rule("read", "read"),
    "update": Rule("write", "write"),
    "delete": Rule("write", "write"),
    "delete_all": Rule("write", "write"),
    "entities": Rule("read", "read"),
    "event": Rule("read", "read"),
    "events": Rule("read", "read"),
    "rerun": Rule("write", "write"),
    "cancel": Rule("write", "write"),
    "feedback": Rule("write", "write"),
    "create_export": Rule("read", "search", "project"),
    "get_export": Rule("read", "read", "project"),
    "get_profile": Rule("read", "search", "project"),
    "generate_profile": Rule("write", "search", "project"),
    "summary": Rule("read", "search"),
    "stats": Rule("read", "read", "project"),
    "usage": Rule("read", "read", "project"),
    "estimate": Rule("read", "read", "project"),
    "budgets": Rule("read", "read", "project"),
    "change_budgets": Rule("admin", "admin", "project"),
    "whoami": Rule("read", "read"),
    "reset": Rule("admin", "admin", "project"),
    "get_project": Rule("read", "read", "project"),
    "update_project": Rule("admin", "admin", "project"),
    "members": Rule("read", "read", "project"),
    "change_members": Rule("admin", "admin", "project"),
    "webhooks": Rule("admin", "admin", "project"),
    "change_webhooks": Rule("admin", "admin", "project"),
    "keys": Rule("admin", "admin", "project"),
    "change_keys": Rule("admin", "admin", "project"),
    "settings": Rule("read", "read", "project"),
    "instructions": Rule("write", "search", "project"),
    "requests": Rule("admin", "admin", "project"),
    "audit": Rule("admin", "read", "project"),
    "list_everything": Rule("admin", "read", "project"),
    "purge": Rule("admin", "admin"),
    "account": Rule("read", "read", "project"),
    "change_account": Rule("read", "admin", "project"),
    "own_keys": Rule("read", "read", "project"),
    "change_own_keys": Rule("read", "admin", "project"),
    "quarantine": Rule("admin", "read"),
    "change_quarantine": Rule("admin", "admin"),
    "erasures": Rule("admin", "read", "project"),
    "forget": Rule("admin", "admin", "project"),
    "retention": Rule("read", "read", "project"),
    "change_retention": Rule("admin", "admin", "project"),
    "export_subject": Rule("admin", "search", "project"),
    "metrics": Rule("admin", "read", "deployment"),
    "projects": Rule("admin", "admin", "deployment"),
    "create_project": Rule("admin", "admin", "deployment"),
    "delete_project": Rule("admin", "admin", "deployment"),
    "configure": Rule("admin", "admin", "deployment"),
    "prune_audit": Rule("admin", "admin", "deployment"),
    "index": Rule("admin", "read", "deployment"),
    "change_index": Rule("admin", "admin", "deployment"),
    "backups": Rule("admin", "read", "deployment"),
    "create_backup": Rule("admin", "admin", "deployment"),
    "embedder": Rule("admin", "read", "deployment"),
    "change_embedder": Rule("admin", "admin", "deployment"),
}
"""Every operation that needs a credential."""

ROLES: Mapping[str, frozenset[Permission]] = {
    "reader": frozenset({"read"}),
    "writer": frozenset({"read", "write"}),
    "admin": frozenset(PERMISSIONS),
}
"""Permissions by the name of a role."""


def decide(principal: Principal, operation: str) -> Rule:
    """The rule of an operation this principal may carry out. Raises AccessError."""
    rule = OPERATIONS[operation]
    if rule.permission not in principal.permissions:
        raise AccessError(
            f"This credential may not do `{operation}`: "
            f"it lacks the permission {rule.permission!r}.",
            hint="Use a key that has it.",
        )
    changes = rule.permission != "read" or rule.load in ("write", "admin")
    if principal.trust == "untrusted" and changes and operation != "add":
        raise AccessError(
            f"This credential is not trusted and may not do `{operation}`: it adds, and reads.",
            hint="What it adds is held until somebody approves it.",
        )
    if rule.reach == "deployment" and not principal.is_root:
        raise AccessError(
            f"`{operation}` is for whoever runs this deployment.", hint="Use the admin key."
        )
    if rule.reach == "project" and not principal.fence.is_open:
        raise AccessError(
            f"This credential may not do `{operation}`: "
            "it is for certain users, agents, apps or runs.",
            hint="Use a key of the whole project.",
        )
    return rule


def granted(names: object) -> frozenset[Permission]:
    """The permissions that a list of permissions and roles gives; unknown names give none."""
    found: set[Permission] = set()
    for name in names if isinstance(names, list | tuple | set | frozenset) else [names]:
        if isinstance(name, str):
            found |= ROLES.get(name.lower(), frozenset())
            found |= {each for each in PERMISSIONS if each == name}
    return frozenset(found)
