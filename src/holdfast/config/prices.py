"""What tokens of a model cost, where the configuration says so."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from holdfast.model import Struct

PerMillion = Annotated[float, Meta(ge=0, le=1_000_000)]
"""US dollars for a million tokens."""


class ModelPrice(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Prices of one model, in US dollars for a million tokens."""

    input: PerMillion
    output: PerMillion
    """0 for an embedder, which gives none."""
    cached: PerMillion | None = None
    """Of input that the provider has in its cache; as other input, if it is not said."""
    cache_write: PerMillion | None = None
    """Of input that the provider puts into its cache; as other input, if it is not said."""
    version: Annotated[str, Meta(min_length=1, max_length=64)] = "configured"
    """Names the prices in the ledger, so that rows tell by which they were made."""
