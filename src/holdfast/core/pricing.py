"""Prices of tokens as whole numbers, and the most that a call can cost."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import ROUND_CEILING, Decimal
from typing import Final

from msgspec.structs import replace

from holdfast.config import ModelPrice
from holdfast.model import Cost, Usage
from holdfast.ports import Prices

NANO: Final = 1_000_000_000
"""Of the unit of money in one US dollar."""

_PER_MILLION: Final = Decimal(NANO) / 1_000_000


def nano_of(usd: Decimal) -> int:
    """Billionths of a US dollar, rounded up: what is counted is never less than what is paid."""
    return max(0, int((usd * NANO).to_integral_value(ROUND_CEILING)))


def usd_of(nano: int) -> float:
    """US dollars, to be shown."""
    return nano / NANO


def configured_cost(price: ModelPrice, usage: Usage) -> Cost:
    """What a call costs by prices of the configuration."""
    usage = consistent(usage)
    fresh = usage.input_tokens - usage.cached_tokens - usage.cache_write_tokens
    cached = price.input if price.cached is None else price.cached
    written = price.input if price.cache_write is None else price.cache_write
    amounts = (
        (fresh, price.input),
        (usage.cached_tokens, cached),
        (usage.cache_write_tokens, written),
        (usage.output_tokens, price.output),
    )
    nano = sum(tokens * Decimal(repr(each)) for tokens, each in amounts) * _PER_MILLION
    return Cost(nano_usd=int(Decimal(nano).to_integral_value(ROUND_CEILING)), version=price.version)


def consistent(usage: Usage) -> Usage:
    """The same, with parts of the input that are not more than the whole, and nothing below 0."""
    whole = max(0, usage.input_tokens)
    cached = min(max(0, usage.cached_tokens), whole)
    written = min(max(0, usage.cache_write_tokens), whole - cached)
    return replace(
        usage,
        input_tokens=whole,
        cached_tokens=cached,
        cache_write_tokens=written,
        output_tokens=max(0, usage.output_tokens),
    )


def saved_by_provider(prices: Prices, usage: Usage, at: float) -> int:
    """What a call would have cost more, had the provider had nothing of its input in its cache;
    billionths of a US dollar. What putting something there costs is in the price, not taken off."""
    if not usage.cached_tokens:
        return 0
    cost, plain = prices.cost(usage, at), prices.cost(replace(usage, cached_tokens=0), at)
    return 0 if cost is None or plain is None else max(0, plain.nano_usd - cost.nano_usd)


def worst_cost(prices: Prices, usage: Usage, at: float) -> Cost | None:
    """The most that a call of so many tokens can cost, whatever part of its input the provider
    takes from its cache or puts there; None if no price is known."""
    costs = [prices.cost(each, at) for each in _ways(usage)]
    known = [cost for cost in costs if cost is not None]
    return max(known, key=lambda cost: cost.nano_usd) if len(known) == len(costs) else None


def _ways(usage: Usage) -> Iterator[Usage]:
    """A price is linear in the parts of the input, so that one of the extremes is the highest."""
    plain = replace(usage, cached_tokens=0, cache_write_tokens=0)
    yield plain
    yield replace(plain, cached_tokens=plain.input_tokens)
    yield replace(plain, cache_write_tokens=plain.input_tokens)


class Unpriced:
    """`ports.Prices` that know nothing."""

    def cost(self, _usage: Usage, _at: float) -> Cost | None:
        return None
