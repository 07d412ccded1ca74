"""The real `mem0` command of Mem0, pointed at a running server by MEM0_BASE_URL."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from compat import typescript_environments as environments
from support.served import Served

pytestmark = [
    pytest.mark.compat,
    pytest.mark.timeout(900),
    pytest.mark.skipif(environments.missing() is not None, reason=str(environments.missing())),
]

Mem0 = Callable[..., Any]
"""Runs the command with arguments; what it prints, read as JSON."""


@pytest.fixture
def mem0(server: Served, tmp_path: Path) -> Mem0:
    """The command with a home of its own."""
    script = environments.cli()
    variables = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "MEM0_API_KEY": server.key,
        "MEM0_BASE_URL": server.url,
        "MEM0_TELEMETRY": "false",
    }

    def run(*arguments: str) -> Any:
        done = subprocess.run(
            ["node", str(script), "--json", *arguments],
            env=variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"mem0 {arguments[0]}: {done.stdout}{done.stderr}"
        return json.loads(done.stdout)

    return run


def test_the_command_remembers_finds_and_forgets(mem0: Mem0) -> None:
    ann = ("--user-id", "ann")
    assert mem0("status")["data"]["connected"]
    tea = mem0("add", "I like to drink tea", *ann, "--no-infer")["data"][0]
    mem0("add", "I live in Lisbon", *ann)
    assert mem0("list", *ann)["count"] == 2
    assert mem0("search", "What do I drink?", *ann)["data"][0]["id"] == tea["id"]
    assert mem0("get", tea["id"])["data"]["memory"] == "I like to drink tea"
    mem0("update", tea["id"], "I like to drink coffee")
    assert mem0("get", tea["id"])["data"]["memory"] == "I like to drink coffee"
    assert mem0("entity", "list", "users")["data"] == [{"name": "ann", "type": "user"}]
    event = mem0("event", "list")["data"][0]
    assert mem0("event", "status", event["id"])["data"]["status"] == "SUCCEEDED"
    mem0("delete", tea["id"], "--force")
    assert mem0("list", *ann)["count"] == 1
    mem0("delete", "--all", *ann, "--force")
    assert mem0("list", *ann)["count"] == 0
    mem0("add", "I like tea", *ann, "--no-infer")
    mem0("entity", "delete", *ann, "--force")
    assert mem0("entity", "list", "users")["data"] == []
