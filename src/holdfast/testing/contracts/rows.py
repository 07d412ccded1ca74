"""A row of each kind of the directory, every field of it set."""

from __future__ import annotations

from typing import Any

from holdfast.directory import (
    Account,
    ApiKey,
    Budget,
    Delivery,
    Erasure,
    Export,
    Feedback,
    Held,
    KeyUse,
    Member,
    ProjectInfo,
    Row,
    Session,
    ShardMap,
    SigningKey,
    Spending,
    Webhook,
)
from holdfast.testing.contracts.values import NOW

_JSON = {"ü": [1.5, None, True, {"deep": "日本"}], "": ""}

_FIELDS: dict[type[Row], dict[str, Any]] = {
    ProjectInfo: {
        "id": "red", "name": "Red 🟥", "description": "it's \"red\"", "settings": _JSON,
        "created_at": NOW, "updated_at": NOW + 0.25,
    },
    ApiKey: {
        "id": "0a1b2c3d4e5f", "project": "red", "label": "Ann's key", "digest": "ab" * 32,
        "permissions": ("read", "write"), "users": ("ann", "日本"), "agents": (), "apps": ("a",),
        "runs": ("r", "r;--"), "account": "acc", "created_at": NOW, "expires_at": NOW + 1e9,
        "revoked_at": NOW + 5.5, "retires_at": NOW + 4.5, "trust": "untrusted",
    },
    KeyUse: {"id": "0a1b2c3d4e5f", "project": "red", "at": NOW + 0.5},
    Account: {
        "id": "acc", "email": "ann@example.com", "name": "Ann", "password": "scrypt$x",
        "role": "admin", "onboarded": True, "created_at": NOW, "updated_at": NOW,
    },
    Session: {"id": "sess", "account": "acc", "created_at": NOW, "expires_at": NOW + 60},
    Member: {"project": "red", "email": "ann@example.com", "role": "OWNER", "created_at": NOW},
    Webhook: {
        "id": "hook", "project": "red", "name": "hook", "url": "https://example.com/?a=b&c",
        "event_types": ("memory_add", "memory_delete"), "secret": "s3cret", "is_active": False,
        "fed": 0, "created_at": NOW, "updated_at": NOW, "old_secret": "0ld",
        "old_secret_until": NOW + 60,
    },
    Delivery: {
        "id": "deli", "project": "red", "webhook": "hook", "event": "memory_add", "body": _JSON,
        "change_no": 3, "state": "FAILED", "attempts": 7, "run_after": NOW, "answer": 503,
        "error": "away", "created_at": NOW, "completed_at": NOW + 9,
    },
    Feedback: {
        "project": "red", "memory_id": "m1", "id": "feed", "feedback": "VERY_NEGATIVE",
        "reason": "wrong", "at": NOW,
    },
    ShardMap: {"collection": "holdfast_2", "version": 7, "value": '{"phase": "settled"}'},
    Erasure: {
        "id": "eras", "project": "red", "kind": "user", "mark": "ab" * 16, "subject": "ann",
        "state": "FAILED", "found": {"memories": 3}, "remains": {"messages": 1}, "receipt": _JSON,
        "started_at": NOW, "completed_at": NOW + 1.5,
    },
    SigningKey: {
        "id": "sign", "project": "red", "algorithm": "ed25519", "secret": "c2VjcmV0",
        "public": "cHVibGlj", "created_at": NOW,
    },
    Held: {
        "id": "held", "project": "red", "user_id": "ann", "agent_id": "日本", "app_id": "a",
        "run_id": "r;--", "messages": ({"role": "tool", "text": "it's \"so\"", "at": NOW}, _JSON),
        "request": _JSON, "principal": "0a1b2c3d4e5f", "principal_kind": "key", "via": "http",
        "created_at": NOW,
    },
    Budget: {
        "id": "budg", "project": "red", "kind": "user", "subject": "*", "period": "month",
        "unit": "usd", "amount": 5_000_000_000_000, "at_limit": "degrade", "created_at": NOW,
        "updated_at": NOW + 1,
    },
    Spending: {
        "project": "red", "budget": "budg", "subject": "ann", "since": NOW,
        "spent": 4_999_999_999_999, "held": 7,
    },
    Export: {
        "id": "expo", "project": "red", "request": _JSON, "state": "SUCCEEDED",
        "result": {"memories": [_JSON]}, "memories": ("m1", "m2"), "error": "none",
        "created_at": NOW, "completed_at": NOW + 1,
    },
}  # fmt: skip


def sample(kind: type[Row], **changes: Any) -> Any:
    """A row of this kind, with other values where told."""
    return kind(**{**_FIELDS[kind], **changes})
