"""MCP over HTTP, with the official client: every tool, and what a key may not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CallToolResult
from msgspec.structs import replace

from holdfast import AsyncMemory
from holdfast.core.access import OPERATIONS
from holdfast.errors import AccessError
from holdfast.server.mcp import tools
from holdfast.server.mcp.routes import OPERATIONS_OF_TOOLS, check_origin
from support.served import Served, served

NAMES = {
    *("add_memory", "search_memories", "get_memories", "get_memory", "update_memory"),
    *("delete_memory", "delete_all_memories", "delete_entities", "list_entities"),
    *("list_events", "get_event_status"),
}
"""The tools of Mem0's MCP server."""
READING = {
    *("search_memories", "get_memories", "get_memory", "list_entities", "list_events"),
    "get_event_status",
}
UNKNOWN = "00000000-0000-7000-8000-000000000000"


@pytest.fixture
def running(server: Served) -> Served:
    return server


@asynccontextmanager
async def agent(
    running: Served, key: str | None = None, *, query: str = "", mode: str = "auto", **headers: str
) -> AsyncIterator[Client]:
    """An agent that has connected."""
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    sent = {"Authorization": f"Bearer {key or running.key}", **named}
    async with httpx2.AsyncClient(headers=sent) as http:
        way = streamable_http_client(f"{running.url}/mcp{query}", http_client=http)
        async with Client(way, mode=mode) as client:  # type: ignore[arg-type]
            yield client


def made_key(running: Served, **more: Any) -> str:
    made: str = running.run(running.deployment.admin.create_key(**more)).secret
    return made


def text(result: CallToolResult) -> str:
    return "\n".join(part.text for part in result.content if part.type == "text")


async def good(client: Client, tool: str, **arguments: Any) -> Any:
    """What a tool answers as data."""
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, text(result)
    assert text(result)
    return result.structured_content


async def refused(client: Client, tool: str, **arguments: Any) -> str:
    """What a tool says that refuses."""
    result = await client.call_tool(tool, arguments)
    assert result.is_error
    return text(result)


# ---------------------------------------------------------------- the tools


def test_the_tools_are_those_of_mem0_and_stand_in_the_policy() -> None:
    assert set(tools.BY_NAME) == NAMES
    for tool in tools.TOOLS:
        assert OPERATIONS_OF_TOOLS[tool.name] in OPERATIONS
        assert tool.reads_only == (OPERATIONS[tool.operation].permission == "read")
        assert set(tool.required) <= set(tool.arguments)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_every_tool(running: Served, mode: str) -> None:
    async with agent(running, query="?user_id=alice", mode=mode) as client:
        assert client.instructions
        added = await good(
            client, "add_memory", text="I am allergic to peanuts.", metadata={"n": 1}
        )
        one = added["results"][0]["id"]
        said = [{"role": "user", "content": "The meeting is on Friday."}]
        told = await good(client, "add_memory", messages=said, infer=False)
        two = told["results"][0]["id"]
        found = await good(client, "search_memories", query="What am I allergic to?", top_k=1)
        assert [hit["id"] for hit in found["results"]] == [one]
        found = await good(client, "search_memories", query="food", filters={"n": 1}, threshold=0)
        assert [hit["id"] for hit in found["results"]] == [one]
        listed = await good(client, "get_memories", page=2, page_size=1)
        assert ([hit["id"] for hit in listed["results"]], listed["total"]) == ([one], 2)
        assert (await good(client, "get_memory", memory_id=one))["user_id"] == "alice"
        await good(client, "update_memory", memory_id=one, text="I am allergic to nuts.")
        assert (await good(client, "get_memory", memory_id=one))["memory"].endswith("nuts.")
        entities = await good(client, "list_entities")
        assert [(one["type"], one["name"]) for one in entities["results"]] == [("user", "alice")]
        await good(client, "delete_memory", memory_id=two)
        assert "NOT_FOUND" in await refused(client, "get_memory", memory_id=two)
        assert (await good(client, "delete_all_memories", user_id="alice"))["count"] == 1
        await good(client, "add_memory", text="x", agent_id="bot")
        assert (await good(client, "delete_entities", agent_id="bot"))["count"] == 1
        events = (await good(client, "list_events", status="SUCCEEDED"))["results"]
        event = await good(client, "get_event_status", event_id=events[0]["id"])
        assert event["status"] == "SUCCEEDED"


async def test_agents_are_told_what_is_safe(running: Served) -> None:
    async with agent(running) as client:
        listed = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert set(listed) == NAMES
    for name, tool in listed.items():
        assert tool.annotations is not None
        assert tool.annotations.read_only_hint == (name in READING)
        assert tool.annotations.open_world_hint is False
        assert len(tool.description or "") > 50
        for argument in tool.input_schema["properties"].values():
            assert argument["description"]
        assert tool.input_schema["additionalProperties"] is False
        assert tool.output_schema is not None
    destroying = {name for name, tool in listed.items() if tool.annotations.destructive_hint}  # type: ignore[union-attr]
    assert destroying == NAMES - READING - {"add_memory"}


async def test_what_is_wrong_is_said_to_the_agent(running: Served) -> None:
    async with agent(running) as client:
        assert "user_id" in await refused(client, "add_memory", text="x")
        assert "either text or messages" in await refused(client, "add_memory", user_id="a")
        assert "FILTER" in await refused(client, "search_memories", query="x")
        assert "It has: query" in await refused(client, "search_memories", query="x", q="y")
        assert "needs query" in await refused(client, "search_memories", user_id="a")
        assert "top_k" in await refused(client, "search_memories", query="x", user_id="a", top_k=0)
        assert "(NOT_FOUND)" in await refused(client, "update_memory", memory_id=UNKNOWN, text="x")
        assert "At least one" in await refused(client, "delete_all_memories")
        named = {"user_id": "a", "agent_id": "b"}
        assert "exactly one" in await refused(client, "delete_entities", **named)
        with pytest.raises(MCPError, match="no such tool"):
            await client.call_tool("forget_me", {})


async def test_nobody_is_forgotten_by_default(running: Served) -> None:
    async with agent(running, query="?user_id=alice") as client:
        await good(client, "add_memory", text="kept")
        await refused(client, "delete_all_memories")
        await refused(client, "delete_entities")
        assert (await good(client, "get_memories"))["total"] == 1


async def test_the_user_of_a_connection_is_only_a_default(running: Served) -> None:
    async with agent(running, X_Holdfast_User="alice") as client:
        await good(client, "add_memory", text="mine")
        await good(client, "add_memory", text="his", user_id="bob")
        assert (await good(client, "get_memories"))["total"] == 1
        both = {"OR": [{"user_id": "alice"}, {"user_id": "bob"}]}
        assert (await good(client, "get_memories", filters=both))["total"] == 2
        his = await good(client, "get_memories", user_id="bob")
        assert [one["memory"] for one in his["results"]] == ["his"]


# ---------------------------------------------------------------- who may what


async def test_a_key_for_one_user_sees_nobody_else(running: Served) -> None:
    key = made_key(running, users=["bob"], permissions=["read", "write"])
    async with agent(running) as everybody, agent(running, key) as bob:
        added = await good(everybody, "add_memory", text="swordfish is the code", user_id="alice")
        secret = added["results"][0]["id"]
        await good(bob, "add_memory", text="I like fish")
        for arguments in ({}, {"user_id": "alice"}, {"filters": {"user_id": "*"}}):
            found = await good(bob, "search_memories", query="code", threshold=0, **arguments)
            assert secret not in json.dumps(found)
        assert "NOT_FOUND" in await refused(bob, "get_memory", memory_id=secret)
        assert "NOT_FOUND" in await refused(bob, "delete_memory", memory_id=secret)
        assert "FORBIDDEN" in await refused(bob, "add_memory", text="x", user_id="alice")
        assert (await good(bob, "delete_all_memories", user_id="alice"))["count"] == 0
        entities = await good(bob, "list_entities")
        assert [one["name"] for one in entities["results"]] == ["bob"]
        assert (await good(everybody, "get_memory", memory_id=secret))["memory"]


async def test_a_key_that_reads_sees_reading_tools_only(running: Served) -> None:
    key = made_key(running, permissions=["read"])
    async with agent(running, key, query="?user_id=alice") as client:
        assert {tool.name for tool in (await client.list_tools()).tools} == READING
        assert "FORBIDDEN" in await refused(client, "add_memory", text="x")
        assert "FORBIDDEN" in await refused(client, "delete_all_memories", user_id="alice")


def post(running: Served, **headers: str) -> httpx.Response:
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    accept = {"accept": "application/json, text/event-stream"}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.post(f"{running.url}/mcp", json=body, headers={**accept, **named})


def test_without_a_valid_key_nothing_is_told(running: Served) -> None:
    for headers in ({}, {"authorization": "Bearer wrong"}, {"x_api_key": "hf-000000000000-x"}):
        answer = post(running, **headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.json()["code"] == "UNAUTHENTICATED"
    assert post(running, authorization=f"Token {running.key}").status_code == 200


def test_a_revoked_key_is_refused_at_once(running: Served) -> None:
    made = running.run(running.deployment.admin.create_key())
    assert post(running, x_api_key=made.secret).status_code == 200
    running.run(running.deployment.admin.revoke_key(made.key.id))
    assert post(running, x_api_key=made.secret).status_code == 401


def test_pages_from_elsewhere_and_borrowed_names_are_refused(running: Served) -> None:
    key = {"x_api_key": running.key}
    assert post(running, **key, origin="https://evil.example").status_code == 403
    assert post(running, **key, origin="null").status_code == 403
    assert post(running, **key, origin="http://localhost:6274").status_code == 200
    assert post(running, **key, host="evil.example").status_code == 403
    assert post(running, **key, host="localhost:1").status_code == 200


def test_where_a_server_is_public_only_listed_pages_may_call(running: Served) -> None:
    config = running.deployment.admin.config.server
    public = replace(config, host="0.0.0.0", cors_origins="https://a.example, https://b.example")
    check_origin({"host": "memory.example", "origin": "https://b.example"}, public)
    check_origin({"host": "memory.example"}, public)
    for origin in ("http://localhost", "https://c.example", "http://["):
        with pytest.raises(AccessError):
            check_origin({"host": "memory.example", "origin": origin}, public)
    behind = replace(config, trusted_proxies="127.0.0.1")
    check_origin({"host": "memory.example"}, behind)


def test_other_methods_and_bodies_are_refused(running: Served) -> None:
    headers = {**running.headers, "accept": "application/json, text/event-stream"}
    url = f"{running.url}/mcp"
    assert httpx.get(url, headers=headers).status_code == 405
    assert httpx.delete(url, headers=headers).status_code == 405
    sent = {**headers, "content-type": "application/json"}
    assert httpx.post(url, content=b"{", headers=sent).status_code == 400
    big = (b"x" * 1024 for _ in range(40 * 1024))
    assert httpx.post(url, content=big, headers=sent).status_code == 413


async def test_calls_are_counted(tmp_path: Path) -> None:
    with served(
        tmp_path / "store", key_limit_search="3/minute", user_limit_search="2/minute"
    ) as limited:
        async with agent(limited) as client:
            for _ in range(2):
                await good(client, "search_memories", query="x", user_id="alice")
            said = await refused(client, "search_memories", query="x", user_id="alice")
            assert "RATE_LIMITED" in said
            assert "Try again in" in said
            said = await refused(client, "search_memories", query="x", user_id="bob")
            assert "RATE_LIMITED" in said


async def test_a_tool_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def search(*_: Any, **__: Any) -> None:
        await asyncio.sleep(600)

    monkeypatch.setattr(AsyncMemory, "search", search)
    with served(tmp_path / "store", request_timeout_s=0.5) as slow:
        async with agent(slow, mode="legacy") as client:
            with pytest.raises(MCPError):
                await client.call_tool("search_memories", {"query": "x", "user_id": "a"})
        assert _tasks(slow) == 0


async def test_many_agents_at_once(running: Served) -> None:
    async def work(number: int) -> list[str]:
        async with agent(running, query=f"?user_id=user{number}") as client:
            for turn in range(3):
                await good(client, "add_memory", text=f"number {number} said {turn}")
            found = await good(client, "search_memories", query="number said", threshold=0)
            return [hit["memory"] for hit in found["results"]]

    answers = await asyncio.gather(*(work(number) for number in range(8)))
    for number, memories in enumerate(answers):
        assert sorted(memories) == [f"number {number} said {turn}" for turn in range(3)]
    assert _tasks(running) == 0


def _tasks(running: Served) -> int:
    """Tasks of the server that have to do with agents, once everybody has gone."""

    async def count() -> int:
        names = [task.get_coro().__qualname__ for task in asyncio.all_tasks()]  # type: ignore[union-attr]
        return len([name for name in names if "stateless" in name or "Endpoint" in name])

    found: int = running.run(count())
    return found
