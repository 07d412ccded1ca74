"""`holdfast mcp` as agents start it: a real process, the official client."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from mcp import Client, StdioServerParameters, stdio_client

from server.test_mcp import NAMES, good, refused
from support.served import Served

COMMAND = [sys.executable, "-m", "holdfast", "mcp"]


@asynccontextmanager
async def agent(*arguments: str, **environment: str) -> AsyncIterator[Client]:
    """An agent that has started the command."""
    parameters = StdioServerParameters(
        command=COMMAND[0], args=[*COMMAND[1:], *arguments], env={**os.environ, **environment}
    )
    async with Client(stdio_client(parameters)) as client:
        yield client


async def test_it_works_without_any_configuration(home: Path) -> None:
    async with agent() as client:
        assert {tool.name for tool in (await client.list_tools()).tools} == NAMES
        await good(client, "add_memory", text="I am allergic to peanuts.")
        assert "It has: query" in await refused(client, "search_memories", question="x")
    async with agent(HOLDFAST_USER="somebody") as client:  # the store is kept, users are apart
        assert (await good(client, "get_memories"))["total"] == 0
        mine = await good(client, "search_memories", query="What is bad for me?", user_id="me")
        assert [one["memory"] for one in mine["results"]] == ["I am allergic to peanuts."]
    assert "holdfast.db" in os.listdir(home)


async def test_several_agents_share_a_store(tmp_path: Path) -> None:
    where = ("--home", str(tmp_path), "--user", "alice")
    async with agent(*where) as one, agent(*where) as two:
        await good(one, "add_memory", text="The meeting is on Friday.")
        found = await good(two, "search_memories", query="When is the meeting?")
        assert len(found["results"]) == 1


async def test_it_works_on_a_server(server: Served) -> None:
    made = server.run(server.deployment.admin.create_key(users=["alice"]))
    async with agent("--url", server.url, "--user", "alice", HOLDFAST_API_KEY=made.secret) as one:
        await good(one, "add_memory", text="The meeting is on Friday.")
        assert "FORBIDDEN" in await refused(one, "add_memory", text="x", user_id="bob")
    memory = server.deployment.admin.memory()
    assert server.run(memory.count({"user_id": "alice"})) == 1
    async with agent("--url", server.url, "--api-key", "wrong") as one:
        assert "UNAUTHENTICATED" in await refused(one, "get_memories")


def test_it_ends_when_the_agent_goes_away(tmp_path: Path) -> None:
    command = [*COMMAND, "--home", str(tmp_path)]
    ended = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=60
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b"")


@pytest.mark.parametrize("arguments", [["--url", "nowhere"], ["--config", "/nowhere.toml"]])
def test_what_is_wrong_is_said_on_the_error_stream(arguments: list[str]) -> None:
    ended = subprocess.run(
        [*COMMAND, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.startswith("error: ")
