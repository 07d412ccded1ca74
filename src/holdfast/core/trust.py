"""Which turns are held: those that anything says are untrusted. Nothing can say otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal

import msgspec

from holdfast.core.intake import ROLES, Said, clean_id, clean_trust
from holdfast.errors import TooLargeError, ValidationError
from holdfast.limits import TRUST_NAMES_MAX
from holdfast.model import Json, Trust, TrustPolicy

Reason = Literal["message", "call", "key", "configuration", "project"]
"""What said that a turn is untrusted: itself, the add, the credential, or one of the settings."""

SETTING: Final = "trust"
"""The name under which a project's settings hold its policy."""

HOLDS_NOTHING: Final = TrustPolicy()


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """What is known about the trust of an add beside its messages."""

    call: Trust | None
    key: Trust
    configuration: TrustPolicy
    project: TrustPolicy


def clean_policy(value: object) -> dict[str, Json]:
    """A policy as it is stored with a project. Raises ValidationError, TooLargeError."""
    if not isinstance(value, Mapping) or not value.keys() <= {"roles", "actors", "default"}:
        raise ValidationError(
            "trust must have roles, actors or default, nothing else.", hint=_A_POLICY
        )
    found: dict[str, Json] = {}
    for part in ("roles", "actors"):
        names = value.get(part)
        if names is not None:
            found[part] = _clean_names(names, part)
    if (default := clean_trust(value.get("default"), "trust.default")) is not None:
        found["default"] = default
    return found


def _clean_names(names: object, part: str) -> dict[str, Trust]:
    if not isinstance(names, Mapping):
        raise ValidationError(f"trust.{part} must be a mapping.", hint=_A_POLICY)
    if len(names) > TRUST_NAMES_MAX:
        raise TooLargeError(
            f"trust.{part} names more than {TRUST_NAMES_MAX:,}.", hint="Name the trusted ones."
        )
    found: dict[str, Trust] = {}
    for name, level in names.items():
        cleaned = clean_id(name, f"a name of trust.{part}")
        if part == "roles" and cleaned not in ROLES:
            raise ValidationError(
                "trust.roles has a role that messages cannot have.",
                hint=f"Use {', '.join(sorted(ROLES))}.",
            )
        trust = clean_trust(level, f"trust.{part}[]")
        if trust is None:
            raise ValidationError(f"trust.{part} has a name without a level.", hint=_A_POLICY)
        found[cleaned] = trust
    return found


_A_POLICY: Final = 'E.g. {"roles": {"tool": "untrusted"}, "default": "trusted"}.'


def policy_of(settings: Mapping[str, Json]) -> TrustPolicy:
    """The policy among a project's settings; one that holds nothing, if there is none."""
    value = settings.get(SETTING)
    return HOLDS_NOTHING if value is None else msgspec.convert(value, TrustPolicy)


def level_of(policy: TrustPolicy, role: str, actor: str | None) -> Trust:
    """What a policy says of a turn: the stricter of its role and its actor, else the default."""
    named = [policy.roles.get(role), policy.actors.get(actor) if actor is not None else None]
    levels = [level for level in named if level is not None] or [policy.default]
    return "untrusted" if "untrusted" in levels else "trusted"


def held_places(said: Sequence[Said], given: Given) -> dict[int, tuple[Reason, ...]]:
    """The messages that are held, by their places, and why. The strictest of all wins."""
    found: dict[int, tuple[Reason, ...]] = {}
    for place, one in enumerate(said):
        levels: dict[Reason, Trust | None] = {
            "message": one.trust,
            "call": given.call,
            "key": given.key,
            "configuration": level_of(given.configuration, one.role, one.actor_id),
            "project": level_of(given.project, one.role, one.actor_id),
        }
        reasons = tuple(name for name, level in levels.items() if level == "untrusted")
        if reasons:
            found[place] = reasons
    return found
