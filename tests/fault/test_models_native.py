"""Providers with APIs and libraries of their own, each against the scripted server.

A library that is not installed is skipped by name; its extra brings it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from holdfast.backends.models import catalog
from holdfast.backends.models.providers import build_embedder, build_llm
from holdfast.errors import ConfigError, ModelRefusedError, ModelUnavailableError
from holdfast.model import Usage
from holdfast.ports import Answer
from support.llm_server import LLMServer, Reply, chat, failure

SCHEMA = {
    "type": "object",
    "properties": {"facts": {"type": "array", "items": {"type": "string"}}},
    "required": ["facts"],
    "additionalProperties": False,
}
GOOD = '{"facts":["tea"]}'

ANTHROPIC = {
    "id": "m", "type": "message", "role": "assistant", "model": "scripted",
    "content": [{"type": "text", "text": GOOD}], "stop_reason": "end_turn", "stop_sequence": None,
    "usage": {
        "input_tokens": 10, "cache_read_input_tokens": 90, "cache_creation_input_tokens": 0,
        "output_tokens": 5,
    },
}  # fmt: skip
GOOGLE = {
    "candidates": [{"content": {"role": "model", "parts": [{"text": GOOD}]},
                    "finishReason": "STOP"}],
    "usageMetadata": {"promptTokenCount": 100, "cachedContentTokenCount": 90,
                      "candidatesTokenCount": 5, "totalTokenCount": 105},
}  # fmt: skip
BEDROCK = {
    "output": {"message": {"role": "assistant", "content": [{"text": GOOD}]}},
    "stopReason": "end_turn", "metrics": {"latencyMs": 1},
    "usage": {"inputTokens": 10, "outputTokens": 5, "totalTokens": 105,
              "cacheReadInputTokens": 90, "cacheWriteInputTokens": 0},
}  # fmt: skip
AWS = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "aws_region": "us-east-1"}

CASES = [
    pytest.param("anthropic", "anthropic", {"api_key": "k"}, Reply(body=ANTHROPIC), id="anthropic"),
    pytest.param("gemini", "google.genai", {"api_key": "k"}, Reply(body=GOOGLE), id="gemini"),
    pytest.param("aws_bedrock", "boto3", AWS, Reply(body=BEDROCK), id="bedrock"),
    pytest.param("groq", "groq", {"api_key": "k"}, chat(GOOD, usage=(100, 90, 5)), id="groq"),
    pytest.param(
        "mistral", "mistralai", {"api_key": "k", "model": "m"}, chat(GOOD, usage=(100, 90, 5)),
        id="mistral",
    ),
]  # fmt: skip


def needs(library: str, provider: str) -> None:
    extra = catalog.EXTRAS[catalog.PROVIDERS[provider].family]
    pytest.importorskip(library, reason=f"needs the extra {extra}", exc_type=ImportError)


async def ask(server: LLMServer, provider: str, config: Mapping[str, Any]) -> Answer:
    root = server.url.removesuffix("/v1")
    llm = build_llm(provider, {**config, "base_url": root})
    try:
        return await llm.complete("system text", "user text", schema=SCHEMA, timeout_s=10)
    finally:
        await llm.close()


@pytest.mark.parametrize(("provider", "library", "config", "good"), CASES)
async def test_a_good_answer_and_what_it_cost(
    provider: str, library: str, config: dict[str, Any], good: Reply
) -> None:
    needs(library, provider)
    with LLMServer() as server:
        server.answer_all(good)
        answer = await ask(server, provider, config)
    assert answer.text == GOOD
    name = f"{provider}:{config.get('model') or catalog.PROVIDERS[provider].llm}"
    expected = Usage(model=name, input_tokens=100, cached_tokens=90, output_tokens=5)
    assert answer.usage == expected
    (request,) = server.requests
    assert "user text" in str(request.body)
    assert str(request.body).count("system text") == 1
    assert "facts" in str(request.body), "the schema must reach the model"
    assert not request.body.get("stream")


@pytest.mark.parametrize(("provider", "library", "config", "good"), CASES)
async def test_an_outage_is_unavailable(
    provider: str, library: str, config: dict[str, Any], good: Reply
) -> None:
    needs(library, provider)
    with LLMServer() as server:
        server.answer_all(failure(503, "overloaded"))
        with pytest.raises(ModelUnavailableError):
            await ask(server, provider, config)
    if provider != "aws_bedrock":  # botocore tries again by itself
        assert len(server.requests) == 1


@pytest.mark.parametrize(("provider", "library", "config", "good"), CASES)
async def test_wrong_credentials_are_refused(
    provider: str, library: str, config: dict[str, Any], good: Reply
) -> None:
    needs(library, provider)
    with LLMServer() as server:
        server.answer_all(failure(401, "who are you"))
        with pytest.raises(ModelRefusedError, match="credentials"):
            await ask(server, provider, config)


@pytest.mark.parametrize(
    ("provider", "library", "config"),
    [
        ("gemini", "google.genai", {"api_key": "k", "embedding_dims": 4}),
        ("aws_bedrock", "boto3",
         {**AWS, "model": "amazon.titan-embed-text-v2:0", "embedding_dims": 4}),
        ("mistral", "openai", {"api_key": "k", "model": "my-embed", "embedding_dims": 4}),
    ],
)  # fmt: skip
async def test_embeddings(provider: str, library: str, config: dict[str, Any]) -> None:
    needs(library, provider)
    row = [1.0, 2.0, 3.0, 4.0]
    body = {
        "embeddings": [{"values": row}],
        "embedding": row,
        "inputTextTokenCount": 3,
        "object": "list",
        "model": "scripted",
        "data": [{"object": "embedding", "index": 0, "embedding": row}],
    }
    with LLMServer() as server:
        server.answer_all(Reply(body=body))
        root = server.url.removesuffix("/v1")
        embedder = build_embedder(provider, {**config, "base_url": root})
        spent: list[Usage] = []
        rows = await embedder.embed(["tea"], spent.append)
        await embedder.close()
    assert [usage.model for usage in spent] == [f"{embedder.space.provider}:{embedder.space.model}"]
    np.testing.assert_allclose(rows[0], np.array(row) / np.sqrt(30), atol=1e-6)


def test_vertex_credentials_that_are_none_are_refused(tmp_path: Any) -> None:
    needs("google.genai", "vertexai")
    config = {"project": "p", "location": "l", "vertex_credentials_json": str(tmp_path / "none")}
    with pytest.raises(ConfigError, match="no credentials of Google Cloud"):
        build_llm("vertexai", config)


def test_bedrock_without_a_region_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    needs("boto3", "aws_bedrock")
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(ConfigError, match="aws_region"):
        build_llm("aws_bedrock", {"model": "m"})
