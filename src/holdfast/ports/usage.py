"""What model calls cost: prices, and questions to the ledger."""

from __future__ import annotations

from typing import Literal, Protocol

from holdfast.model import Cost, Struct, Usage


class Prices(Protocol):
    """Knows what tokens cost, without asking anybody."""

    def cost(self, usage: Usage, at: float) -> Cost | None:
        """Of one call at this time, rounded up; None if no price is known of its model.

        More input, or more output, never costs less.
        """


UsageGroup = Literal["project", "day", "operation", "model", "user", "agent", "app", "run", "key"]
"""What calls may have in common. A day is of UTC, YYYY-MM-DD."""


class UsageQuery(Struct, frozen=True, kw_only=True):
    """Which calls are summed, and how."""

    since: float
    """Calls at this moment and later; epoch seconds."""
    before: float
    by: tuple[UsageGroup, ...] = ()
    """None: all calls together."""
    where: tuple[tuple[UsageGroup, str], ...] = ()
    """Only calls with these values; `day` and `project` are not among them."""


class UsageSum(Struct, frozen=True, kw_only=True):
    """Calls that have the same values of what was asked for."""

    group: tuple[str | None, ...] = ()
    """These values, in the order of `by`; None: the calls have none."""
    calls: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    nano_usd: int = 0
    """Of the calls whose price is known."""
    unpriced: int = 0
    """Calls whose price is not known."""
    saved_nano_usd: int = 0
    """What providers' caches took off the price of the calls."""
    spared_calls: int = 0
    """Calls that were not made, for a cache of ours knew the answer. They are none of `calls`."""
    spared_tokens: int = 0
    """What these would have taken, about."""
    spared_nano_usd: int = 0
    """What they would have cost, of those whose price is known."""
