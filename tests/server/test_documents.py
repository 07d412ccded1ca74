"""What docs/clients.md and docs/mcp.md show is true: run against a real server."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from docs.blocks import ROOT, blocks
from holdfast import Client, ConfigError
from holdfast.server.app import build
from holdfast.server.mcp.tools import TOOLS
from server.test_mcp_stdio import agent as started
from support.served import Served

CLIENTS = (ROOT / "docs/clients.md").read_text("utf-8")
MCP = (ROOT / "docs/mcp.md").read_text("utf-8")
SHOWN_URL, SHOWN_KEY = "http://127.0.0.1:8888", "hf-..."


@pytest.fixture
def there(server: Served) -> dict[str, str]:
    """An environment that names a running server."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    named = {"HOLDFAST_URL": server.url, "HOLDFAST_API_KEY": server.key, "PATH": path}
    return {**os.environ, **named}


def run(command: list[str], environment: dict[str, str], folder: Path | None = None) -> str:
    done = subprocess.run(
        command,
        env=environment,
        cwd=folder,
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_programs_of_the_clients_page(
    server: Served, there: dict[str, str], tmp_path: Path
) -> None:
    programs = blocks(CLIENTS, "python", run=False)
    assert len(programs) == 3
    for program in programs:
        text = program.replace(SHOWN_URL, server.url).replace(SHOWN_KEY, server.key)
        run([sys.executable, "-W", "error", "-c", text], there, tmp_path)
    with Client(server.url, server.key) as memory:
        assert memory.count({"user_id": "bob"}) == 64
    document = json.loads((tmp_path / "bob.json").read_text("utf-8"))
    assert len(document["memories"]) == 64


def test_the_requests_of_the_clients_page(server: Served, there: dict[str, str]) -> None:
    search, create = [one for one in blocks(CLIENTS, "sh", run=False) if "curl" in one]
    assert json.loads(run(["bash", "-c", search], there)) == {"results": []}
    assert json.loads(run(["bash", "-c", create], there))["users"] == ["bob"]


def test_the_routes_of_the_clients_page_exist() -> None:
    known = build().openapi()["paths"]
    rows = re.findall(r"^\| (`[^|]+`) \|", CLIENTS, re.MULTILINE)
    assert len(rows) > 5
    for row in rows:
        *methods, last = row.replace("`", "").replace(",", "").split()
        path = last.replace("{id}/rotate", "{key_id}/rotate")
        paths = [path, path.replace("{id}", "{key_id}"), path.replace("{id}", "{project}")]
        assert any({m.lower() for m in methods} <= set(known.get(one, {})) for one in paths), row


def entries() -> Iterator[dict[str, Any]]:
    """Every server that a piece of configuration names."""
    for text in blocks(MCP, "json"):
        content = json.loads(text)
        yield from (content.get("mcpServers") or content["servers"]).values()


def test_no_schema_is_named_after_a_module() -> None:
    schemas = build().openapi()["components"]["schemas"]
    assert len(schemas) > 50
    assert [name for name in schemas if "__" in name] == []


async def test_the_commands_of_the_mcp_page_start(server: Served) -> None:
    commands = [entry for entry in entries() if "command" in entry]
    assert len(commands) == 3
    for entry in commands:
        assert entry["command"] == "holdfast"
        name, *arguments = entry["args"]
        assert name == "mcp"
        here = [server.url if one.startswith("https:") else one for one in arguments]
        environment = dict.fromkeys(entry.get("env", {}), server.key)
        async with started(*here, **environment) as client:
            result = await client.call_tool("get_memories", {})
            assert not result.is_error


def test_the_urls_of_the_mcp_page_are_routes_of_ours() -> None:
    urls = [entry for entry in entries() if "url" in entry]
    assert len(urls) == 2
    for entry in urls:
        assert entry["url"].endswith("/mcp?user_id=alice")
        assert entry["headers"] == {"Authorization": "Bearer hf-..."}


def test_the_tools_of_the_mcp_page_are_those_there_are() -> None:
    rows = re.findall(r"^\| `(\w+)` \|[^|]+\| (\w+) \|", MCP, re.MULTILINE)
    told = {tool.name: _changes(tool) for tool in TOOLS}
    assert dict(rows) == told


def _changes(tool: Any) -> str:
    if tool.reads_only:
        return "no"
    if not tool.destroys:
        return "adds"
    return "deletes" if tool.name.startswith("delete") else "yes"


def test_without_a_server_the_page_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOLDFAST_URL", raising=False)
    with pytest.raises(ConfigError, match="HOLDFAST_URL"):
        Client()
