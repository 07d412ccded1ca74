"""What the public methods do, for the audit: each stands here, or is named as leaving no row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

Verb = Literal["read", "write", "admin", "work"]
"""read: looks; write: changes memories; admin: changes who may do what, or what was set up; work:
goes on for long, or changes what no transaction of the records holds, so that a row tells when it
begins, and another how it ended."""

MEMORY: Final[Mapping[str, Verb]] = {
    "add": "write",
    "get": "read",
    "get_all": "read",
    "count": "read",
    "search": "read",
    "update": "write",
    "batch_update": "write",
    "batch_delete": "write",
    "delete": "write",
    "delete_all": "write",
    "history": "read",
    "reset": "write",
    "entities": "read",
    "entity": "read",
    "event": "read",
    "events": "read",
    "wait": "read",
    "rerun": "work",
    "cancel": "write",
    "stats": "read",
    "provenance": "read",
}

ADMIN: Final[Mapping[str, Verb]] = {
    "clear_cache": "work",
    "create_key": "admin",
    "keys": "read",
    "first_key": "admin",
    "rotate_key": "admin",
    "revoke_key": "admin",
    "create_project": "admin",
    "projects": "read",
    "project": "read",
    "update_project": "admin",
    "suggest_instructions": "read",
    "delete_project": "admin",
    "members": "read",
    "set_member": "admin",
    "remove_member": "admin",
}

ACCOUNTS: Final[Mapping[str, Verb]] = {
    "register": "admin",
    "create": "admin",
    "all": "read",
    "get": "read",
    "update": "admin",
    "change_password": "admin",
    "delete": "admin",
    "sign_in": "admin",
    "start": "admin",
    "turn": "admin",
    "keys": "read",
    "revoke_key": "admin",
}

WEBHOOKS: Final[Mapping[str, Verb]] = {
    "create": "admin",
    "listed": "read",
    "update": "admin",
    "rotate_secret": "admin",
    "delete": "admin",
    "deliveries": "read",
    "rerun": "admin",
}

EXPORTS: Final[Mapping[str, Verb]] = {
    "create": "write",
    "find": "read",
    "summary": "read",
    "give_feedback": "write",
}

SEALING: Final[Mapping[str, Verb]] = {
    "status": "read",
    "run": "work",
    "rotate_master": "work",
    "rotate_keys": "work",
}

INDEX: Final[Mapping[str, Verb]] = {
    "status": "read",
    "verify": "work",
    "rebuild": "work",
    "rebalance": "work",
    "discard": "work",
    "begin": "work",
}

EMBEDDER: Final[Mapping[str, Verb]] = {
    "status": "read",
    "change": "work",
    "cutover": "work",
    "rollback": "work",
    "finish": "work",
    "begin": "work",
}

BACKUPS: Final[Mapping[str, Verb]] = {
    "create": "read",
    "listed": "read",
    "show": "read",
    "verify": "read",
    "restore": "admin",
    "status": "read",
    "prune": "admin",
    "merge": "work",
    "begin": "work",
    "drop_subject": "work",
}

ERASURE: Final[Mapping[str, Verb]] = {
    "inventory": "read",
    "forget": "admin",
    "export": "read",
    "resume": "work",
    "status": "read",
    "listed": "read",
    "public_key": "read",
    "verify_receipt": "read",
    "reapply": "work",
}

USAGE: Final[Mapping[str, Verb]] = {"estimate": "read", "report": "read"}

BUDGETS: Final[Mapping[str, Verb]] = {"put": "admin", "listed": "read", "remove": "admin"}

PROFILES: Final[Mapping[str, Verb]] = {
    "settings": "read",
    "configure": "admin",
    "find": "write",
    "generate": "write",
    "sample": "write",
    "job": "read",
}

RETENTION: Final[Mapping[str, Verb]] = {
    "rules": "read",
    "set": "admin",
    "due": "read",
    "run": "work",
}

QUARANTINE: Final[Mapping[str, Verb]] = {
    "listed": "read",
    "find": "read",
    "approve": "write",
    "reject": "write",
}

AUDIT: Final[Mapping[str, Verb]] = {
    "listed": "read",
    "heads": "read",
    "verify": "read",
    "export": "read",
    "prune": "work",
}

SILENT: Final[Mapping[str, str]] = {
    "AsyncMemory.open": "concerns the caller's own process",
    "AsyncMemory.close": "concerns the caller's own process",
    "AsyncMemory.aclose": "concerns the caller's own process",
    "AsyncMemory.from_config": "concerns the caller's own process",
    "AsyncMemory.settings": "tells the caller's own configuration; its route leaves a row",
    "AsyncMemory.chat": "does nothing",
    "AsyncAdmin.open": "concerns the caller's own process",
    "AsyncAdmin.aclose": "concerns the caller's own process",
    "AsyncAdmin.memory": "gives a view; what is done with it leaves rows",
    "AsyncAdmin.reach": "tells what this process is connected to",
    "AsyncAdmin.providers": "tells what is installed",
    "AsyncAdmin.census": "counts for metrics; their route leaves a row",
    "AsyncAdmin.probe": "a health check",
    "AsyncAdmin.probe_cache": "a health check",
    "AsyncAdmin.recognise": "a part of every request; what is denied leaves a row",
    "AsyncAdmin.key_uses": "a part of listing keys",
    "AsyncAdmin.write_key_uses": "a part of serving",
    "Accounts.needs_setup": "tells whether nobody has an account yet",
    "Accounts.principal": "a part of every request; what is denied leaves a row",
    "Webhooks.serve": "a part of serving; deliveries tell what was sent",
    "Indexes.close": "concerns the caller's own process",
    "EmbedderChange.close": "concerns the caller's own process",
    "Backups.close": "concerns the caller's own process",
    "Retention.serve": "a part of serving",
    "Backups.serve": "a part of serving; backups that are due are counted",
    "Erasures.serve": "a part of serving; it goes on with what left rows",
    "Audit.serve": "a part of serving",
    "Audit.asked": "leaves the row itself",
}
"""Public methods that leave no row of their own, and why."""
