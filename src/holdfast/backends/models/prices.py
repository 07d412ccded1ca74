"""Prices of tokens: those of the configuration, then the list of the package genai-prices.

The list comes with the package and is as new as the package is; it is never fetched.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from holdfast.config import ModelPrice
from holdfast.core.pricing import configured_cost, consistent, nano_of
from holdfast.model import Cost, Usage

_OWN_MACHINES: Final = ("ollama", "lmstudio", "vllm")
_KNOWN_MAX: Final = 1_024
_log = logging.getLogger("holdfast")


class ListPrices:
    """`ports.Prices` by `provider:model`."""

    def __init__(self, configured: Mapping[str, ModelPrice]) -> None:
        self._configured = configured
        self._unknown: set[str] = set()
        self._version = ""

    def load(self, models: Iterable[str]) -> None:
        """Read the list, which takes a while, and say in the log which models it does not know.

        Models that run on machines of one's own have no price: that is no warning.
        """
        for model in models:
            if self.cost(Usage(model=model, input_tokens=1), 0.0) is None:
                own = model.partition(":")[0] in _OWN_MACHINES
                _log.log(
                    logging.INFO if own else logging.WARNING,
                    "no price is known of %s: its calls are not counted in money"
                    " (`prices` in the configuration can tell it)",
                    model,
                )

    def cost(self, usage: Usage, at: float) -> Cost | None:
        price = self._configured.get(usage.model)
        if price is not None:
            return configured_cost(price, usage)
        if usage.model in self._unknown:
            return None
        usd = self._listed(consistent(usage), at)
        if usd is None:
            if len(self._unknown) < _KNOWN_MAX:
                self._unknown.add(usage.model)
            return None
        return Cost(nano_usd=nano_of(usd), version=self._version)

    def _listed(self, usage: Usage, at: float) -> Decimal | None:
        try:
            import genai_prices
        except ImportError:  # no model of others without the package that brings it
            return None
        self._version = f"genai-prices {genai_prices.__version__}"
        provider, _, name = usage.model.partition(":")
        tokens = genai_prices.Usage(
            input_tokens=usage.input_tokens,
            cache_read_tokens=usage.cached_tokens,
            cache_write_tokens=usage.cache_write_tokens,
            output_tokens=usage.output_tokens,
        )
        moment = datetime.fromtimestamp(at, UTC)
        try:
            found = genai_prices.calc_price(
                tokens, name, provider_id=provider, genai_request_timestamp=moment
            )
        except LookupError:
            return None
        return found.total_price
