"""The command line as tests use it: in this process, or as a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from holdfast.cli.main import app

Run = Callable[..., Result]
Start = Callable[..., "subprocess.CompletedProcess[bytes]"]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command in this process; standard input is empty unless given."""
    monkeypatch.delenv("HOLDFAST_USER", raising=False)
    monkeypatch.setenv("COLUMNS", "80")

    def call(*arguments: object, input: str | bytes | None = None) -> Result:
        return CliRunner().invoke(app, [str(argument) for argument in arguments], input=input)

    return call


@pytest.fixture
def done(run: Run) -> Callable[..., str]:
    """Runs a command that must succeed; what it printed."""

    def call(*arguments: object, input: str | bytes | None = None) -> str:
        result = run(*arguments, input=input)
        assert result.exit_code == 0, result.output
        return result.stdout

    return call


@pytest.fixture
def told(done: Callable[..., str]) -> Callable[..., Any]:
    """Runs a command with --json that must succeed; the document it printed."""

    def call(*arguments: object, input: str | bytes | None = None) -> Any:
        return json.loads(done(*arguments, "--json", input=input))

    return call


@pytest.fixture
def refused(run: Run) -> Callable[..., str]:
    """Runs a command that must fail with this code; the one line it said."""

    def call(code: int, *arguments: object, input: str | bytes | None = None) -> str:
        result = run(*arguments, input=input)
        assert result.exit_code == code, result.output
        lines = result.stderr.splitlines()
        assert len(lines) == 1, result.stderr
        assert lines[0].startswith("error: ")
        assert result.stdout == ""
        return lines[0]

    return call


@pytest.fixture
def start() -> Start:
    """Runs the command as a process of its own."""

    def call(*arguments: object, **options: Any) -> subprocess.CompletedProcess[bytes]:
        options.setdefault("env", {**os.environ, "COLUMNS": "80"})
        return subprocess.run(
            command(*arguments), capture_output=True, timeout=60, check=False, **options
        )

    return call


def command(*arguments: object) -> list[str]:
    """The command line as words of a process."""
    return [sys.executable, "-m", "holdfast", *map(str, arguments)]


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes a file: lines of JSON for a list when `lines`, else one JSON document."""

    def call(name: str, value: Any, *, lines: bool = False) -> Path:
        file = tmp_path / name
        text = "\n".join(map(json.dumps, value)) + "\n" if lines else json.dumps(value)
        file.write_text(text, encoding="utf-8")
        return file

    return call
