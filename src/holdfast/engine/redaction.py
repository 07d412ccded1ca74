"""Personal data is taken out of what is stored before anything else happens to it."""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.core.redact import Style, hidden
from holdfast.metrics import Metrics
from holdfast.ports.redactor import Redactor


class Hiding:
    """Puts placeholders into texts for good."""

    def __init__(self, redactor: Redactor, style: Style, key: bytes, metrics: Metrics) -> None:
        """`key` keeps the placeholders of the style `keyed` from being looked up."""
        self._redactor = redactor
        self._style = style
        self._key = key
        self._metrics = metrics

    async def hide(self, texts: Sequence[str]) -> list[str]:
        """The texts as they may be stored; numbers of placeholders hold for all of them."""
        found = await self._redactor.find(texts)
        for one in (each for every in found for each in every):
            self._metrics.count("redaction", "storage", one.kind)
        return hidden(texts, found, self._style, self._key)


async def storable(hiding: Hiding | None, texts: Sequence[str]) -> list[str]:
    """The texts as they may be stored, or searched with: themselves, if nothing is to be hidden."""
    return list(texts) if hiding is None else await hiding.hide(texts)


async def storable_text(hiding: Hiding | None, text: str | None) -> str | None:
    """The same for one text, or none."""
    return text if hiding is None or text is None else (await hiding.hide([text]))[0]
