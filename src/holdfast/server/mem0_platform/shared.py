"""What the hosted platform's routes share: who is meant, pages, and the check of ids."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fastapi import Request
from pydantic import Field, StrictInt, StrictStr

from holdfast.core.intake import RESERVED_METADATA, clean_scope
from holdfast.errors import NotFoundError, ValidationError
from holdfast.filters import named_scope, parse_filter
from holdfast.limits import PAGE_MAX, PAGE_SIZE_MAX
from holdfast.model import Json, Scope
from holdfast.server.bodies import Body, Done
from holdfast.server.context import Context

ORGANISATION = "holdfast"
"""What the clients are told as their organisation: a deployment has one."""

IDS = ("user_id", "agent_id", "app_id", "run_id")

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)

Name = StrictStr | StrictInt
Filters = Annotated[
    dict[str, Any] | None,
    Field(description="Mem0's filter grammar.", examples=[{"user_id": "alice"}]),
]
When = Annotated[StrictStr | int | float | None, Field(examples=["2026-03-01", 1772356200])]


class Place(Body):
    """Old clients tell these with every call; the key decides."""

    org_id: Annotated[str | None, Field(description="Has no effect.")] = None
    project_id: Annotated[
        str | None, Field(description="If given, it must be the key's project.")
    ] = None


class Named(Place):
    """A body that may name whose memories are meant."""

    user_id: Annotated[Name | None, Field(examples=["alice"])] = None
    agent_id: Annotated[Name | None, Field(examples=["concierge"])] = None
    app_id: Name | None = None
    run_id: Name | None = None


class Pages(Place):
    """Which page is wanted."""

    page: Annotated[int | None, Field(ge=1, le=PAGE_MAX)] = None
    page_size: Annotated[int | None, Field(ge=1, le=PAGE_SIZE_MAX)] = None


class MemoryId(Body):
    """Names one memory of a batch."""

    memory_id: Annotated[str, Field(examples=["0190f5fe-7c1e-7b5a-9d53-6d7f0a4f1c11"])]


class DoneLater(Done):
    """What was done, and the event that tells of it."""

    event_id: str


def check_place(context: Context, *places: Place) -> None:
    """Refuse a project that is not the key's. Raises NotFoundError."""
    for place in places:
        if place.project_id not in (None, "", context.project):
            raise NotFoundError(
                "This key has no such project.",
                hint="Leave project_id out: the key names its project.",
            )


_UNOFFERED: Mapping[str, tuple[tuple[Json, ...], str]] = {
    "structured_data_schema": ((), "Leave it out; an export takes a schema."),
    "enable_graph": ((False,), "Leave it out; entities are found in the memories themselves."),
    "prompt_profile_id": (("",), "Leave it out, and send custom_instructions."),
}
"""What Mem0 knows and Holdfast has not: the values that ask for nothing else, and
what to do instead."""


def refuse_unoffered(body: object) -> None:
    """Refuse what would otherwise be accepted and not done. Raises ValidationError."""
    for name, (harmless, hint) in _UNOFFERED.items():
        value = getattr(body, name, None)
        if value is not None and value not in harmless:
            raise ValidationError(f"{name} is not offered with this value.", hint=hint)


def ids_of(body: object) -> dict[str, Json]:
    """The ids that a body or query names at its top."""
    named = {name: getattr(body, name) for name in IDS}
    return {name: value for name, value in named.items() if value is not None}


def refuse_ids(body: object) -> None:
    """v3 takes ids in `filters` only. Raises ValidationError."""
    if ids_of(body):
        raise ValidationError(
            "Top-level user_id, agent_id, app_id and run_id are not supported here.",
            hint='Put them into filters, like {"filters": {"user_id": "alice"}}.',
        )


def all_of(*conditions: Mapping[str, Json] | None) -> dict[str, Json]:
    """A written filter that is true if each of those given is."""
    given = [dict(one) for one in conditions if one]
    return given[0] if len(given) == 1 else {"AND": given} if given else {}


def scope_for_writing(body: Named, filters: Mapping[str, Json] | None) -> Scope:
    """Whose memory an add makes: named at the top, in `filters`, or in both alike.

    Raises ValidationError.
    """
    given = ids_of(body)
    if filters:
        inside = named_scope(parse_filter(filters, require_entity=not given))
        for entity in inside.entities():
            name = f"{entity.kind}_id"
            if str(given.setdefault(name, entity.id)).strip() != entity.id:
                raise ValidationError(
                    f"{name} and filters.{name} differ.", hint="Name each id once."
                )
    return clean_scope(**given)


async def count_users(context: Context, filters: Mapping[str, Json]) -> None:
    """Count a search against the limits of the user it is for. Raises RateLimitError."""
    user_id = filters.get("user_id")
    if not isinstance(user_id, str):
        user_id = named_scope(parse_filter(filters, require_entity=True)).user_id
    await context.count_user(user_id)


def memory_id_in(text: str) -> str:
    """An id as memories have it. Raises ValidationError in Mem0's words."""
    if not _UUID.fullmatch(text):
        raise ValidationError("memory_id should be a valid UUID")
    return text.lower()


def no_memory() -> NotFoundError:
    """The error for an id that no memory has, in Mem0's words."""
    return NotFoundError("Memory not found!")


def own_metadata(metadata: Mapping[str, Json] | None) -> dict[str, Json] | None:
    """A caller's metadata without the keys that would name an identity, as Mem0 does."""
    if metadata is None:
        return None
    return {key: value for key, value in metadata.items() if key not in RESERVED_METADATA}


def in_zone(value: Json, zone: str | None) -> Json:
    """A written time that names no offset, in the zone the caller named; others as they are."""
    if zone is None:
        return value
    try:
        there = ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValidationError("timezone is unknown.", hint="E.g. Europe/Vienna.") from None
    if not isinstance(value, str):
        return value
    try:
        parsed = datetime.fromisoformat(value.strip())
    except ValueError:
        return value  # whoever reads it says what is wrong
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=there)).isoformat()


def page_answer(
    request: Request, page: int, size: int, total: int, results: list[Json]
) -> dict[str, Json]:
    """A page, with the addresses of its neighbours."""

    def address(number: int) -> str:
        return str(request.url.include_query_params(page=number, page_size=size))

    return {
        "count": total,
        "next": address(page + 1) if page * size < total else None,
        "previous": address(page - 1) if page > 1 else None,
        "results": results,
    }
