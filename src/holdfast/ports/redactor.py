"""What finds personal data and secrets in texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from holdfast.model import Struct


class Passage(Struct, frozen=True):
    """A passage of a text that tells something personal or secret."""

    start: int
    end: int
    """Characters of the text, from 0; `end` is the first that does not belong to it."""
    kind: str
    """In capitals, as placeholders tell it: EMAIL."""


class Redactor(Protocol):
    """Finds personal data; what becomes of it is decided elsewhere (`core.redact`)."""

    async def find(self, texts: Sequence[str]) -> list[tuple[Passage, ...]]:
        """What is in each text, in order, without overlaps. Equal texts give equal answers."""
