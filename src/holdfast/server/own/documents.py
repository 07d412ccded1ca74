"""What the OpenAPI document says of our own routes, taken from the methods they stand for."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, get_type_hints

from pydantic import TypeAdapter

from holdfast import limits

_ID = {
    "anyOf": [
        {"type": "string", "minLength": 1, "maxLength": limits.ID_CHARS_MAX},
        {"type": "integer"},
    ]
}
_TIME = {
    "anyOf": [{"type": "string", "examples": ["2026-03-01T09:30:00Z"]}, {"type": "number"}],
    "description": "ISO 8601, or Unix seconds.",
}
_DAY = {"type": "string", "examples": ["2026-12-31"], "description": "YYYY-MM-DD, UTC."}
_FILTERS = {
    "type": "object",
    "description": "Mem0's filter grammar; names at least one entity positively.",
    "examples": [{"user_id": "alice"}, {"user_id": "alice", "priority": {"gte": 2}}],
}
_MESSAGES = {
    "anyOf": [
        {"type": "string", "minLength": 1, "maxLength": limits.TEXT_CHARS_MAX},
        {"type": "object"},
        {"type": "array", "maxItems": limits.MESSAGES_PER_ADD_MAX},
    ],
    "examples": [[{"role": "user", "content": "I am allergic to peanuts."}]],
}
_COUNT = {"type": "integer", "minimum": 1, "maximum": limits.TOP_K_MAX}

FIELDS: Mapping[str, Mapping[str, Any]] = {
    "user_id": _ID,
    "agent_id": _ID,
    "app_id": _ID,
    "run_id": _ID,
    "memory_id": {"type": "string", "minLength": 1, "maxLength": limits.ID_CHARS_MAX},
    "event_id": _ID,
    "idempotency_key": _ID,
    "messages": _MESSAGES,
    "filters": _FILTERS,
    "timestamp": _TIME,
    "reference_date": _TIME,
    "as_of": _TIME,
    "expiration_date": _DAY,
    "top_k": _COUNT,
    "limit": _COUNT,
    "page_size": _COUNT,
    "page": {"type": "integer", "minimum": 1},
    "threshold": {"type": "number", "minimum": 0, "maximum": 1},
    "timeout_s": {"type": "number", "minimum": 0, "maximum": limits.WAIT_S_MAX},
    "query": {
        "type": "string",
        "minLength": 1,
        "maxLength": limits.QUERY_CHARS_MAX,
        "examples": ["What may I not eat?"],
    },
}
"""What is more exact of an argument, or its own, than the type of it in Python."""


def arguments_schema(verb: str, method: Any) -> dict[str, Any]:
    """The JSON schema of a method's arguments."""
    hints = get_type_hints(method)
    properties: dict[str, Any] = {}
    required = []
    for name, parameter in list(inspect.signature(method).parameters.items())[1:]:
        properties[name] = _field(name, hints[name], optional=parameter.default is None)
        if parameter.default is parameter.empty:
            required.append(name)
        elif isinstance(parameter.default, bool | int | float):
            properties[name]["default"] = parameter.default
    schema: dict[str, Any] = {
        "type": "object",
        "title": f"Arguments of {verb}",
        "properties": properties,
        "additionalProperties": False,
    }
    return {**schema, "required": required} if required else schema


def _field(name: str, hint: Any, *, optional: bool) -> dict[str, Any]:
    if name not in FIELDS:
        return dict(TypeAdapter(hint).json_schema())
    own = dict(FIELDS[name])
    if not optional:
        return own
    if "anyOf" in own:
        return {**own, "anyOf": [*own["anyOf"], {"type": "null"}]}
    return {**own, "type": [own["type"], "null"]}


def returns_schema(method: Any) -> dict[str, Any]:
    """The answer of a method, as the document describes it."""
    hint: Any = get_type_hints(method).get("return")
    schema = TypeAdapter(hint).json_schema()
    return {
        "description": "What the method returns.",
        "content": {"application/json": {"schema": schema}},
    }
