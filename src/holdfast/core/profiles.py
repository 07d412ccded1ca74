"""Profiles: what is remembered of a user or agent, in a form that was set. Pure: no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, get_args

from holdfast.core import intake
from holdfast.core.exports import clean_schema
from holdfast.core.prompt import INSTRUCTIONS_CHARS_MAX
from holdfast.errors import ValidationError
from holdfast.model import Entity, Json, Struct

ProfileKind = Literal["user", "agent"]
"""Who may have a profile."""
KINDS: Final[tuple[ProfileKind, ...]] = get_args(ProfileKind)

SETTING: Final = "profiles"
"""What of a project's settings is about profiles."""

LAST_EXPORT_ID: Final = "p"
"""Ids of exports are below it (UUIDs), those of profiles, which are kept beside them, above."""

_HINT: Final = 'E.g. {"enabled": true, "entities": {"user": {"schema": {...}}}}.'


class Form(Struct, frozen=True, kw_only=True):
    """How profiles of a kind are made."""

    schema: Mapping[str, Json]
    instructions: str | None = None


def profile_id(project: str, entity: Entity) -> str:
    """The id under which a profile is kept."""
    return f"profile {project} {entity.kind} {entity.id}"


def form_of(settings: Mapping[str, Json], kind: str) -> Form | None:
    """How profiles of a kind are made by a project's settings; None if they are not."""
    found = settings.get(SETTING) or {}
    given = found.get("entities", {}).get(kind, {})
    if not found.get("enabled") or not given.get("schema"):
        return None
    return Form(schema=given["schema"], instructions=given.get("custom_instructions"))


def clean_profiles(value: object) -> dict[str, Json]:
    """The setting `profiles`: `{"enabled"?, "entities"?: {"user" | "agent": {"schema"?,
    "custom_instructions"?}}}`, checked. Raises ValidationError, TooLargeError."""
    found = _table(value, "profiles", ("enabled", "entities"))
    cleaned: dict[str, Json] = {}
    if found.get("enabled") is not None:
        cleaned["enabled"] = intake.clean_flag(found["enabled"], "enabled")
    entities = _table(found.get("entities") or {}, "entities", KINDS)
    cleaned["entities"] = {kind: _entity(given) for kind, given in entities.items()}
    return cleaned


def merged(settings: Mapping[str, Json], change: Mapping[str, Json]) -> dict[str, Json]:
    """The setting after a change of the keys that it names; None clears one."""
    before = settings.get(SETTING) or {}
    kinds = {kind: dict(given) for kind, given in before.get("entities", {}).items()}
    for kind, given in _table(change.get("entities") or {}, "entities", KINDS).items():
        kinds[kind] = {**kinds.get(kind, {}), **_table(given, kind, _OF_A_KIND)}
    enabled = change.get("enabled")
    enabled = before.get("enabled", False) if enabled is None else enabled
    return clean_profiles({"enabled": enabled, "entities": kinds})


_OF_A_KIND: Final = ("schema", "custom_instructions")


def _entity(value: object) -> dict[str, Json]:
    given = _table(value, "entities", _OF_A_KIND)
    cleaned: dict[str, Json] = {}
    if given.get("schema") is not None:
        cleaned["schema"] = _described(clean_schema(given["schema"]))
    if given.get("custom_instructions"):
        told = given["custom_instructions"]
        most = INSTRUCTIONS_CHARS_MAX
        cleaned["custom_instructions"] = intake.clean_text(told, "custom_instructions", most)
    return cleaned


def _described(schema: Mapping[str, Json]) -> Mapping[str, Json]:
    """A schema whose properties say what they are: that is what a model fills them in by."""
    for name, part in schema["properties"].items():
        told = part.get("description") if isinstance(part, Mapping) else None
        if not isinstance(told, str) or not told.strip():
            raise ValidationError(
                f"schema: the property {str(name)[:64]!r} has no description.",
                hint="Say what belongs in it.",
            )
    return schema


def _table(value: object, name: str, known: tuple[str, ...]) -> Mapping[str, Json]:
    if not isinstance(value, Mapping):
        raise ValidationError(f"{name} must be an object.", hint=_HINT)
    for key in value:
        if key not in known:
            raise ValidationError(
                f"{name} has no {str(key)[:64]!r}.", hint=f"There are {', '.join(known)}."
            )
    return value
