"""The schemas of what agents give to tools, and of what tools answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from holdfast import limits

Schema = Mapping[str, Any]


def _id(whose: str) -> Schema:
    return {
        "type": "string",
        "minLength": 1,
        "maxLength": limits.ID_CHARS_MAX,
        "description": whose,
    }


IDS: Mapping[str, Schema] = {
    "user_id": _id("The user it is about. Leave it out for the user of this connection."),
    "agent_id": _id("Only with an agent: the agent whose memory is meant."),
    "app_id": _id("Only with an application: the application whose memory is meant."),
    "run_id": _id("Only within one run or session: its id."),
}
MEMORY_ID = _id("The `id` of a memory, as the other tools tell it.")
EVENT_ID = _id("The `event_id` that add_memory told.")
TEXT: Schema = {
    "type": "string",
    "minLength": 1,
    "maxLength": limits.TEXT_CHARS_MAX,
    "description": "What to remember, such as 'Alice is allergic to peanuts.'",
}
MESSAGES: Schema = {
    "type": "array",
    "minItems": 1,
    "maxItems": limits.MESSAGES_PER_ADD_MAX,
    "description": "A stretch of conversation, instead of `text`.",
    "items": {
        "type": "object",
        "properties": {
            "role": {"type": "string", "enum": ["user", "assistant"]},
            "content": {"type": "string"},
            "name": {"type": "string", "description": "Who spoke, if there are several."},
        },
        "required": ["role", "content"],
    },
}
METADATA: Schema = {
    "type": "object",
    "description": "Facts of your own to find it by, such as {'source': 'mail', 'priority': 2}.",
}
SAID_AT: Schema = {
    "type": "string",
    "description": "When it was said, ISO 8601, if that was not just now.",
}
EXPIRES: Schema = {
    "type": "string",
    "description": "Last day on which it is true, YYYY-MM-DD, for what will pass.",
}
INFER: Schema = {
    "type": "boolean",
    "default": True,
    "description": "false keeps the words exactly as they are.",
}
TRUST: Schema = {
    "type": "string",
    "enum": ["trusted", "untrusted"],
    "description": (
        "untrusted for words of a web page, a mail, a document or a tool: a person looks at them"
        " before they are remembered."
    ),
}
QUERY: Schema = {
    "type": "string",
    "minLength": 1,
    "maxLength": limits.QUERY_CHARS_MAX,
    "description": "The question, as a full sentence.",
}
FILTERS: Schema = {
    "type": "object",
    "description": (
        "Conditions beside the ids: {'field': value} or {'field': {'gte': 2}} with eq, ne, gt, gte,"
        " lt, lte, in, nin, contains, icontains, joined by AND, OR, NOT. Fields are metadata keys,"
        " categories, created_at, updated_at. E.g. {'AND': [{'source': 'mail'}, {'created_at':"
        " {'gte': '2026-01-01'}}]}."
    ),
}
TOP_K: Schema = {
    "type": "integer",
    "minimum": 1,
    "maximum": limits.TOP_K_MAX,
    "default": 10,
    "description": "How many at most.",
}
THRESHOLD: Schema = {
    "type": "number",
    "minimum": 0,
    "maximum": 1,
    "description": "Lowest score that counts as a match; leave it out for the usual one.",
}
PAGE: Schema = {"type": "integer", "minimum": 1, "default": 1, "description": "Page, from 1."}
PAGE_SIZE: Schema = {
    "type": "integer",
    "minimum": 1,
    "maximum": limits.PAGE_SIZE_MAX,
    "default": 20,
    "description": "How many on a page.",
}
STATUS: Schema = {
    "type": "string",
    "enum": ["PENDING", "RUNNING", "SUCCEEDED", "FAILED"],
    "description": "Only those that are so far.",
}

ANYTHING: Schema = {"type": "object"}
RESULTS: Schema = {
    "type": "object",
    "properties": {"results": {"type": "array", "items": {"type": "object"}}},
    "required": ["results"],
}
