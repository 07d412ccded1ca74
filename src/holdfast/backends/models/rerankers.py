"""Rerankers by Mem0's names: one that asks a language model, and cross-encoders in this process.

Settings are checked here; the library of a reranker is imported only when it is chosen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Protocol

from holdfast.backends.models import catalog
from holdfast.backends.models.catalog import Provider
from holdfast.backends.models.endpoints import Addressed
from holdfast.backends.models.providers import TOKENS_OUT_MAX, build_llm
from holdfast.config import Part
from holdfast.config.faults import nearest
from holdfast.core.rerank import CRITERIA_CHARS_MAX, build_prompt, parse_scores
from holdfast.errors import (
    BadAnswerError,
    ConfigError,
    MissingExtraError,
    ModelRefusedError,
    ModelUnavailableError,
)
from holdfast.limits import RERANK_BATCH_MAX
from holdfast.ports import LLM, BoundLLM, Ranking

Config = Mapping[str, Any]

OFFERED: Final = ("llm_reranker", "sentence_transformer", "huggingface")

_LLM: Final = Provider(name="llm_reranker")
_MANNERS: Final = frozenset(
    {"temperature", "max_tokens", "top_p", "reasoning_effort", "top_k", "scoring_prompt"}
)
"""Settings of an `llm_reranker` that say how to answer; any other names a model of its own."""

_ENCODER_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "sentence_transformer": ("model", "device", "batch_size", "show_progress_bar", "top_k"),
    "huggingface": ("model", "device", "batch_size", "max_length", "normalize", "top_k"),
}
_PAIRS_AT_ONCE: Final = 32  # Mem0's choice
_PAIRS_AT_ONCE_MAX: Final = 1_024
_TOKENS_MAX: Final = 65_536
_RESULTS_MAX: Final = 1_000_000


def build_reranker(
    part: Part, llm: Part | None, around: Callable[[BoundLLM], LLM] = lambda model: model
) -> LLMReranker | CrossEncoderReranker:
    """The reranker a configuration names; an `llm_reranker` without a model of its own asks `llm`.

    `around` is put around the language model. Mem0's `top_k` is accepted and, as in Mem0, gives way
    to the `top_k` of each search.

    Raises ConfigError for an unknown name or key or a missing model; MissingExtraError.
    """
    name = part.provider.strip().lower()
    config = {key: value for key, value in part.config.items() if value is not None}
    row = Provider(name=name, family="local")
    if name not in OFFERED:
        raise ConfigError(
            f"the reranker {part.provider[:64]!r} is not offered.",
            hint=f"Choose one of {', '.join(OFFERED)}.",
        )
    catalog.whole(row, config, "top_k", _RESULTS_MAX)
    if name == _LLM.name:
        return _llm_reranker(config, llm, around)
    return _cross_encoder(row, config)


def _llm_reranker(
    config: Config, llm: Part | None, around: Callable[[BoundLLM], LLM]
) -> LLMReranker:
    criteria = catalog.text(_LLM, config, "scoring_prompt") or None
    if criteria is not None and len(criteria) > CRITERIA_CHARS_MAX:
        raise ConfigError(
            f"llm_reranker: scoring_prompt is longer than {CRITERIA_CHARS_MAX:,} characters.",
            hint="Shorten it.",
        )
    chosen = _chosen_llm(config, llm)
    model = build_llm(chosen.provider, chosen.config)
    return LLMReranker(around(model), criteria)


def _chosen_llm(config: Config, llm: Part | None) -> Part:
    """The language model to ask: the reranker's own, else the configured one, else Mem0's default.

    The reranker's settings go before those of the configured one, but yield, as in Mem0, to those
    of a nested `llm`.
    """
    own = ("provider", "llm", "top_k", "scoring_prompt")
    given = {key: value for key, value in config.items() if key not in own}
    if llm is not None and config.keys() <= _MANNERS:
        return Part(llm.provider, _with_room({**_without_bound(llm.config), **given}))
    provider, nested = _nested(config.get("llm"))
    provider = provider or config.get("provider") or "openai"
    if not isinstance(provider, str):
        raise ConfigError("llm_reranker: provider must be text.")
    return Part(provider, _with_room({**given, **nested}))


def _nested(llm: Any) -> tuple[Any, Config]:
    """Provider and settings of a model that is written out, as `llm` is elsewhere."""
    if llm is None:
        return None, {}
    config = llm.get("config") if isinstance(llm, Mapping) else llm
    if not isinstance(config, Mapping | None):
        raise ConfigError("llm_reranker: llm must be a table of provider and config.")
    for key in llm:
        if key not in ("provider", "config"):
            hint = nearest(key, ("provider", "config"))
            raise ConfigError(f"llm_reranker: llm has no setting {str(key)[:64]!r}.", hint=hint)
    return llm.get("provider"), config or {}


def _without_bound(config: Config) -> dict[str, Any]:
    """Settings of a model that was bounded for other answers."""
    return {key: value for key, value in config.items() if key != "max_tokens"}


def _with_room(config: dict[str, Any]) -> dict[str, Any]:
    """Mem0 asks once for each memory; `max_tokens`, meant for one score, must do for all here."""
    bound = catalog.whole(_LLM, config, "max_tokens", TOKENS_OUT_MAX)
    if bound is None:
        return config
    return {**config, "max_tokens": min(bound * RERANK_BATCH_MAX, TOKENS_OUT_MAX)}


class LLMReranker:
    """Asks a language model for all scores in one question.

    An answer that cannot be used is not asked for again: the search has an order without it.
    """

    def __init__(self, llm: LLM, criteria: str | None = None) -> None:
        """`criteria`: the operator's rules for scores."""
        self.name = llm.name
        self.address = llm.address if isinstance(llm, Addressed) else None
        self._llm = llm
        self._criteria = criteria

    def __repr__(self) -> str:
        return f"LLMReranker({self.name!r})"

    async def rerank(self, query: str, texts: Sequence[str], *, timeout_s: float) -> Ranking:
        """One call; see `ports.Reranker`."""
        prompt = build_prompt(query, texts, self._criteria)
        answer = await self._llm.complete(
            prompt.system, prompt.user, schema=prompt.schema, timeout_s=timeout_s
        )
        try:
            scores = parse_scores(answer.text, len(texts))
        except BadAnswerError as error:
            raise BadAnswerError(f"{self.name}: {error.message}.", usage=answer.usage) from None
        return Ranking(scores=scores, usage=answer.usage)

    async def close(self) -> None:
        """Close the model. Idempotent."""
        await self._llm.close()


class Encoder(Protocol):
    """What is used of `sentence_transformers.CrossEncoder`."""

    def predict(self, sentences: list[tuple[str, str]], **options: Any) -> Any:
        """One number for each pair."""


def _cross_encoder(row: Provider, config: Config) -> CrossEncoderReranker:
    """A cross-encoder in this process; the library may fetch a model by its name."""
    known = _ENCODER_KEYS[row.name]
    for key in config:
        if key not in known:
            raise ConfigError(f"{row.name} has no setting {key[:64]!r}.", hint=nearest(key, known))
    if config.get("normalize") is False:
        raise ConfigError(f"{row.name}: scores are always in 0..1.", hint='Remove "normalize".')
    model = catalog.model_name(row, config, "")
    device = catalog.text(row, config, "device") or None
    tokens_max = catalog.whole(row, config, "max_length", _TOKENS_MAX)
    at_once = catalog.whole(row, config, "batch_size", _PAIRS_AT_ONCE_MAX) or _PAIRS_AT_ONCE
    try:
        from sentence_transformers import CrossEncoder
    except ImportError as error:
        raise MissingExtraError(
            f"{row.name} needs an optional package that is not installed.",
            hint="Run: pip install 'holdfast[sentence-transformers]'",
        ) from error
    try:
        # Some models come with an activation of their own, some with none: one for all.
        encoder = CrossEncoder(model, device=device, max_length=tokens_max, activation_fn=_sigmoid)
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        raise ConfigError(
            f"the model {model!r} cannot be loaded.",
            hint="Name a folder, or a model that was fetched before.",
        ) from error
    return CrossEncoderReranker(f"{row.name}:{model}", encoder, at_once)


def _sigmoid(logits: Any) -> Any:
    return logits.sigmoid()


class CrossEncoderReranker:
    """A cross-encoder in this process, on a thread of its own."""

    def __init__(self, name: str, encoder: Encoder, at_once: int = _PAIRS_AT_ONCE) -> None:
        """`encoder` gives numbers in 0..1; `at_once`: pairs in one pass of it."""
        self.name = name
        self._encoder = encoder
        self._at_once = at_once
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="holdfast-reranker")

    def __repr__(self) -> str:
        return f"CrossEncoderReranker({self.name!r})"

    async def rerank(self, query: str, texts: Sequence[str], *, timeout_s: float) -> Ranking:
        """Scores at no cost; see `ports.Reranker`. What takes too long goes on unheard."""
        pairs = [(query, text) for text in texts]
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout_s):
                scores = await loop.run_in_executor(self._threads, self._scores, pairs)
        except TimeoutError:
            raise ModelUnavailableError(f"{self.name} did not answer in time.") from None
        return Ranking(scores=scores)

    async def close(self) -> None:
        """End the thread. Idempotent."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _scores(self, pairs: list[tuple[str, str]]) -> tuple[float, ...]:
        import numpy as np

        if not pairs:
            return ()
        try:
            values = self._encoder.predict(pairs, batch_size=self._at_once, show_progress_bar=False)
        except RuntimeError as error:
            kind = type(error).__name__
            raise ModelRefusedError(f"{self.name} failed ({kind}).") from None
        scores = np.asarray(values, dtype=np.float64)
        if scores.shape != (len(pairs),) or not ((scores >= 0) & (scores <= 1)).all():
            raise BadAnswerError(
                f"{self.name} does not give one score in 0..1 for each text.",
                hint="Name a cross-encoder made for ranking.",
            )
        return tuple(scores.tolist())
