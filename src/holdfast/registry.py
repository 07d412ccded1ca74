"""Names in a configuration to the parts they mean; each is imported only when chosen."""

from __future__ import annotations

from holdfast.config import CACHE, INDEX, LOCAL_EMBEDDER, RECORDS, Config, Part
from holdfast.errors import ConfigError, MissingExtraError
from holdfast.ports import LLM, Embedder, Reranker, Sender


def providers() -> dict[str, list[str]]:
    """The names that `llm` and `embedder` know."""
    from holdfast.backends.models_catalog import PROVIDERS

    llms = [one.name for one in PROVIDERS.values() if one.family != "local"]
    without = ("anthropic", "groq")
    embedders = [one.name for one in PROVIDERS.values() if one.family not in without]
    return {"llm": llms, "embedder": [LOCAL_EMBEDDER, *embedders]}


def check_stores(config: Config) -> None:
    """Refuse stores that nobody has made yet. Raises ConfigError."""
    for name, known in (("records", RECORDS), ("index", INDEX), ("cache", CACHE)):
        provider = getattr(config, name).provider
        if provider != known:
            raise ConfigError(
                f"{name}.provider: there is no {provider[:64]!r}.", hint=f"Known is {known!r}."
            )


def make_embedder(part: Part) -> Embedder:
    """The configured embedder. Raises ConfigError, MissingExtraError, ModelError."""
    if part.provider == LOCAL_EMBEDDER:
        from holdfast.backends.local_embedder import LocalEmbedder

        return LocalEmbedder()
    from holdfast.backends.models import build_embedder

    return build_embedder(part.provider, part.config)


def make_llm(part: Part | None) -> LLM | None:
    """The configured language model, or None. Raises ConfigError, MissingExtraError."""
    if part is None:
        return None
    from holdfast.backends.models import build_llm

    return build_llm(part.provider, part.config)


def make_reranker(part: Part | None, llm: Part | None) -> Reranker | None:
    """The configured reranker, or None; one that asks a language model may ask `llm`.

    Raises ConfigError, MissingExtraError.
    """
    if part is None:
        return None
    from holdfast.backends.rerankers import build_reranker

    return build_reranker(part, llm)


def make_sender(private: bool) -> Sender:
    """What sends to webhooks; `private`: whether to the own network too. MissingExtraError."""
    try:
        from holdfast.backends.webhook_sender import HttpSender
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "Webhooks need the package httpx.", hint="pip install 'holdfast[server]'."
        ) from error
    return HttpSender(private=private)
