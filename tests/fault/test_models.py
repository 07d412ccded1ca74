"""Language models and remote embedders against a scripted server on a real socket."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np
import pytest

from holdfast.backends.models.providers import build_embedder, build_llm
from holdfast.errors import (
    BadAnswerError,
    ConfigError,
    HoldfastError,
    ModelRefusedError,
    ModelUnavailableError,
)
from holdfast.model import Usage
from holdfast.ports import LLM, Answer, Embedder
from support.llm_server import (
    LLMServer,
    Reply,
    chat,
    embedding,
    failure,
    hashed_vector,
    hashed_vectors,
    reset,
)

SCHEMA = {
    "type": "object",
    "properties": {"facts": {"type": "array", "items": {"type": "string"}}},
    "required": ["facts"],
    "additionalProperties": False,
}
GOOD = '{"facts": ["tea"]}'
SECRET = "sk-very-secret-0123456789"
PRIVATE = "Ana's diagnosis"


@pytest.fixture
def server() -> Iterator[LLMServer]:
    with LLMServer() as running:
        yield running


@pytest.fixture
async def llm(server: LLMServer) -> AsyncIterator[LLM]:
    config = {"model": "scripted", "openai_base_url": server.url, "api_key": SECRET}
    model = build_llm("openai", config)
    yield model
    await model.close()
    await model.close()


@pytest.fixture
async def embedder(server: LLMServer) -> AsyncIterator[Embedder]:
    config = {"model": "scripted", "base_url": server.url, "embedding_dims": 8}
    model = build_embedder("openai", {**config, "api_key": SECRET})
    yield model
    await model.close()


async def ask(llm: LLM, timeout_s: float = 5.0) -> Answer:
    return await llm.complete("system text", PRIVATE, schema=SCHEMA, timeout_s=timeout_s)


def quiet(error: HoldfastError) -> None:
    """Neither the error nor what a traceback would print holds a key or somebody's text."""
    assert SECRET not in str(error)
    assert PRIVATE not in str(error)
    assert error.__cause__ is None
    assert error.__suppress_context__ or error.__context__ is None


# ----------------------------------------------------------------------------- good answers


async def test_a_good_answer_and_what_it_cost(server: LLMServer, llm: LLM) -> None:
    server.say(chat(GOOD, usage=(1200, 1024, 30)))
    answer = await ask(llm)
    usage = Usage(model="openai:scripted", input_tokens=1200, cached_tokens=1024, output_tokens=30)
    assert answer == Answer(text=GOOD, usage=usage, truncated=False)


async def test_the_request_carries_schema_system_first_and_key(server: LLMServer, llm: LLM) -> None:
    server.say(GOOD)
    await ask(llm)
    (request,) = server.requests
    assert request.headers["authorization"] == f"Bearer {SECRET}"
    body = request.body
    assert body["model"] == "scripted"
    assert body["messages"] == [
        {"role": "system", "content": "system text"},
        {"role": "user", "content": PRIVATE},
    ]
    assert body["response_format"]["type"] == "json_schema"
    schema = body["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["facts"]["items"] == {"type": "string"}
    assert body["temperature"] == 0.0
    assert "max_tokens" not in body
    assert not body.get("stream")


async def test_settings_are_passed_on(server: LLMServer) -> None:
    server.say(GOOD)
    config = {
        "model": "scripted", "base_url": server.url, "temperature": 0.3, "top_p": 0.5,
        "max_tokens": 77, "top_k": 3,
    }  # fmt: skip
    llm = build_llm("vllm", config)
    await ask(llm)
    await llm.close()
    body = server.bodies[0]
    assert (body["temperature"], body["top_p"]) == (0.3, 0.5)
    assert 77 in (body.get("max_tokens"), body.get("max_completion_tokens"))


async def test_chatty_text_comes_through_for_the_parser(server: LLMServer, llm: LLM) -> None:
    server.say(f"Sure! ```json\n{GOOD}\n``` Anything else?")
    assert GOOD in (await ask(llm)).text


async def test_a_cut_off_answer_is_marked(server: LLMServer, llm: LLM) -> None:
    server.say(chat('{"facts": ["te', finish="length"))
    answer = await ask(llm)
    assert answer.truncated
    assert answer.text == '{"facts": ["te'


@pytest.mark.parametrize("content", ["", None, "  \n"])
async def test_an_answer_in_the_reasoning_is_used(
    server: LLMServer, llm: LLM, content: str | None
) -> None:
    server.say(chat(content, reasoning=f"Let me see. {GOOD}"))
    assert GOOD in (await ask(llm)).text


async def test_reasoning_beside_an_answer_is_left_out(server: LLMServer, llm: LLM) -> None:
    server.say(chat(GOOD, reasoning='Maybe {"facts": ["coffee"]}?'))
    assert (await ask(llm)).text == GOOD


# ----------------------------------------------------------------------------- bad answers


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(chat(""), id="empty"),
        pytest.param(chat(None), id="null"),
        pytest.param(chat(None, refusal="I cannot help with that"), id="refusal"),
        pytest.param(chat(None, finish="content_filter"), id="filtered"),
        pytest.param(Reply(body={"id": "x", "choices": []}), id="no choices"),
        pytest.param(Reply(body={"error": None}), id="another shape"),
    ],
)
async def test_nothing_usable_is_a_bad_answer(server: LLMServer, llm: LLM, reply: Reply) -> None:
    server.say(reply)
    with pytest.raises(BadAnswerError) as caught:
        await ask(llm)
    quiet(caught.value)
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [500, 502, 503, 529, 408, 409])
async def test_a_failing_server_is_unavailable(server: LLMServer, llm: LLM, status: int) -> None:
    server.say(failure(status, f"upstream died reading {PRIVATE}"))
    with pytest.raises(ModelUnavailableError) as caught:
        await ask(llm)
    quiet(caught.value)
    assert len(server.requests) == 1, "retries belong to the wrapper alone"


async def test_a_rate_limit_says_how_long_to_wait(server: LLMServer, llm: LLM) -> None:
    server.say(failure(429, "slow down", retry_after="7"))
    with pytest.raises(ModelUnavailableError) as caught:
        await ask(llm)
    assert caught.value.retry_after_s == 7.0
    quiet(caught.value)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (401, "invalid_api_key"),
        (403, "forbidden"),
        (404, "model_not_found"),
        (429, "insufficient_quota"),
        (400, "context_length_exceeded"),
        (400, "invalid_value"),
    ],
)
async def test_a_refusal_of_the_call_names_its_code_only(
    server: LLMServer, llm: LLM, status: int, code: str
) -> None:
    server.say(failure(status, f"{SECRET} may not read {PRIVATE}", code))
    with pytest.raises(ModelRefusedError, match=code) as caught:
        await ask(llm)
    quiet(caught.value)
    assert not caught.value.retryable


async def test_a_code_that_is_no_code_is_not_repeated(server: LLMServer, llm: LLM) -> None:
    server.say(failure(400, "no", PRIVATE))
    with pytest.raises(ModelRefusedError) as caught:
        await ask(llm)
    quiet(caught.value)


async def test_a_slow_server_is_given_up_in_time(server: LLMServer, llm: LLM) -> None:
    server.say(chat(GOOD, delay_s=30))
    start = time.monotonic()
    with pytest.raises(ModelUnavailableError, match="in time") as caught:
        await ask(llm, timeout_s=0.3)
    assert time.monotonic() - start < 3
    quiet(caught.value)


async def test_a_reset_connection_is_unavailable_and_the_next_call_works(
    server: LLMServer, llm: LLM
) -> None:
    server.say(reset(), GOOD)
    with pytest.raises(ModelUnavailableError) as caught:
        await ask(llm)
    quiet(caught.value)
    assert (await ask(llm)).text == GOOD


async def test_nobody_listening_is_unavailable() -> None:
    with LLMServer() as server:
        llm = build_llm("openai", {"model": "m", "base_url": server.url})
    with pytest.raises(ModelUnavailableError):
        await ask(llm)
    await llm.close()


@pytest.mark.parametrize("body", ["<html>gateway</html>", ""])
async def test_a_page_instead_of_json_is_our_error(server: LLMServer, llm: LLM, body: str) -> None:
    server.say(Reply(body=body))
    with pytest.raises((ModelUnavailableError, BadAnswerError)) as caught:
        await ask(llm)
    quiet(caught.value)


async def test_a_redirect_is_not_followed(server: LLMServer, llm: LLM) -> None:
    with LLMServer() as other:
        other.say(GOOD)
        server.say(Reply(body={}, status=307, headers={"Location": f"{other.url}/elsewhere"}))
        with pytest.raises(HoldfastError):
            await ask(llm)
        assert other.requests == []


# ----------------------------------------------------------------------------- what servers know


async def test_a_server_without_schemas_gets_a_tool_and_it_is_remembered(
    server: LLMServer, llm: LLM
) -> None:
    server.say(failure(400, "response_format.type must be text"), chat(None, arguments=GOOD))
    assert (await ask(llm)).text == GOOD
    assert (await ask(llm)).text == GOOD
    forms = ["response_format" in body for body in server.bodies]
    tools = ["tools" in body for body in server.bodies]
    assert forms == [True, False, False]
    assert tools == [False, True, True]


async def test_several_tool_calls_are_one_answer(server: LLMServer, llm: LLM) -> None:
    message: dict[str, Any] = {"role": "assistant", "content": None, "tool_calls": []}
    for item in ("tea", "milk"):
        call = {"name": "answer", "arguments": json.dumps({"facts": [item]})}
        message["tool_calls"].append({"id": item, "type": "function", "function": call})
    body: Any = dict(chat(None).body or {})
    body["choices"] = [{"index": 0, "message": message, "finish_reason": "tool_calls"}]
    server.say(Reply(body=body))
    assert json.loads((await ask(llm)).text) == {"facts": ["tea", "milk"]}


async def test_a_server_that_knows_nothing_is_asked_in_plain_words(
    server: LLMServer, llm: LLM
) -> None:
    server.say(
        failure(400, "json_schema is not supported"),
        failure(422, "tools are not supported"),
        failure(400, "json_object is not supported"),
        GOOD,
    )
    assert (await ask(llm)).text == GOOD
    plain = server.bodies[-1]
    assert "response_format" not in plain
    assert "tools" not in plain


async def test_calls_at_once_learn_one_step_together(server: LLMServer, llm: LLM) -> None:
    refuse = failure(400, "response_format is not supported")
    server.say(Reply(make=lambda body: chat(GOOD) if "tools" in body else refuse))
    answers = await asyncio.gather(*(ask(llm) for _ in range(3)))
    assert [answer.text for answer in answers] == [GOOD] * 3
    assert sum("tools" in body for body in server.bodies) == 3


async def test_a_late_refusal_does_not_undo_what_was_learned(server: LLMServer, llm: LLM) -> None:
    refuse = failure(400, "response_format json_schema and tools are not supported")

    def knows_json_mode(body: Any) -> Reply:
        form = body.get("response_format", {}).get("type")
        return chat(GOOD) if form == "json_object" else refuse

    late = Reply(body=refuse.body, status=400, delay_s=0.3)
    server.say(late, Reply(make=knows_json_mode))
    slow = asyncio.create_task(ask(llm))
    await asyncio.to_thread(server.wait_for_requests, 1)
    await ask(llm)
    await slow
    assert len(server.requests) == 5, "the late call goes on with what the other has learned"
    await ask(llm)
    assert len(server.requests) == 6
    assert server.bodies[-1]["response_format"] == {"type": "json_object"}


async def test_a_model_without_temperature_is_asked_without(server: LLMServer, llm: LLM) -> None:
    server.say(failure(400, "Unsupported value: 'temperature' does not support 0"), GOOD)
    assert (await ask(llm)).text == GOOD
    await ask(llm)
    assert ["temperature" in body for body in server.bodies] == [True, False, False]
    assert all("response_format" in body for body in server.bodies)


async def test_a_server_that_refuses_everything_ends(server: LLMServer, llm: LLM) -> None:
    server.say(failure(400, "response_format, tools and json_object: all unsupported"))
    with pytest.raises(ModelRefusedError):
        await ask(llm)
    assert len(server.requests) == 4


async def test_secrets_stay_out_of_repr(llm: LLM, embedder: Embedder) -> None:
    assert SECRET not in repr(llm)
    assert SECRET not in repr(embedder)
    assert llm.name in repr(llm)


# ----------------------------------------------------------------------------- embeddings


def unit(rows: Any) -> np.ndarray:
    values = np.asarray(rows, dtype=np.float64)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


async def test_vectors_are_normalised_in_order_and_counted(server: LLMServer) -> None:
    spent: list[Usage] = []
    config = {"model": "scripted", "base_url": server.url, "embedding_dims": 8}
    embedder = build_embedder("openai", config)
    server.vectors(hashed_vectors(8))
    texts = ["tea", "", "coffee", "   \n"]
    rows = await embedder.embed(texts, spent.append)
    expected = unit([hashed_vector("tea", 8), hashed_vector("coffee", 8)])
    assert rows.dtype == np.float32
    assert rows.shape == (4, 8)
    np.testing.assert_allclose(rows[[0, 2]], expected, atol=1e-6)
    assert not rows[[1, 3]].any()
    assert server.bodies[0]["input"] == ["tea", "coffee"]
    assert spent == [Usage(model="openai:scripted", input_tokens=14)]
    query = await embedder.embed_query("tea")
    np.testing.assert_array_equal(query.vector, rows[0])
    await embedder.close()


async def test_nothing_to_embed_asks_nothing(server: LLMServer, embedder: Embedder) -> None:
    assert (await embedder.embed([])).shape == (0, 8)
    assert not (await embedder.embed(["", " "])).any()
    assert not (await embedder.embed_query("")).vector.any()
    assert server.requests == []


async def test_many_texts_go_in_bounded_batches(server: LLMServer, embedder: Embedder) -> None:
    server.vectors(hashed_vectors(8))
    texts = [f"text {i}" for i in range(600)]
    rows = await embedder.embed(texts)
    assert [len(body["input"]) for body in server.bodies] == [256, 256, 88]
    np.testing.assert_allclose(rows, unit([hashed_vector(text, 8) for text in texts]), atol=1e-6)


async def test_a_long_text_is_the_weighted_mean_of_its_pieces(
    server: LLMServer, embedder: Embedder
) -> None:
    server.vectors(hashed_vectors(8))
    text = "long words " * 3_000
    (row,) = await embedder.embed([text])
    pieces = server.bodies[0]["input"]
    assert len(pieces) > 3
    assert " ".join(pieces).split() == text.split()
    sizes = np.array([[len(piece)] for piece in pieces])
    mean = (unit([hashed_vector(piece, 8) for piece in pieces]) * sizes).sum(axis=0)
    np.testing.assert_allclose(row, mean / np.linalg.norm(mean), atol=1e-6)


@pytest.mark.parametrize(
    "too_long",
    [
        failure(400, "This model's maximum context length is 1000 tokens"),
        failure(413, "Input is too long: must have less than 512 tokens"),
        failure(422, "input length exceeds the limit"),
    ],
)
async def test_a_model_that_takes_less_gets_shorter_pieces(
    server: LLMServer, embedder: Embedder, too_long: Reply
) -> None:
    server.vectors(too_long, hashed_vectors(8))
    text = "雨が降っています。" * 500
    (row,) = await embedder.embed([text])
    assert np.isfinite(row).all()
    assert np.linalg.norm(row) == pytest.approx(1.0, abs=1e-5)
    assert "".join(server.bodies[1]["input"]) == text
    assert len(server.bodies[1]["input"]) > len(server.bodies[0]["input"])


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        pytest.param(embedding([[1.0, 2.0, 3.0]]), "3 dimensions instead of 8", id="dimensions"),
        pytest.param(embedding([[float("nan")] * 8]), "NaN", id="nan"),
        pytest.param(embedding([[float("inf")] * 8]), "infinity", id="infinity"),
        pytest.param(embedding([[1.0] * 8] * 2), "2 vectors for 1", id="count"),
        pytest.param(embedding([]), "without vectors", id="none"),
        pytest.param(embedding([[]]), "dimensions", id="empty vector"),
        pytest.param(Reply(body={"object": "list"}), "vectors", id="another shape"),
        pytest.param(Reply(body={"data": [{"embedding": None}]}), "vectors", id="null"),
    ],
)
async def test_bad_vectors_are_refused(
    server: LLMServer, embedder: Embedder, reply: Reply, told: str
) -> None:
    server.vectors(reply)
    with pytest.raises(BadAnswerError, match=told) as caught:
        await embedder.embed([PRIVATE])
    quiet(caught.value)


async def test_vectors_of_no_use_are_paid_for_too(server: LLMServer, embedder: Embedder) -> None:
    spent: list[Usage] = []
    server.vectors(embedding([[1.0, 2.0, 3.0]]))
    with pytest.raises(BadAnswerError):
        await embedder.embed_query("tea", spent.append)
    assert [usage.input_tokens for usage in spent] == [7]


async def test_a_server_that_tells_no_tokens_counts_as_zero(
    server: LLMServer, embedder: Embedder
) -> None:
    spent: list[Usage] = []
    row = {"object": "embedding", "index": 0, "embedding": [1.0] * 8}
    server.vectors(Reply(body={"object": "list", "model": "scripted", "data": [row]}))
    await embedder.embed(["tea"], spent.append)
    assert spent == [Usage(model=f"{embedder.space.provider}:{embedder.space.model}")]


async def test_an_embedder_that_is_limited_or_broken_is_unavailable(
    server: LLMServer, embedder: Embedder
) -> None:
    server.vectors(failure(429, retry_after="3"), reset(), failure(500), hashed_vectors(8))
    with pytest.raises(ModelUnavailableError) as caught:
        await embedder.embed(["tea"])
    assert caught.value.retry_after_s == 3.0
    for _ in range(2):
        with pytest.raises(ModelUnavailableError) as caught:
            await embedder.embed(["tea"])
        quiet(caught.value)
    assert (await embedder.embed(["tea"])).any()


async def test_lone_surrogates_reach_the_server_as_replacements(
    server: LLMServer, embedder: Embedder, llm: LLM
) -> None:
    server.vectors(hashed_vectors(8))
    assert (await embedder.embed(["a\ud800b\0c"])).any()
    assert json.dumps(server.bodies[0]["input"]).isascii()


async def test_dimensions_are_asked_for_only_where_they_can_be_chosen(server: LLMServer) -> None:
    server.vectors(hashed_vectors(256))
    small = {"model": "text-embedding-3-small", "base_url": server.url, "embedding_dims": 256}
    embedder = build_embedder("openai", small)
    assert embedder.space.dimensions == 256
    await embedder.embed(["tea"])
    await embedder.close()
    assert server.bodies[0]["dimensions"] == 256
    with pytest.raises(ConfigError, match="gives 768 dimensions, not 512"):
        build_embedder("ollama", {"model": "nomic-embed-text:latest", "embedding_dims": 512})
