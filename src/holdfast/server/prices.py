"""What tokens cost, by the price list that comes with pydantic-ai; asks no network."""

from __future__ import annotations

import logging
from functools import lru_cache

_MILLION = 1_000_000
_log = logging.getLogger("holdfast.server")


def price_usd(model: str, kind: str, tokens: float) -> float:
    """US dollars for tokens of a `provider:model`; 0 where the list does not know it.

    `kind` is input, cached (the part of input that the provider had, so told twice) or output.
    """
    prices = _per_million(model)
    return prices.get(kind, 0.0) * tokens / _MILLION


@lru_cache(maxsize=256)
def _per_million(model: str) -> dict[str, float]:
    """Dollars for a million tokens of each kind; `cached` is what they cost less than input."""
    try:
        from genai_prices import Usage, calc_price
    except ImportError:
        return {}
    provider, _, name = model.partition(":")

    def total(usage: Usage) -> float:
        return float(calc_price(usage, name, provider_id=provider).total_price)

    try:
        fresh = total(Usage(input_tokens=_MILLION))
        cached = total(Usage(input_tokens=_MILLION, cache_read_tokens=_MILLION))
        output = total(Usage(output_tokens=_MILLION))
    except LookupError:
        _log.info("no price is known of the model %s", model)
        return {}
    return {"input": fresh, "cached": cached - fresh, "output": output}
