"""What can be set for a project, and what of Mem0's settings is refused and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from holdfast.core import intake, trust
from holdfast.core.profiles import SETTING, clean_profiles
from holdfast.core.prompt import INSTRUCTIONS_CHARS_MAX
from holdfast.errors import ValidationError
from holdfast.model import Json

_TEXTS: Final[Mapping[str, int]] = {
    "custom_instructions": INSTRUCTIONS_CHARS_MAX - 1_500,
    "agent_custom_instructions": INSTRUCTIONS_CHARS_MAX - 1_500,
    "usecase_setting": 1_000,
}
"""Texts, and their longest lengths in characters: together they are instructions."""

NAME_CHARS_MAX: Final = 256
DESCRIPTION_CHARS_MAX: Final = 4_096

_REFUSED: Final[Mapping[str, str]] = {
    "decay": "Memories do not fade here: what is no longer true is superseded, what is to go "
    "gets an expiration_date.",
    "enable_graph": "There is no graph: entities are found in the memories themselves.",
    "memory_depth": "Say in custom_instructions how much is to be kept.",
    "retrieval_criteria": "Score with `rerank`, or filter by categories and metadata.",
    "version": "All versions of the API are served at once.",
}
"""Settings of Mem0 that nothing would heed, and what to do instead."""

NAMES: Final = frozenset((*_TEXTS, "custom_categories", "multilingual", SETTING, trust.SETTING))
"""What can be set, besides name and description."""

IN_ENGLISH: Final = "Write every fact in English, whatever language the turn is in."
"""What `multilingual: false` adds to the instructions; facts keep their language otherwise."""


def clean_settings(values: object) -> dict[str, Json]:
    """The settings among `values`, checked; None, or an empty one of its type, clears one.

    Raises ValidationError, for names that nothing is called as well.
    """
    if not isinstance(values, Mapping):
        raise ValidationError("The settings must be a mapping.", hint='E.g. {"name": "Support"}.')
    known = NAMES | _REFUSED.keys() | {"name", "description"}
    for name in values:
        if name not in known:
            raise ValidationError(
                f"Nothing of a project is called {str(name)[:64]!r}; nothing was changed.",
                hint=f"There are name, description, {', '.join(sorted(NAMES))}.",
            )
    for name, hint in _REFUSED.items():
        if values.get(name) not in (None, False):
            raise ValidationError(f"{name} cannot be set; nothing was changed.", hint=hint)
    found: dict[str, Json] = {}
    for name in NAMES & values.keys():
        value = values[name]
        empty: Json = "" if name in _TEXTS else [] if name == "custom_categories" else None
        is_empty = value is None or (type(value) is type(empty) and value == empty)
        found[name] = None if is_empty else _clean(name, value)
    return found


def _clean(name: str, value: Json) -> Json:
    if name in _TEXTS:
        return intake.clean_text(value, name, _TEXTS[name])
    if name == "multilingual":
        return intake.clean_flag(value, name)
    if name == trust.SETTING:
        return trust.clean_policy(value)
    if name == SETTING:
        return clean_profiles(value)
    intake.clean_custom_categories(value)
    plain, _ = intake.clean_metadata({name: value}, "settings")
    return (plain or {})[name]


def clean_name(value: object) -> str:
    """What a project is called. Raises ValidationError."""
    return intake.clean_text(value, "name", NAME_CHARS_MAX)


def clean_description(value: object) -> str | None:
    """What a project is for, or nothing. Raises ValidationError."""
    if value is None or value == "":
        return None
    return intake.clean_text(value, "description", DESCRIPTION_CHARS_MAX)


def instructions_of(settings: Mapping[str, Json], *, of_user: bool) -> str | None:
    """What extraction is to heed by a project's settings; None if nothing was set.

    `of_user`: whether the memories are a user's; an agent's have instructions of their own.
    """
    own = "custom_instructions" if of_user else "agent_custom_instructions"
    told = settings.get(own) or settings.get("custom_instructions")
    use = settings.get("usecase_setting")
    lines = [
        f"The memories are for this use: {use}" if use else None,
        told,
        IN_ENGLISH if settings.get("multilingual") is False else None,
    ]
    return "\n".join(line for line in lines if line) or None
