"""What a model's configuration may say, and how a wrong one is refused at the start."""

from __future__ import annotations

import builtins
import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from holdfast.backends.models import catalog
from holdfast.backends.models.embed import SentenceEmbedder, batches, cut
from holdfast.backends.models.providers import build_embedder, build_llm
from holdfast.errors import ConfigError, MissingExtraError
from holdfast.model import Space
from support.llm_server import LLMServer, chat, hashed_vectors

SECRET = "sk-very-secret-0123456789"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for provider in catalog.PROVIDERS.values():
        for name in (*provider.key_env, *provider.url_env):
            monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("provider", "config", "told"),
    [
        ("opanai", {}, "Did you mean 'openai'"),
        ("", {}, "Known are"),
        ("fastembed", {}, "Known are"),
        ("openai", {"openrouter_base_url": "http://x"}, 'the provider "openrouter"'),
        ("lmstudio", {"lmstudio_response_format": {}}, "Leave it out"),
        ("openai", {"modle": "m"}, "Did you mean 'model'"),
        ("openai", {"ollama_base_url": "http://x"}, "Did you mean 'openai_base_url'"),
        ("openai", {"embedding_dims": 3}, "no setting 'embedding_dims'"),
        ("openai", {}, "OPENAI_API_KEY"),
        ("openai", {"api_key": "  "}, "OPENAI_API_KEY"),
        ("deepseek", {}, "DEEPSEEK_API_KEY"),
        ("xai", {}, "XAI_API_KEY"),
        ("openrouter", {"api_key": "k"}, "needs a model"),
        ("openai", {"api_key": 7}, "api_key must be text, not int"),
        ("openai", {"api_key": "k", "model": ["m"]}, "model must be text"),
        ("openai", {"api_key": "k", "temperature": "hot"}, "from 0 to 2"),
        ("openai", {"api_key": "k", "temperature": True}, "from 0 to 2"),
        ("openai", {"api_key": "k", "temperature": float("nan")}, "from 0 to 2"),
        ("openai", {"api_key": "k", "top_p": 2}, "from 0 to 1"),
        ("openai", {"api_key": "k", "max_tokens": 0}, "from 1"),
        ("openai", {"api_key": "k", "max_tokens": 1.5}, "whole number"),
        ("openai", {"api_key": "k", "reasoning_effort": "huge"}, "low, medium or high"),
        ("openai", {"api_key": "k", "enable_vision": True}, "enable_vision is not offered"),
        ("openai", {"api_key": "k", "http_client_proxies": 3}, "http_client_proxies"),
        ("openai", {"openai_base_url": "localhost:1234"}, "http://"),
        ("azure_openai", {"api_key": "k"}, "azure_endpoint"),
        ("huggingface", {}, "embeddings only"),
    ],
)
def test_wrong_llm_settings_say_what_to_do(
    provider: str, config: dict[str, Any], told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        build_llm(provider, config)


@pytest.mark.parametrize(
    ("provider", "config", "told"),
    [
        ("openai", {"temperature": 1}, "no setting 'temperature'"),
        ("openai", {}, "OPENAI_API_KEY"),
        ("openai", {"api_key": "k", "model": "my-embedder"}, "embedding_dims"),
        ("openai", {"api_key": "k", "embedding_dims": 9_999}, "gives 1536 dimensions"),
        ("openai", {"api_key": "k", "embedding_dims": -1}, "from 1"),
        ("anthropic", {"api_key": "k", "model": "m"}, "offers no embeddings"),
        ("groq", {"api_key": "k", "model": "m"}, "offers no embeddings"),
        ("mistral", {"model": "mistral-embed"}, "MISTRAL_API_KEY"),
        ("huggingface", {"model_kwargs": 3}, "model_kwargs must be a table"),
    ],
)
def test_wrong_embedder_settings_say_what_to_do(
    provider: str, config: dict[str, Any], told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        build_embedder(provider, config)


@pytest.mark.parametrize(
    "provider",
    ["openai", "openai_structured", "ollama", "lmstudio", "vllm", "deepseek", "openrouter",
     "together", "xai", "minimax", "sarvam", "litellm"],
)  # fmt: skip
async def test_every_compatible_provider_reaches_its_server(provider: str) -> None:
    with LLMServer() as server:
        server.say(chat("{}"))
        name = catalog.find_provider(provider).name
        config = {"model": "some/model", "api_key": SECRET, f"{name}_base_url": server.url}
        llm = build_llm(provider, config)
        answer = await llm.complete("s", "u", schema={"type": "object"}, timeout_s=5)
        await llm.close()
    assert answer.text == "{}"
    assert llm.name == f"{name}:some/model"
    assert server.requests[0].headers["authorization"] == f"Bearer {SECRET}"
    assert server.requests[0].body["model"] == "some/model"


async def test_azure_asks_its_deployment_with_key_and_version() -> None:
    with LLMServer() as server:
        azure = {
            "azure_endpoint": server.url.removesuffix("/v1"), "api_version": "2024-10-21",
            "azure_deployment": "mine", "api_key": SECRET,
        }  # fmt: skip
        server.say(chat("{}"))
        llm = build_llm("azure_openai", {"model": "gpt-4o", "azure_kwargs": azure})
        await llm.complete("s", "u", schema={"type": "object"}, timeout_s=5)
        await llm.close()
    (request,) = server.requests
    assert request.path == "/openai/deployments/mine/chat/completions?api-version=2024-10-21"
    assert request.headers["api-key"] == SECRET


async def test_credentials_and_address_come_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with LLMServer() as server:
        server.say(chat("{}"))
        monkeypatch.setenv("OPENAI_API_KEY", SECRET)
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        llm = build_llm("openai", {"model": "m"})
        await llm.complete("s", "u", schema={"type": "object"}, timeout_s=5)
        await llm.close()
    assert server.requests[0].headers["authorization"] == f"Bearer {SECRET}"


async def test_an_ollama_address_needs_no_version() -> None:
    with LLMServer() as server:
        server.say(chat("{}"))
        address = server.url.removesuffix("/v1") + "/"
        llm = build_llm("ollama", {"ollama_base_url": address})
        await llm.complete("s", "u", schema={"type": "object"}, timeout_s=5)
        await llm.close()
    assert server.requests[0].path == "/v1/chat/completions"
    assert server.requests[0].body["model"] == "llama3.1:70b"


async def test_a_reasoning_model_is_asked_without_sampling_settings() -> None:
    with LLMServer() as server:
        server.say(chat("{}"))
        config = {"model": "m", "base_url": server.url, "temperature": 0.1, "top_p": 0.1}
        llm = build_llm("openai", {**config, "is_reasoning_model": True, "reasoning_effort": "low"})
        await llm.complete("s", "u", schema={"type": "object"}, timeout_s=5)
        await llm.close()
    body = server.requests[0].body
    assert "temperature" not in body
    assert "top_p" not in body
    assert body["reasoning_effort"] == "low"


@pytest.mark.parametrize(
    ("provider", "library", "extra"),
    [
        ("openai", "pydantic_ai", "models"),
        ("anthropic", "pydantic_ai.models.anthropic", "anthropic"),
        ("gemini", "pydantic_ai.models.google", "google"),
        ("aws_bedrock", "pydantic_ai.models.bedrock", "bedrock"),
        ("mistral", "pydantic_ai.models.mistral", "mistral"),
        ("groq", "pydantic_ai.models.groq", "groq"),
    ],
)
def test_a_missing_library_names_its_extra(
    monkeypatch: pytest.MonkeyPatch, provider: str, library: str, extra: str
) -> None:
    real = builtins.__import__

    def absent(name: str, *args: Any, **more: Any) -> Any:
        if name.startswith(library):
            raise ImportError(name)
        return real(name, *args, **more)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(MissingExtraError, match=rf"holdfast\[{extra}\]"):
        build_llm(provider, {"model": "m", "api_key": "k"})


def test_choosing_nothing_imports_nothing() -> None:
    code = (
        "import sys, holdfast.backends.models.providers; "
        "print([m for m in ('pydantic_ai', 'openai', 'httpx2', 'numpy') if m in sys.modules])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert ran.stdout.strip() == "[]"


# ----------------------------------------------------------------------------- local embedders


class FakeEncoder:
    """Stands for sentence-transformers: a vector of text length and bytes."""

    max_seq_length = 16

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def encode(self, sentences: list[str], **options: Any) -> Any:
        self.asked.append(sentences)
        return np.array([[len(text), text.count("a"), 1.0] for text in sentences])


async def test_a_local_model_works_on_its_own_thread() -> None:
    encoder = FakeEncoder()
    embedder = SentenceEmbedder(Space(provider="huggingface", model="m", dimensions=3), encoder)
    assert embedder.in_process
    rows = await embedder.embed(["banana", "", "word " * 60])
    assert rows.dtype == np.float32
    assert not rows[1].any()
    np.testing.assert_allclose(np.linalg.norm(rows[[0, 2]], axis=1), 1.0, atol=1e-6)
    assert len(encoder.asked[0]) > 4
    assert (await embedder.embed([])).shape == (0, 3)
    np.testing.assert_array_equal((await embedder.embed_query("banana")).vector, rows[0])
    await embedder.close()
    await embedder.close()


async def test_a_local_model_with_prompts_uses_that_of_queries() -> None:
    encoder = FakeEncoder()
    queries = FakeEncoder()
    both = SimpleNamespace(
        max_seq_length=16, encode=encoder.encode,
        encode_document=encoder.encode, encode_query=queries.encode,
    )  # fmt: skip
    embedder = SentenceEmbedder(Space(provider="huggingface", model="m", dimensions=3), both)
    await embedder.embed(["stored"])
    await embedder.embed_query("asked")
    await embedder.close()
    assert encoder.asked == [["stored"]]
    assert queries.asked == [["asked"]]


async def test_a_real_sentence_transformers_model() -> None:
    pytest.importorskip("sentence_transformers", reason="needs the extra sentence-transformers")
    folder = os.environ.get("HOLDFAST_TEST_SENTENCE_MODEL")
    if not folder:
        pytest.skip("HOLDFAST_TEST_SENTENCE_MODEL names no folder of a model")
    embedder = build_embedder("sentence_transformers", {"model": folder})
    rows = await embedder.embed(["I drink tea", "I like drinking tea", "The engine is broken"])
    await embedder.close()
    assert rows.shape == (3, embedder.space.dimensions)
    assert rows[0] @ rows[1] > rows[0] @ rows[2] + 0.2


async def test_a_hugging_face_server_is_asked_instead_of_a_local_model() -> None:
    with LLMServer() as server:
        server.vectors(hashed_vectors(4))
        config = {"model": "tei", "huggingface_base_url": server.url, "embedding_dims": 4}
        embedder = build_embedder("huggingface", config)
        assert not embedder.in_process
        assert (await embedder.embed(["tea"])).any()
        await embedder.close()


# ----------------------------------------------------------------------------- cutting


@pytest.mark.parametrize(
    "text", ["word " * 500, "x" * 3_000, "雨" * 900, "a雨b🌧" * 300, "\ud800" * 99]
)
def test_pieces_hold_every_character_and_stay_short(text: str) -> None:
    pieces = list(cut([text, " ", text], 40))
    assert {piece.owner for piece in pieces} == {0, 2}
    assert all(0 < piece.size <= 100 for piece in pieces)
    assert all(piece.size == len(piece.text.encode()) for piece in pieces)
    joined = "".join(piece.text for piece in pieces if piece.owner == 0)
    shown = text.encode("utf-8", "replace").decode()
    assert joined.replace(" ", "") == shown.replace(" ", "")


def test_batches_are_bounded_in_count_and_size() -> None:
    many = list(cut(["tea"] * 600, 40))
    assert [len(batch) for batch in batches(many)] == [256, 256, 88]
    big = list(cut(["word " * 1_000_000], 8_000))
    sizes = [sum(piece.size for piece in batch) for batch in batches(big)]
    assert len(sizes) > 5
    assert all(size <= 200_000 * 2.5 for size in sizes)
    assert [piece for batch in batches(big) for piece in batch] == big
    assert list(batches([])) == []
