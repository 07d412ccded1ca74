"""What is removed for its age in every project, where the configuration says so."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

Rule = Literal[
    "facts", "turns", "summaries", "expired", "history", "jobs", "usage", "exports", "held"
]  # fmt: skip
"""What a rule can be for; `core.retention.RULES` tells what each removes."""

Days = Annotated[float, Meta(ge=0, le=36_500)]
"""The age from which on it is removed."""
