"""Redactors by the name of their provider, and what each takes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated, Final

from msgspec import Meta

from holdfast.config import NO_REDACTION, Part, part_settings
from holdfast.core.personal import KINDS, find_personal
from holdfast.core.redact import Place, Style
from holdfast.errors import ConfigError, MissingExtraError
from holdfast.model import Struct
from holdfast.ports.redactor import Passage, Redactor

_INLINE_CHARS: Final = 20_000
"""Characters that are looked through on the event loop; more would keep other callers waiting."""


class PatternSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is taken out, and where."""

    where: Annotated[tuple[Place, ...], Meta(min_length=1)] = ("model",)
    """`model`: models of other machines see placeholders, and what they answer is put back.
    `storage`: texts are stored with placeholders, and nothing can be put back."""
    kinds: tuple[str, ...] = ()
    """Which kinds; all that there are if empty."""
    style: Style = "numbered"
    """How placeholders are written in what is stored: numbered, kind or keyed."""


class PresidioSettings(PatternSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Presidio, beside the patterns."""

    model: str = "en_core_web_lg"
    """A model of spaCy that is installed."""
    language: str = "en"
    """The language of the texts, as the model and Presidio call it."""
    score: Annotated[float, Meta(ge=0, le=1)] = 0.5
    """How sure Presidio must be."""


def build(part: Part) -> tuple[Redactor, PatternSettings]:
    """The redactor of a provider and its settings. Raises ConfigError, MissingExtraError."""
    if part.provider == "patterns":
        settings = part_settings(PatternSettings, part, "redaction")
        for kind in settings.kinds:
            if kind not in KINDS:
                raise ConfigError(
                    f"redaction.config.kinds: there is no {kind[:64]!r}.",
                    hint=f"Known are {', '.join(KINDS)}.",
                )
        return PatternRedactor(settings.kinds or KINDS), settings
    if part.provider != "presidio":
        raise ConfigError(
            f"redaction.provider: there is no {part.provider[:64]!r}.",
            hint=f"Known are {NO_REDACTION}, patterns, presidio.",
        )
    chosen = part_settings(PresidioSettings, part, "redaction")
    try:
        from holdfast.backends.redactors.presidio import PresidioRedactor
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"Redaction by Presidio needs the package {error.name}.",
            hint="pip install 'holdfast[presidio]'.",
        ) from error
    patterns = PatternRedactor(tuple(k for k in KINDS if not chosen.kinds or k in chosen.kinds))
    return PresidioRedactor(chosen, patterns), chosen


class PatternRedactor:
    """Finds what has a form of its own: addresses, numbers with check digits, keys."""

    def __init__(self, kinds: Sequence[str] = KINDS) -> None:
        self._kinds = frozenset(kinds)

    async def find(self, texts: Sequence[str]) -> list[tuple[Passage, ...]]:
        """As `Redactor.find`."""
        if sum(map(len, texts)) > _INLINE_CHARS:
            return await asyncio.to_thread(self._find, texts)
        return self._find(texts)

    def _find(self, texts: Sequence[str]) -> list[tuple[Passage, ...]]:
        return [find_personal(text, self._kinds) for text in texts]
