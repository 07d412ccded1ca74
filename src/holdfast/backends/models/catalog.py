"""The model providers Holdfast knows, under Mem0's names, and how their configuration is read.

A provider is data: which library speaks to it, where it lives, which environment variables hold
its credentials, which keys its configuration takes.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from holdfast.errors import ConfigError
from holdfast.model import Struct

Family = Literal["openai", "azure", "anthropic", "google", "bedrock", "mistral", "groq", "local"]
"""The kind of API: `openai` stands for every OpenAI-compatible server, `local` for no server."""

EXTRAS: Final[Mapping[Family, str]] = {
    "openai": "models",
    "azure": "models",
    "anthropic": "anthropic",
    "google": "google",
    "bedrock": "bedrock",
    "mistral": "mistral",
    "groq": "groq",
    "local": "sentence-transformers",
}
"""Which extra of the package brings the library of a family."""


class Provider(Struct, frozen=True, kw_only=True):
    """One provider of models."""

    name: str
    family: Family = "openai"
    base_url: str = ""
    """Where it lives unless configured; empty where the library knows."""
    url_env: tuple[str, ...] = ()
    key_env: tuple[str, ...] = ()
    key_needed: bool = True
    llm: str = ""
    """Model used if none is named, Mem0's choice; empty: one must be named."""
    embedder: str = ""
    library: str = "pydantic_ai.providers.openai_compatible:OpenAICompatibleProvider"
    """Class with what the library knows of the service, for the openai family."""

    @property
    def url_keys(self) -> tuple[str, ...]:
        """Configuration keys that may hold the base URL."""
        return (f"{self.name}_base_url", "openai_base_url", "base_url")


_LIBRARY: Final = "pydantic_ai.providers."

_ALL: Final = (
    Provider(
        name="openai", url_env=("OPENAI_BASE_URL", "OPENAI_API_BASE"), key_env=("OPENAI_API_KEY",),
        base_url="https://api.openai.com/v1", llm="gpt-5-mini", embedder="text-embedding-3-small",
        library=_LIBRARY + "openai:OpenAIProvider",
    ),
    Provider(
        name="azure_openai", family="azure", llm="gpt-5-mini", embedder="text-embedding-3-small",
        key_env=("LLM_AZURE_OPENAI_API_KEY", "EMBEDDING_AZURE_OPENAI_API_KEY",
                 "AZURE_OPENAI_API_KEY"),
    ),
    Provider(
        name="anthropic", family="anthropic", llm="claude-sonnet-4-6",
        url_env=("ANTHROPIC_BASE_URL",), key_env=("ANTHROPIC_API_KEY",),
    ),
    Provider(
        name="gemini", family="google", key_env=("GOOGLE_API_KEY", "GEMINI_API_KEY"),
        llm="gemini-2.0-flash", embedder="gemini-embedding-001",
    ),
    Provider(
        name="vertexai", family="google", key_needed=False,
        llm="gemini-2.0-flash", embedder="gemini-embedding-001",
    ),
    Provider(
        name="aws_bedrock", family="bedrock", key_needed=False,
        llm="anthropic.claude-3-5-sonnet-20240620-v1:0", embedder="amazon.titan-embed-text-v1",
    ),
    Provider(name="mistral", family="mistral", key_env=("MISTRAL_API_KEY",)),
    Provider(
        name="groq", family="groq", key_env=("GROQ_API_KEY",), llm="llama-3.3-70b-versatile"
    ),
    Provider(
        name="ollama", base_url="http://localhost:11434/v1", url_env=("OLLAMA_BASE_URL",),
        key_env=("OLLAMA_API_KEY",), key_needed=False, llm="llama3.1:70b",
        embedder="nomic-embed-text", library=_LIBRARY + "ollama:OllamaProvider",
    ),
    Provider(name="lmstudio", base_url="http://localhost:1234/v1", key_needed=False),
    Provider(
        name="vllm", base_url="http://localhost:8000/v1", url_env=("VLLM_BASE_URL",),
        key_env=("VLLM_API_KEY",), key_needed=False, llm="Qwen/Qwen2.5-32B-Instruct",
        library=_LIBRARY + "vllm:VLLMProvider",
    ),
    Provider(
        name="deepseek", base_url="https://api.deepseek.com", url_env=("DEEPSEEK_API_BASE",),
        key_env=("DEEPSEEK_API_KEY",), llm="deepseek-chat",
        library=_LIBRARY + "deepseek:DeepSeekProvider",
    ),
    Provider(
        name="openrouter", base_url="https://openrouter.ai/api/v1",
        url_env=("OPENROUTER_API_BASE",), key_env=("OPENROUTER_API_KEY",),
        library=_LIBRARY + "openrouter:OpenRouterProvider",
    ),
    Provider(
        name="together", base_url="https://api.together.xyz/v1", key_env=("TOGETHER_API_KEY",),
        embedder="intfloat/multilingual-e5-large-instruct",
        library=_LIBRARY + "together:TogetherProvider",
    ),
    Provider(
        name="xai", base_url="https://api.x.ai/v1", url_env=("XAI_API_BASE",),
        key_env=("XAI_API_KEY",), llm="grok-4.3",
    ),
    Provider(
        name="minimax", base_url="https://api.minimax.io/v1", url_env=("MINIMAX_API_BASE",),
        key_env=("MINIMAX_API_KEY",), llm="MiniMax-M2.7",
    ),
    Provider(
        name="sarvam", base_url="https://api.sarvam.ai/v1", url_env=("SARVAM_API_BASE",),
        key_env=("SARVAM_API_KEY",), llm="sarvam-m",
    ),
    Provider(
        name="litellm", base_url="http://localhost:4000", url_env=("LITELLM_BASE_URL",),
        key_env=("LITELLM_API_KEY",), key_needed=False,
    ),
    Provider(
        name="huggingface", family="local", key_needed=False, key_env=("HUGGINGFACE_API_KEY",),
        embedder="multi-qa-MiniLM-L6-cos-v1",
    ),
)  # fmt: skip

_ALIASES: Final = {
    "openai_structured": "openai",
    "openai_compatible": "openai",
    "azure": "azure_openai",
    "azure_openai_structured": "azure_openai",
    "google": "gemini",
    "bedrock": "aws_bedrock",
    "sentence_transformers": "huggingface",
    "sentence-transformers": "huggingface",
}

PROVIDERS: Final = {provider.name: provider for provider in _ALL}

_SHARED_KEYS: Final = ("model", "api_key", "http_client_proxies", "azure_kwargs")
_CLOUD_KEYS: Final[Mapping[Family, tuple[str, ...]]] = {
    "google": ("vertexai", "project", "location", "vertex_credentials_json"),
    "bedrock": (
        "aws_access_key_id", "aws_secret_access_key", "aws_session_token", "aws_region",
        "aws_profile",
    ),
    "local": ("model_kwargs",),
}  # fmt: skip
LLM_KEYS: Final = (
    "temperature", "max_tokens", "top_p", "top_k", "reasoning_effort", "is_reasoning_model",
    "store", "enable_vision", "vision_details",
)  # fmt: skip
EMBEDDER_KEYS: Final = (
    "embedding_dims", "output_dimensionality", "memory_add_embedding_type",
    "memory_update_embedding_type", "memory_search_embedding_type",
)  # fmt: skip

_OPENROUTER: Final = 'Leave it out, and choose the provider "openrouter".'
_INSTEAD: Final[Mapping[str, str]] = {
    "openrouter_base_url": _OPENROUTER,
    "models": _OPENROUTER,
    "route": _OPENROUTER,
    "site_url": _OPENROUTER,
    "app_name": _OPENROUTER,
    "lmstudio_response_format": "Leave it out: every question asks for the form it needs.",
    "response_callback": "Leave it out: `holdfast usage` and the metrics tell of every call.",
}
"""What to do in place of settings that Mem0's providers have."""

DIMENSIONS: Final[Mapping[str, int]] = {
    "text-embedding-3-small": 1536,
    "text-embedding-3-large": 3072,
    "text-embedding-ada-002": 1536,
    "nomic-embed-text": 768,
    "mxbai-embed-large": 1024,
    "all-minilm": 384,
    "bge-m3": 1024,
    "gemini-embedding-001": 3072,
    "text-embedding-004": 768,
    "amazon.titan-embed-text-v1": 1536,
    "amazon.titan-embed-text-v2:0": 1024,
    "cohere.embed-english-v3": 1024,
    "cohere.embed-multilingual-v3": 1024,
    "intfloat/multilingual-e5-large-instruct": 1024,
    "mistral-embed": 1024,
}
"""What known embedding models give when no other number of dimensions is asked for."""

RESIZABLE: Final = frozenset(
    {
        "text-embedding-3-small",
        "text-embedding-3-large",
        "gemini-embedding-001",
        "amazon.titan-embed-text-v2:0",
    }
)
"""Models that give fewer dimensions on request."""

TOKENS_MAX: Final[Mapping[str, int]] = {
    "text-embedding-3-small": 8191,
    "text-embedding-3-large": 8191,
    "text-embedding-ada-002": 8191,
    "bge-m3": 8192,
    "amazon.titan-embed-text-v1": 8192,
    "amazon.titan-embed-text-v2:0": 8192,
    "all-minilm": 256,
    "mxbai-embed-large": 512,
    "cohere.embed-english-v3": 512,
    "cohere.embed-multilingual-v3": 512,
    "intfloat/multilingual-e5-large-instruct": 512,
}
"""Tokens known embedding models take at once."""

TOKENS_MAX_UNKNOWN: Final = 2000
"""Tokens of one text given to an embedding model whose limit is not known."""


def find_provider(name: str) -> Provider:
    """A provider by Mem0's name or an alias. Raises ConfigError naming the nearest one."""
    wanted = str(name).strip().lower()
    found = PROVIDERS.get(_ALIASES.get(wanted, wanted))
    if found is None:
        known = [*PROVIDERS, *_ALIASES]
        hint = _nearest(wanted, known, likeness=0.6)
        raise ConfigError(f"no model provider is called {name!r}.", hint=hint)
    return found


def check_keys(provider: Provider, config: Mapping[str, Any], more: Iterable[str]) -> None:
    """Refuse keys the provider does not take, with a ConfigError that names the nearest one."""
    known = (
        *_SHARED_KEYS, *_CLOUD_KEYS.get(provider.family, ()), *provider.url_keys, *more,
    )  # fmt: skip
    for key in config:
        if key not in known:
            hint = _INSTEAD.get(key) or _nearest(str(key), known)
            raise ConfigError(f"{provider.name} has no setting {key!r}.", hint=hint)
    if config.get("enable_vision"):
        raise ConfigError(f"{provider.name}: enable_vision is not offered.", hint="Remove it.")


def text(provider: Provider, config: Mapping[str, Any], key: str) -> str:
    """A text setting, empty if it is not given. Raises ConfigError if it is something else."""
    value = config.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        kind = type(value).__name__
        raise ConfigError(f"{provider.name}: {key} must be text, not {kind}.")
    return value.strip()


def number(
    provider: Provider, config: Mapping[str, Any], key: str, low: float, high: float
) -> float | None:
    """A number in a range, or None. Raises ConfigError for anything else."""
    value = config.get(key)
    if value is None:
        return None
    good = isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high
    if not good:
        raise ConfigError(f"{provider.name}: {key} must be a number from {low:g} to {high:g}.")
    return float(value)


def whole(provider: Provider, config: Mapping[str, Any], key: str, high: int) -> int | None:
    """A whole number from 1 to `high`, or None. Raises ConfigError for anything else."""
    value = number(provider, config, key, 1, high)
    if value is not None and value != int(value):
        raise ConfigError(f"{provider.name}: {key} must be a whole number.")
    return None if value is None else int(value)


def model_name(provider: Provider, config: Mapping[str, Any], default: str) -> str:
    """The model to use. Raises ConfigError if none is named and the provider has no default."""
    name = text(provider, config, "model") or default
    if not name:
        raise ConfigError(f"{provider.name} needs a model.", hint='Set "model" in its config.')
    return name.removeprefix("models/") if provider.family == "google" else name


def base_url(provider: Provider, config: Mapping[str, Any]) -> str:
    """Where the provider lives: configuration, then environment, then its own address."""
    chosen = next((url for key in provider.url_keys if (url := text(provider, config, key))), "")
    url = (chosen or _from_env(provider.url_env) or provider.base_url).rstrip("/")
    parts = urlsplit(url)
    if url and (parts.scheme not in {"http", "https"} or not parts.netloc):
        raise ConfigError(f"{provider.name}: the base URL must begin with http:// or https://.")
    return f"{url}/v1" if provider.name == "ollama" and not url.endswith("/v1") else url


def api_key(provider: Provider, config: Mapping[str, Any], *, needed: bool) -> str:
    """The credential, from the configuration or the environment; it may be empty if not `needed`.

    Raises ConfigError that names the variable to set.
    """
    key = text(provider, config, "api_key") or _from_env(provider.key_env)
    if not key and needed:
        variable = provider.key_env[0] if provider.key_env else ""
        raise ConfigError(
            f"{provider.name} needs an API key.",
            hint=f'Set "api_key" in its config or the environment variable {variable}.',
        )
    return key


def own_address(provider: Provider, url: str) -> bool:
    """Whether `url` is the provider's own service and not a compatible server elsewhere."""
    return url == provider.base_url


def _from_env(names: Iterable[str]) -> str:
    return next((value for name in names if (value := os.environ.get(name, "").strip())), "")


def _nearest(wanted: str, known: Iterable[str], likeness: float = 0.5) -> str:
    names = sorted(set(known))
    close = difflib.get_close_matches(wanted, names, n=1, cutoff=likeness)
    return f"Did you mean {close[0]!r}?" if close else f"Known are: {', '.join(names)}."
