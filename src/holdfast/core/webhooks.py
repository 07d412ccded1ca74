"""Webhooks, decided without I/O: what is told of which change, how it is signed, when again."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import Final

from holdfast import limits
from holdfast.core.addresses import is_public
from holdfast.directory import Change, Held
from holdfast.errors import ValidationError
from holdfast.model import Job, JobState, Json

EVENT_TYPES: Final = (
    "memory_add", "memory_update", "memory_delete", "memory_categorize",
    "ingest_job_completed", "ingest_job_partially_completed", "ingest_job_failed",
    "ingest_job_cancelled", "memory_held",
)  # fmt: skip
"""What a webhook can be told of: Mem0's names, and that something waits for approval."""

SIGNATURE_HEADER: Final = "X-Holdfast-Signature"
DELIVERY_HEADER: Final = "X-Holdfast-Delivery"

_OF_CHANGE: Final[Mapping[str, str]] = {
    "ADD": "memory_add",
    "UPDATE": "memory_update",
    "SUPERSEDE": "memory_update",
    "DELETE": "memory_delete",
}

_URL: Final = re.compile(
    r"https?://(?P<credentials>[^\s/?#@]*@)?"
    r"(?P<host>[a-z0-9](?:[a-z0-9._-]{0,252})|\[[0-9a-f:.]{2,45}\])(?::(?P<port>[0-9]{1,5}))?"
    r"(?:[/?#][!-~]*)?",
    re.IGNORECASE,
)
_NUMBERS: Final = re.compile(r"[0-9.]+")

Message = tuple[str, dict[str, Json]]
"""A type of event and what is sent of it."""


def of_change(change: Change) -> list[Message]:
    """What is told of a change of a memory; its text is put in when it is sent (`with_text`)."""
    if not change.listed:
        return []
    details = {"id": change.memory_id, "data": {"memory": None}, "event": change.event}
    told: list[Message] = [(_OF_CHANGE[change.event], {"event_details": details})]
    if change.categories and change.event in ("ADD", "UPDATE"):
        named = {
            "event": "CATEGORIZE",
            "memory_id": change.memory_id,
            "categories": list(change.categories),
        }
        told.append(("memory_categorize", {"event_details": named}))
    return told


def of_job(
    job: Job, state: JobState, result: Json, *, is_cancelled: bool = False
) -> Message | None:
    """What is told of the end of an extraction job; None if nothing is."""
    if job.kind != "extract" or state not in ("SUCCEEDED", "FAILED"):
        return None
    partial = isinstance(result, Mapping) and bool(result.get("partial"))
    end = {True: "partially_completed", False: "completed"}[partial]
    if state == "FAILED":
        end = "cancelled" if is_cancelled else "failed"
    event = f"ingest_job_{end}"
    names = ("user_id", "agent_id", "app_id", "run_id")
    scope = dict(zip(names, job.payload["scope"], strict=True))
    details = {"event": event.upper(), "event_id": job.id, "status": state, **scope}
    return event, {"event_details": details}


def of_held(held: Held) -> Message:
    """What is told of an add that is held: whose it is and how many messages, never a word."""
    names = ("user_id", "agent_id", "app_id", "run_id")
    scope = {name: getattr(held, name) for name in names}
    details = {"event": "HELD", "held_id": held.id, "messages": len(held.messages), **scope}
    return "memory_held", {"event_details": details}


def with_text(body: Mapping[str, Json], text: str | None) -> dict[str, Json]:
    """What is sent of a change of a memory, with what the memory says since then."""
    details = dict(body["event_details"])
    if "data" in details:
        details["data"] = {"memory": text}
    return {**body, "event_details": details}


def subject(body: Mapping[str, Json]) -> str | None:
    """The memory that a message is about, if it is about one."""
    details = body.get("event_details", {})
    found = details.get("id") or details.get("memory_id")
    return None if found is None else str(found)


def signature(secret: str, at: float, body: bytes, *more: str) -> str:
    """The value of SIGNATURE_HEADER: `t=<Unix seconds>,v1=<HMAC-SHA256 of "t.body", hex>`.

    One more `v1` for each further secret: the old one, for a while after a change.
    """
    stamp = str(int(at))
    signed = stamp.encode() + b"." + body
    macs = (hmac.new(each.encode(), signed, hashlib.sha256) for each in (secret, *more))
    return f"t={stamp}" + "".join(f",v1={mac.hexdigest()}" for mac in macs)


def pause_s(attempts: int, chance: float) -> float:
    """Seconds before the next try: exponential, with full jitter (`chance`, 0..1)."""
    longest = limits.WEBHOOK_BACKOFF_S * 2.0 ** (attempts - 1)
    return chance * min(longest, limits.WEBHOOK_BACKOFF_MAX_S)


def clean_event_types(value: object) -> tuple[str, ...]:
    """Types of events to be told of. Raises ValidationError."""
    hint = f"Use some of {', '.join(EVENT_TYPES)}."
    if not isinstance(value, list | tuple) or not value:
        raise ValidationError("event_types must be a list of types of events.", hint=hint)
    if any(each not in EVENT_TYPES for each in value):
        raise ValidationError("event_types holds an unknown type.", hint=hint)
    return tuple(each for each in EVENT_TYPES if each in value)


def clean_url(value: object, *, private: bool) -> str:
    """An address that messages can be sent to, without a fragment. Raises ValidationError.

    A name is looked up when something is sent; only what is wrong with any answer is refused here.
    """
    hint = "Give one like https://example.com/hooks/memories."
    if not isinstance(value, str) or len(value) > limits.WEBHOOK_URL_CHARS_MAX:
        raise ValidationError("url is no address, or too long.", hint=hint)
    found = _URL.fullmatch(value.strip())
    if found is None:
        raise ValidationError("url is no http or https address.", hint=hint)
    if found["credentials"]:
        raise ValidationError("url holds credentials.", hint="Check the signature instead.")
    if not 0 < int(found["port"] or 1) < 65_536:
        raise ValidationError("url names no port from 1 to 65535.", hint=hint)
    if not private and _is_own(found["host"].lower().rstrip(".")):
        raise ValidationError(
            "url is an address of the own network.",
            hint="Use one of the Internet, or set `server.webhook_private`.",
        )
    return value.strip().partition("#")[0]


def _is_own(host: str) -> bool:
    """Whether it is plain without a look-up that a host is not of the Internet."""
    literal = host.startswith("[") or _NUMBERS.fullmatch(host) is not None
    if literal:
        return not is_public(host.strip("[]"))
    return host == "localhost" or host.endswith(".localhost")
