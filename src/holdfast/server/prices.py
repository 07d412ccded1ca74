"""What tokens cost, by the price list that comes with pydantic-ai; asks no network."""

from __future__ import annotations

import logging
from functools import lru_cache

from holdfast.model import Usage

_MILLION = 1_000_000
_log = logging.getLogger("holdfast.server")


def price_usd(model: str, kind: str, tokens: float) -> float:
    """US dollars for tokens of a `provider:model`; 0 where the list does not know it.

    `kind` is input, cached (the part of input that the provider had, so told twice) or output.
    """
    return _per_million(model).get(kind, 0.0) * tokens / _MILLION


def usage_usd(usage: Usage) -> float:
    """US dollars for a call; 0 where the list does not know its model."""
    tokens = {
        "input": usage.input_tokens,
        "cached": usage.cached_tokens,
        "output": usage.output_tokens,
    }
    return sum(price_usd(usage.model, kind, amount) for kind, amount in tokens.items() if amount)


@lru_cache(maxsize=256)
def _per_million(model: str) -> dict[str, float]:
    """Dollars for a million tokens of each kind; `cached` is what they cost less than input."""
    try:
        from pydantic_ai.messages import ModelResponse
        from pydantic_ai.usage import RequestUsage
    except ImportError:
        return {}
    provider, _, name = model.partition(":")

    def total(*, input_: int = 0, cached: int = 0, output: int = 0) -> float:
        usage = RequestUsage(input_tokens=input_, cache_read_tokens=cached, output_tokens=output)
        response = ModelResponse(parts=[], usage=usage, model_name=name, provider_name=provider)
        return float(response.cost().total_price)

    try:
        fresh = total(input_=_MILLION)
        cached = total(input_=_MILLION, cached=_MILLION)
        output = total(output=_MILLION)
    except LookupError:
        _log.info("no price is known of a configured model: its tokens count as free")
        return {}
    return {"input": fresh, "cached": cached - fresh, "output": output}
