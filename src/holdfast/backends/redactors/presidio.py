"""Presidio finds names, places and more by a model of spaCy, beside the patterns."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import spacy
from presidio_analyzer import AnalyzerEngine
from presidio_analyzer.nlp_engine import NlpEngineProvider

from holdfast.core.redact import apart
from holdfast.errors import MissingExtraError
from holdfast.ports.redactor import Passage, Redactor

if TYPE_CHECKING:
    from holdfast.backends.redactors.providers import PresidioSettings

_SAME: Final[Mapping[str, str]] = {
    "EMAIL_ADDRESS": "EMAIL",
    "PHONE_NUMBER": "PHONE",
    "IBAN_CODE": "IBAN",
    "CREDIT_CARD": "CARD",
    "IP_ADDRESS": "IP",
    "US_SSN": "SSN",
}
"""What Presidio calls otherwise than the patterns do."""


_CALLS_OUT: Final = "EmailRecognizer"
"""It fetches a list of domains from the network; the patterns find mail addresses without."""


class PresidioRedactor:
    """What Presidio is sure enough of, and what the patterns find."""

    def __init__(self, settings: PresidioSettings, patterns: Redactor) -> None:
        """Raises MissingExtraError if the model is not installed: nothing is downloaded."""
        model = settings.model
        if not spacy.util.is_package(model) and not Path(model).is_dir():
            raise MissingExtraError(
                f"Redaction by Presidio needs the spaCy model {model[:64]!r}.",
                hint="Install it (python -m spacy download ...), or name an installed one as "
                "redaction.config.model.",
            )
        models = [{"lang_code": settings.language, "model_name": model}]
        nlp = NlpEngineProvider(nlp_configuration={"nlp_engine_name": "spacy", "models": models})
        self._engine = AnalyzerEngine(
            nlp_engine=nlp.create_engine(), supported_languages=[settings.language]
        )
        self._engine.registry.remove_recognizer(_CALLS_OUT, settings.language)
        self._settings = settings
        self._patterns = patterns
        self._lock = asyncio.Lock()

    async def find(self, texts: Sequence[str]) -> list[tuple[Passage, ...]]:
        """As `Redactor.find`."""
        found = await self._patterns.find(texts)
        async with self._lock:  # one model, one text after the other
            more = await asyncio.to_thread(lambda: [self._analysed(text) for text in texts])
        return [apart([*each, *others]) for each, others in zip(found, more, strict=True)]

    def _analysed(self, text: str) -> list[Passage]:
        results = self._engine.analyze(
            text=text, language=self._settings.language, score_threshold=self._settings.score
        )
        named = [Passage(one.start, one.end, _kind(one.entity_type)) for one in results]
        kinds = self._settings.kinds
        return [one for one in named if not kinds or one.kind in kinds]


def _kind(entity: str) -> str:
    return _SAME.get(entity, entity)
