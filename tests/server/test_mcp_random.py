"""Whatever is sent to the address of MCP: the answer is the caller's fault or an answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.served import Served, served
from support.thorough import often

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=6,
)
CALLS = st.fixed_dictionaries(
    {},
    optional={
        "jsonrpc": st.just("2.0") | JSON,
        "id": st.integers() | JSON,
        "method": st.sampled_from(["tools/call", "tools/list", "initialize", "ping"]) | JSON,
        "params": JSON
        | st.fixed_dictionaries(
            {
                "name": st.sampled_from(["add_memory", "search_memories", "get_memories"]) | JSON,
                "arguments": JSON
                | st.fixed_dictionaries(
                    {}, optional={"text": JSON, "query": JSON, "user_id": JSON, "filters": JSON}
                ),
            }
        ),
    },
)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with served(tmp_path_factory.mktemp("mcp") / "store", key_limit_search="") as running:
        yield from talking(running)


def talking(running: Served) -> Iterator[httpx.Client]:
    accept = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
    with httpx.Client(base_url=running.url, headers={**running.headers, **accept}) as client:
        yield client


@settings(max_examples=often(60, 600), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sent=CALLS | JSON | st.binary(max_size=60))
def test_any_body_is_answered_or_refused(sent: Any, client: httpx.Client) -> None:
    body = sent if isinstance(sent, bytes) else json.dumps(sent).encode()
    answer = client.post("/mcp", content=body)
    assert answer.status_code < 500, (sent, answer.text)
    if answer.headers.get("content-type") == "application/json" and answer.content:
        error = answer.json().get("error") or {}
        assert error.get("code") != -32603, (sent, answer.text)  # JSON-RPC's internal error
