"""How each family of providers is reached: the library's model object and how to close it."""

from __future__ import annotations

import importlib
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from holdfast import limits
from holdfast.backends.models import catalog
from holdfast.backends.models.catalog import Family, Provider
from holdfast.errors import ConfigError

if TYPE_CHECKING:
    import httpx2
    from openai import AsyncOpenAI
    from pydantic_ai.embeddings import EmbeddingModel
    from pydantic_ai.models import Model

Close = Callable[[], Awaitable[None]]
Config = Mapping[str, Any]

CONNECTIONS_MAX: Final = 32
"""Connections kept to one provider."""

MISTRAL_URL: Final = "https://api.mistral.ai/v1"
"""Mistral's OpenAI-compatible address, for embeddings."""

GOOGLE_SCOPE: Final = "https://www.googleapis.com/auth/cloud-platform"
"""What credentials from a file are used for."""

_GENERIC: Final = "pydantic_ai.providers.openai_compatible:OpenAICompatibleProvider"


def _http_client(row: Provider, config: Config) -> httpx2.AsyncClient:
    """The client for one provider: it follows no redirect, so it calls only what was configured."""
    import httpx2

    proxies = config.get("http_client_proxies")
    options: dict[str, Any] = {}
    if isinstance(proxies, str):
        options["proxy"] = proxies
    elif isinstance(proxies, Mapping):
        options["mounts"] = {
            scheme: httpx2.AsyncHTTPTransport(proxy=url) for scheme, url in proxies.items()
        }
    elif proxies is not None:
        raise ConfigError(f"{row.name}: http_client_proxies must be a URL or a table of URLs.")
    connections = httpx2.Limits(max_connections=CONNECTIONS_MAX)
    return httpx2.AsyncClient(timeout=limits.MODEL_TIMEOUT_S, limits=connections, **options)


def _openai_client(row: Provider, config: Config) -> AsyncOpenAI:
    import openai

    url = catalog.base_url(row, config)
    needed = row.key_needed and catalog.own_address(row, url)
    key = catalog.api_key(row, config, needed=needed)
    return openai.AsyncOpenAI(
        base_url=url, api_key=key or "none", max_retries=0, http_client=_http_client(row, config)
    )


def _openai_provider(row: Provider, client: AsyncOpenAI) -> Any:
    """What the library knows of a service; a compatible server elsewhere is a generic one."""
    url = str(client.base_url).rstrip("/")
    generic = row.name == "openai" and not catalog.own_address(row, url)
    path = _GENERIC if generic else row.library
    module, _, name = path.partition(":")
    provider_class = getattr(importlib.import_module(module), name)
    if path != _GENERIC:
        return provider_class(openai_client=client)
    able = {"supports_json_schema_output": True, "supports_json_object_output": True}
    return provider_class(row.name, openai_client=client, profile=able)


def _openai_chat(row: Provider, config: Config, name: str) -> tuple[Model, Close]:
    from pydantic_ai.models.openai import OpenAIChatModel

    client = _openai_client(row, config)
    return OpenAIChatModel(name, provider=_openai_provider(row, client)), client.close


def _openai_embedding(row: Provider, config: Config, name: str) -> tuple[EmbeddingModel, Close]:
    from pydantic_ai.embeddings.openai import OpenAIEmbeddingModel

    client = _openai_client(row, config)
    return OpenAIEmbeddingModel(name, provider=_openai_provider(row, client)), client.close


def _azure(row: Provider, config: Config, name: str) -> tuple[Any, str, Close]:
    """Azure's client, the deployment to ask, and how to close it."""
    import openai
    from pydantic_ai.providers.azure import AzureProvider

    azure = config.get("azure_kwargs") or {}
    if not isinstance(azure, Mapping):
        raise ConfigError("azure_openai: azure_kwargs must be a table.")
    endpoint = catalog.text(row, azure, "azure_endpoint") or catalog.base_url(row, config)
    version = catalog.text(row, azure, "api_version")
    if not endpoint or not version:
        raise ConfigError(
            "azure_openai needs an endpoint and an API version.",
            hint='Set "azure_endpoint" and "api_version" in "azure_kwargs".',
        )
    client = openai.AsyncAzureOpenAI(
        azure_endpoint=endpoint,
        api_version=version,
        api_key=catalog.api_key(row, azure if azure.get("api_key") else config, needed=True),
        default_headers=azure.get("default_headers"),
        max_retries=0,
        http_client=_http_client(row, config),
    )
    deployment = catalog.text(row, azure, "azure_deployment") or name
    return AzureProvider(openai_client=client), deployment, client.close


def _azure_chat(row: Provider, config: Config, name: str) -> tuple[Model, Close]:
    from pydantic_ai.models.openai import OpenAIChatModel

    provider, deployment, close = _azure(row, config, name)
    return OpenAIChatModel(deployment, provider=provider), close


def _azure_embedding(row: Provider, config: Config, name: str) -> tuple[EmbeddingModel, Close]:
    from pydantic_ai.embeddings.openai import OpenAIEmbeddingModel

    provider, deployment, close = _azure(row, config, name)
    return OpenAIEmbeddingModel(deployment, provider=provider), close


def _anthropic_chat(row: Provider, config: Config, name: str) -> tuple[Model, Close]:
    from pydantic_ai.models.anthropic import AnthropicModel
    from pydantic_ai.providers.anthropic import AnthropicProvider

    key = catalog.api_key(row, config, needed=True)
    client = _http_client(row, config)
    provider = AnthropicProvider(
        api_key=key, base_url=catalog.base_url(row, config) or None, http_client=client
    )
    return AnthropicModel(name, provider=provider), client.aclose


def _google(row: Provider, config: Config) -> tuple[Any, Close]:
    """Gemini's API by key, or Vertex AI by the credentials of Google Cloud."""
    cloud = row.name == "vertexai" or bool(config.get("vertexai"))
    url = catalog.base_url(row, config) or None
    key = catalog.api_key(row, config, needed=not cloud)
    client = _http_client(row, config)
    if not cloud:
        from pydantic_ai.providers.google import GoogleProvider

        return GoogleProvider(api_key=key, base_url=url, http_client=client), client.aclose
    from pydantic_ai.providers.google_cloud import GoogleCloudProvider

    auth: Any = importlib.import_module("google.auth")
    path = catalog.text(row, config, "vertex_credentials_json")
    try:
        if path:
            account: Any = importlib.import_module("google.oauth2.service_account")
            load = account.Credentials.from_service_account_file
            credentials = load(path, scopes=[GOOGLE_SCOPE])
        provider = GoogleCloudProvider(
            credentials=credentials if path else None,
            project=catalog.text(row, config, "project") or None,
            location=catalog.text(row, config, "location") or None,
            base_url=url,
            http_client=client,
        )
    except (OSError, ValueError, auth.exceptions.GoogleAuthError):
        raise ConfigError(
            f"{row.name} finds no credentials of Google Cloud.",
            hint='Set "vertex_credentials_json" to the file of a service account.',
        ) from None
    return provider, client.aclose


def _google_chat(row: Provider, config: Config, name: str) -> tuple[Model, Close]:
    from pydantic_ai.models.google import GoogleModel

    provider, close = _google(row, config)
    return GoogleModel(name, provider=provider), close


def _google_embedding(row: Provider, config: Config, name: str) -> tuple[EmbeddingModel, Close]:
    from pydantic_ai.embeddings.google import GoogleEmbeddingModel

    provider, close = _google(row, config)
    return GoogleEmbeddingModel(name, provider=provider), close


def _bedrock(row: Provider, config: Config) -> tuple[Any, Close]:
    """AWS credentials from the configuration, else where AWS's library looks for them."""
    from pydantic_ai.exceptions import UserError
    from pydantic_ai.providers.bedrock import BedrockProvider

    def given(key: str) -> str | None:
        return catalog.text(row, config, key) or None

    errors: Any = importlib.import_module("botocore.exceptions")
    try:
        provider = BedrockProvider(
            aws_access_key_id=given("aws_access_key_id"),
            aws_secret_access_key=given("aws_secret_access_key"),
            aws_session_token=given("aws_session_token"),
            region_name=given("aws_region"),
            profile_name=given("aws_profile"),
            base_url=catalog.base_url(row, config) or None,
            aws_read_timeout=limits.MODEL_TIMEOUT_S,
        )
    except (UserError, ValueError, errors.BotoCoreError):
        raise ConfigError(
            f"{row.name} cannot be set up: region, profile or keys are missing or wrong.",
            hint='Set "aws_region" and "aws_profile", or the keys.',
        ) from None
    return provider, _nothing


async def _nothing() -> None:
    """Some libraries keep nothing that must be closed."""


def _bedrock_chat(row: Provider, config: Config, name: str) -> tuple[Model, Close]:
    from pydantic_ai.models.bedrock import BedrockConverseModel

    provider, close = _bedrock(row, config)
    return BedrockConverseModel(name, provider=provider), close


def _bedrock_embedding(row: Provider, config: Config, name: str) -> tuple[EmbeddingModel, Close]:
    from pydantic_ai.embeddings.bedrock import BedrockEmbeddingModel

    provider, close = _bedrock(row, config)
    return BedrockEmbeddingModel(name, provider=provider), close


def _mistral_chat(row: Provider, config: Config, name: str) -> tuple[Model, Close]:
    from pydantic_ai.models.mistral import MistralModel
    from pydantic_ai.providers.mistral import MistralProvider

    key = catalog.api_key(row, config, needed=True)
    client = _http_client(row, config)
    provider = MistralProvider(
        api_key=key, base_url=catalog.base_url(row, config) or None, http_client=client
    )
    return MistralModel(name, provider=provider), client.aclose


def _mistral_embedding(row: Provider, config: Config, name: str) -> tuple[EmbeddingModel, Close]:
    """Its embeddings API is OpenAI's."""
    compatible = {"base_url": MISTRAL_URL, **config}
    catalog.api_key(row, config, needed=True)
    return _openai_embedding(row, compatible, name)


def _groq_chat(row: Provider, config: Config, name: str) -> tuple[Model, Close]:
    from pydantic_ai.models.groq import GroqModel
    from pydantic_ai.providers.groq import GroqProvider

    client: Any = importlib.import_module("groq").AsyncGroq(
        api_key=catalog.api_key(row, config, needed=True),
        base_url=catalog.base_url(row, config) or None,
        timeout=limits.MODEL_TIMEOUT_S,
        max_retries=0,
    )
    return GroqModel(name, provider=GroqProvider(groq_client=client)), client.close


CHAT: Final[Mapping[Family, Callable[[Provider, Config, str], tuple[Model, Close]]]] = {
    "openai": _openai_chat,
    "azure": _azure_chat,
    "anthropic": _anthropic_chat,
    "google": _google_chat,
    "bedrock": _bedrock_chat,
    "mistral": _mistral_chat,
    "groq": _groq_chat,
}
"""Builders of language models."""

EMBED: Final[Mapping[Family, Callable[[Provider, Config, str], tuple[EmbeddingModel, Close]]]] = {
    "openai": _openai_embedding,
    "azure": _azure_embedding,
    "google": _google_embedding,
    "bedrock": _bedrock_embedding,
    "mistral": _mistral_embedding,
}
"""Builders of embedding models; Anthropic and Groq have none."""
