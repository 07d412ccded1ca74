"""Names in a configuration to the parts they mean; each is imported only when chosen."""

from __future__ import annotations

from holdfast.config import Part
from holdfast.ports import LLM, Embedder

LOCAL_EMBEDDER = "wordllama"


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
