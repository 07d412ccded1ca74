"""How models of other machines are wrapped, innermost first: budgets, rate, bounds, fallbacks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TypeVar

from msgspec.structs import replace

from holdfast.config import ChosenModel
from holdfast.metrics import Metrics, Part
from holdfast.ports import LLM, BoundLLM, Cache, Embedder, Reranker, Toll
from holdfast.wrap.bounded import BoundedEmbedder, BoundedLLM, BoundedReranker
from holdfast.wrap.budgeted import BudgetedEmbedder, BudgetedLLM
from holdfast.wrap.fallback import FallbackLLM, FallbackReranker
from holdfast.wrap.gate import Bounds, Gate
from holdfast.wrap.pace import ANSWER_TOKENS, Pace, PacedLLM, PacedReranker, Rate

M = TypeVar("M", LLM, BoundLLM, Reranker)

Chosen = tuple[M, ChosenModel]
"""A model, and what was said of its use."""


class Wrapping:
    """Wraps the models of one deployment: those of the same name share one rate."""

    def __init__(
        self, bounds: Bounds, metrics: Metrics, toll: Toll, cache: Cache | None = None
    ) -> None:
        """`toll`: asked before each request. `cache`: where instances that ask the same providers
        share the rates."""
        self._toll = toll
        self.paid: list[str] = []
        """The names of the models that cost something."""
        self._bounds = bounds
        self._metrics = metrics
        self._cache = cache
        self._paces: dict[str, Pace] = {}

    def embedder(self, embedder: Embedder, chosen: ChosenModel) -> BoundedEmbedder:
        """An embedder within bounds; it has no fallback, for no other has its space."""
        name = f"{embedder.space.provider}:{embedder.space.model}"
        self.paid.append(name)
        budgeted = BudgetedEmbedder(embedder, self._toll)
        pace = self._pace("embedder", name, chosen, answer_tokens=0.0)
        return BoundedEmbedder(budgeted, self._bounds, self._gate("embedder", 1), pace)

    def budgeted(self, model: BoundLLM) -> LLM:
        """A language model, asked while budgets have room."""
        if model.name not in self.paid:
            self.paid.append(model.name)
        return BudgetedLLM(model, self._toll)

    def llm(self, models: Sequence[Chosen[BoundLLM]]) -> LLM:
        """The language models of a configuration as one."""
        wrapped: list[LLM] = []
        for model, chosen in models:
            pace = self._pace("llm", model.name, chosen)
            budgeted = self.budgeted(model)
            paced = budgeted if pace is None else PacedLLM(budgeted, pace)
            wrapped.append(BoundedLLM(paced, gate=self._gate("llm", len(models))))
        if len(wrapped) == 1:
            return wrapped[0]
        return FallbackLLM(wrapped, self._noted("llm", "fallback"))

    def reranker(self, models: Sequence[Chosen[Reranker]]) -> Reranker:
        """The rerankers of a configuration as one."""
        wrapped: list[Reranker] = []
        for model, chosen in models:
            pace = self._pace("reranker", model.name, chosen)
            paced = model if pace is None else PacedReranker(model, pace)
            wrapped.append(BoundedReranker(paced, gate=self._gate("reranker", len(models))))
        if len(wrapped) == 1:
            return wrapped[0]
        return FallbackReranker(wrapped, self._noted("reranker", "fallback"))

    def _gate(self, part: Part, among: int) -> Gate:
        """A model among several has its share of the time alone, which must do to tell by."""
        patience_s = min(self._bounds.patience_s, self._bounds.timeout_s / (2 * among))
        return Gate(
            replace(self._bounds, patience_s=patience_s),
            told=partial(self._metrics.called, part),
            noted=partial(self._metrics.count, "call_event", part),
        )

    def _pace(
        self, part: Part, name: str, chosen: ChosenModel, answer_tokens: float = ANSWER_TOKENS
    ) -> Pace | None:
        """The rate of a model; one that was told no rate has that of the model of its name."""
        rate = Rate(
            requests_per_minute=chosen.requests_per_minute,
            tokens_per_minute=chosen.tokens_per_minute,
        )
        if rate == Rate():
            return self._paces.get(name)
        pace = Pace(
            name, rate, self._cache, noted=self._noted(part, "paced"), answer_tokens=answer_tokens
        )
        return self._paces.setdefault(name, pace)

    def _noted(self, part: Part, event: str) -> partial[None]:
        return partial(self._metrics.count, "call_event", part, event)
