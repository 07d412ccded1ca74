"""Language models and remote embedders by Mem0's names: `{"provider": ..., "config": {...}}`.

Settings are checked here, before anything is stored; the library of a provider is imported only
when the provider is chosen. Nothing is called until the first question.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from holdfast.backends.models import catalog, connect
from holdfast.backends.models.catalog import Family, Provider
from holdfast.errors import ConfigError, MissingExtraError
from holdfast.model import Space

if TYPE_CHECKING:
    from pydantic_ai.embeddings import EmbeddingModel
    from pydantic_ai.models import Model

    from holdfast.ports import BoundLLM, Embedder

Config = Mapping[str, Any]

TOKENS_OUT_MAX: Final = 1_000_000
"""Highest `max_tokens` that is not a slip of the pen."""

ANTHROPIC_TOKENS_OUT: Final = 8_192
"""Tokens of an answer unless configured; the API must be told a number."""

DIMENSIONS_MAX: Final = 65_536
"""Highest `embedding_dims` that is not a slip of the pen."""

_STEADY: Final = frozenset({"openai", "azure", "mistral", "groq"})
"""Families whose models take a temperature of 0, which extraction wants."""


def build_llm(provider: str, config: Config) -> BoundLLM:
    """The language model a configuration names.

    Raises ConfigError for an unknown provider or key, a missing model or credential;
    MissingExtraError if the provider's library is not installed.
    """
    from holdfast.backends.models.llm import PydanticLLM

    row = catalog.find_provider(provider)
    if row.family == "local":
        raise ConfigError(f"{row.name} gives embeddings only, no language model.")
    catalog.check_keys(row, config, catalog.LLM_KEYS)
    model_name = catalog.model_name(row, config, row.llm)
    wanted = _wanted(row, config)
    with _needs_extra(row, row.family):
        import pydantic_ai.direct  # noqa: F401  (here, or the first question waits for it)

        model, close = connect.CHAT[row.family](row, config, model_name)
    settings = _settings(row, wanted, model)
    timed = row.family != "bedrock"
    return PydanticLLM(
        f"{row.name}:{model_name}",
        model,
        settings,
        close,
        timed=timed,
        address=_address(model, config),
    )


def build_embedder(provider: str, config: Config) -> Embedder:
    """The embedder a configuration names; errors as `build_llm`."""
    row = catalog.find_provider(provider)
    catalog.check_keys(row, config, catalog.EMBEDDER_KEYS)
    model_name = catalog.model_name(row, config, row.embedder)
    if row.family == "local" and not catalog.base_url(row, config):
        return _sentence_embedder(row, config, model_name)
    if row.family in {"anthropic", "groq"}:
        raise ConfigError(f"{row.name} offers no embeddings.", hint="Choose another embedder.")
    from holdfast.backends.models.embed import PydanticEmbedder

    dimensions, resize = _dimensions(row, config, model_name)
    served: Family = "openai" if row.family == "local" else row.family
    with _needs_extra(row, served):
        model, close = connect.EMBED[served](row, config, model_name)
    return PydanticEmbedder(
        Space(provider=row.name, model=model_name, dimensions=dimensions),
        model,
        close,
        tokens_max=catalog.TOKENS_MAX.get(_bare(model_name), catalog.TOKENS_MAX_UNKNOWN),
        resize=resize,
        address=_address(model, config),
    )


def _address(model: Model | EmbeddingModel, config: Config) -> str | None:
    """Where a model is asked; None if a proxy of its own stands before it."""
    return None if config.get("http_client_proxies") else model.base_url


@contextmanager
def _needs_extra(row: Provider, family: Family) -> Iterator[None]:
    """Name the extra that brings what could not be imported."""
    try:
        yield
    except ImportError as error:
        extra = catalog.EXTRAS[family]
        raise MissingExtraError(
            f"{row.name} needs an optional package that is not installed.",
            hint=f"Run: pip install 'holdfast[{extra}]'",
        ) from error


def _wanted(row: Provider, config: Config) -> dict[str, Any]:
    """The settings of an answer, checked; None where the configuration says nothing."""
    effort = catalog.text(row, config, "reasoning_effort") or None
    if effort not in {None, "none", "minimal", "low", "medium", "high", "xhigh"}:
        raise ConfigError(f"{row.name}: reasoning_effort must be low, medium or high.")
    return {
        "temperature": catalog.number(row, config, "temperature", 0, 2),
        "top_p": catalog.number(row, config, "top_p", 0, 1),
        "top_k": catalog.whole(row, config, "top_k", 1_000),
        "max_tokens": catalog.whole(row, config, "max_tokens", TOKENS_OUT_MAX),
        "reasoning_effort": effort,
        "is_reasoning_model": config.get("is_reasoning_model"),
        "store": config.get("store"),
    }


def _settings(row: Provider, wanted: Mapping[str, Any], model: Model) -> dict[str, Any]:
    """Settings in the library's names, without those the model is known to refuse."""
    settings: dict[str, Any] = {
        "max_tokens": wanted["max_tokens"],
        "framing_announcement": "never",  # the library would add text to ours
    }
    if row.family == "anthropic" and settings["max_tokens"] is None:
        settings["max_tokens"] = ANTHROPIC_TOKENS_OUT
    reasons = wanted["is_reasoning_model"]
    profile: Mapping[str, Any] = dict(model.profile)
    if reasons is None:
        reasons = bool(profile.get("openai_supports_reasoning"))
    if not reasons:
        settings |= {key: wanted[key] for key in ("temperature", "top_p")}
        if row.family in {"anthropic", "google", "bedrock"}:
            settings["top_k"] = wanted["top_k"]
        if settings["temperature"] is None and row.family in _STEADY:
            settings["temperature"] = 0.0
    openai = row.family in {"openai", "azure"}
    settings["openai_reasoning_effort" if openai else "thinking"] = wanted["reasoning_effort"]
    if openai:
        settings["openai_store"] = wanted["store"]
    if row.family in {"anthropic", "bedrock"}:
        settings["cache"] = {"messages": False}  # the system text, which never changes
    if row.family in {"anthropic", "groq"}:
        settings["max_retries"] = 0  # the bounded wrapper retries, once, for all providers
    return {key: value for key, value in settings.items() if value is not None}


def _dimensions(row: Provider, config: Config, model_name: str) -> tuple[int, bool]:
    """Dimensions of the space, and whether the model must be asked for them."""
    wanted = catalog.whole(row, config, "embedding_dims", DIMENSIONS_MAX)
    wanted = wanted or catalog.whole(row, config, "output_dimensionality", DIMENSIONS_MAX)
    native = catalog.DIMENSIONS.get(_bare(model_name))
    if wanted is None and native is None:
        raise ConfigError(
            f"how many dimensions {row.name}:{model_name} gives is not known.",
            hint='Set "embedding_dims" in its config.',
        )
    if wanted in {None, native}:
        return native or 0, False
    resizable = _bare(model_name) in catalog.RESIZABLE
    if native is not None and (not resizable or (wanted or 0) > native):
        raise ConfigError(
            f"{row.name}:{model_name} gives {native} dimensions, not {wanted}.",
            hint='Correct "embedding_dims" in its config.',
        )
    return wanted or 0, resizable


def _bare(model_name: str) -> str:
    """A model's name without the tag that Ollama adds."""
    return model_name.removesuffix(":latest")


def _sentence_embedder(row: Provider, config: Config, model_name: str) -> Embedder:
    """A sentence-transformers model in this process; the library may fetch a model by its name."""
    from holdfast.backends.models.embed import SentenceEmbedder

    options = config.get("model_kwargs") or {}
    if not isinstance(options, Mapping):
        raise ConfigError(f"{row.name}: model_kwargs must be a table.")
    with _needs_extra(row, "local"):
        from sentence_transformers import SentenceTransformer
    try:
        encoder = SentenceTransformer(model_name, **options)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(
            f"the model {model_name!r} cannot be loaded.",
            hint="Name a folder, or a model that was fetched before.",
        ) from error
    given = len(encoder.encode(["dimensions"], show_progress_bar=False)[0])
    wanted = catalog.whole(row, config, "embedding_dims", DIMENSIONS_MAX) or given
    if wanted != given:
        raise ConfigError(f"{model_name!r} gives {given} dimensions, not {wanted}.")
    return SentenceEmbedder(Space(provider=row.name, model=model_name, dimensions=given), encoder)
