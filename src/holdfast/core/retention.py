"""Rules of retention: what is removed for good, and from which age on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from holdfast.config.retention import Rule
from holdfast.core import intake
from holdfast.errors import ValidationError
from holdfast.model import Json

DAY_S: Final = 86_400.0
DAYS_MAX: Final = 36_500

RULES: Final[Mapping[Rule, str]] = {
    "facts": "facts that a model took, by when they were stored",
    "turns": "raw turns and what was kept word for word, by when they were stored",
    "summaries": "summaries, by when they were stored",
    "expired": "memories whose expiration date has passed, by that date",
    "history": "changes of memories that are gone, by when they were made",
    "jobs": "jobs that have ended, by when they did",
    "usage": "rows of the ledger, by when the call was made",
    "exports": "exports, by when they were asked for",
    "held": "adds that wait for approval, by when they were made",
}
"""What a rule can be for, and by which time its age is told."""

KINDS: Final[Mapping[str, str]] = {"facts": "fact", "turns": "turn", "summaries": "summary"}
"""The kinds of memories that rules are for."""

SETTING: Final = "retention"
"""The name under which a project's settings hold its rules."""


def clean_rules(values: object) -> dict[str, float | None]:
    """Days by the name of a rule; None: no rule. Raises ValidationError."""
    if not isinstance(values, Mapping):
        raise ValidationError("The rules must be a mapping.", hint='E.g. {"turns": 90}.')
    found: dict[str, float | None] = {}
    for name, days in values.items():
        if name not in RULES:
            raise ValidationError(
                f"There is no rule for {str(name)[:64]!r}; nothing was changed.",
                hint=f"There are {', '.join(RULES)}.",
            )
        found[name] = None if days is None else intake.clean_seconds(days, name)
        if days is not None and days > DAYS_MAX:
            raise ValidationError(f"{name} may be {DAYS_MAX:,} days at most.")
    return found


def rules_of(settings: Mapping[str, Json]) -> dict[str, float]:
    """The rules among a project's settings, in days."""
    return {name: float(days) for name, days in settings.get(SETTING, {}).items() if name in RULES}


def in_force(configured: Mapping[Rule, float], settings: Mapping[str, Json]) -> dict[str, float]:
    """The rules of a project: its own and those of the configuration, of both the shorter."""
    own = rules_of(settings)
    ages = {name: [rules[name] for rules in (configured, own) if name in rules] for name in RULES}
    return {name: float(min(days)) for name, days in ages.items() if days}
