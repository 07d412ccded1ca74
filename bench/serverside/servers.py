"""The servers that are measured, each a process of its own, and the process that asks them."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sidebyside import environments
from sidebyside.processes import LOG_TAIL_LINES, ContenderError

KEY = "the-admin-key-of-the-benchmark"
NAMES = ("bare", "holdfast", "mem0")
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 30.0
LOAD_SLACK_S = 120.0
"""How long the load generator may take beyond the time its plan gives it."""
TESTS = environments.BENCH.parent / "tests"


@dataclass(frozen=True)
class Server:
    """A server that takes requests."""

    name: str
    port: int
    pid: int
    log: Path

    @property
    def token(self) -> str | None:
        """The key it asks for, if it asks for one."""
        return KEY if self.name == "holdfast" else None


@contextmanager
def serving(name: str, home: Path, llm_url: str | None = None) -> Iterator[Server]:
    """A running server on the store under `home`; it is stopped when the block is left.

    Raises ContenderError if it does not start.
    """
    home.mkdir(parents=True, exist_ok=True)
    port = _free_port()
    log = home / "server.log"
    command = [str(environments.interpreter(name)), *_program(name, home, port, llm_url)]
    with log.open("w") as out:
        process = subprocess.Popen(
            command, env=environments.variables(name, home), stdout=out, stderr=out
        )
    try:
        _wait_for(process, port, name, log)
        yield Server(name, port, process.pid, log)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def ask(server: Server, calls: Path, clients: int, seconds_max: float, **more: Any) -> Any:
    """Lets the load generator ask a server; what happened, as `load.Happened.as_json` gives it.

    Raises ContenderError if it failed.
    """
    plan = {"port": server.port, "token": server.token, "pid": server.pid, "calls": str(calls)}
    plan |= {"clients": clients, "seconds_max": seconds_max, **more}
    variables = environments.variables("bare", calls.parent)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "serverside.load"],
            input=json.dumps(plan) + "\n",
            env=variables,
            capture_output=True,
            text=True,
            timeout=seconds_max + LOAD_SLACK_S,
            check=True,
        )
    except subprocess.TimeoutExpired as error:
        raise ContenderError(f"{server.name}: no end of the load, {tail(server.log)}") from error
    except subprocess.CalledProcessError as error:
        raise ContenderError(f"{server.name}: {error.stderr[-300:]}") from error
    return json.loads(done.stdout)


@contextmanager
def language_model(delay_s: float, error_share: float) -> Iterator[str]:
    """The URL of a language model that is slow, and broken for a share of its answers."""
    paths = os.pathsep.join([str(environments.BENCH), str(TESTS)])
    process = subprocess.Popen(
        [sys.executable, "-m", "serverside.llm_app", str(delay_s), str(error_share)],
        env={**os.environ, "PYTHONPATH": paths},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.stdin.close()
        process.wait(STOP_TIMEOUT_S)
        process.stdout.close()


def write_calls(file: Path, calls: Sequence[dict[str, Any]]) -> Path:
    """Stores calls for the load generator."""
    file.write_text("\n".join(map(json.dumps, calls)) + "\n", encoding="utf-8")
    return file


def tail(log: Path) -> str:
    """The end of a log, in one line."""
    lines = log.read_text(errors="replace").strip().splitlines()
    return re.sub(r"\s+", " ", " / ".join(lines[-LOG_TAIL_LINES:]))


def _program(name: str, home: Path, port: int, llm_url: str | None) -> list[str]:
    if name != "holdfast":
        return ["-m", f"serverside.{name}_app", str(port), *([str(home)] if name == "mem0" else [])]
    file = home / "settings.yaml"
    file.write_text(json.dumps(_settings(llm_url)))  # JSON is YAML
    return ["-m", "holdfast", "serve", "--config", str(file), "--port", str(port)]


def _settings(llm_url: str | None) -> dict[str, Any]:
    """Holdfast's defaults, without limits on rates, for one key asks for everybody here, and
    without cached answers: searches are measured, not look-ups of what was found before."""
    unlimited = {f"key_limit_{load}": "" for load in ("search", "read", "add", "write", "admin")}
    uncached = {"provider": "process", "config": {"results": False}}
    settings: dict[str, Any] = {"server": {"admin_key": KEY, **unlimited}, "cache": uncached}
    if llm_url:
        options = {"model": "scripted", "api_key": "unused", "openai_base_url": llm_url}
        settings["llm"] = {"provider": "openai", "config": options}
    return settings


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_for(process: subprocess.Popen[bytes], port: int, name: str, log: Path) -> None:
    """Until it answers a request: some listen, and let callers wait, before they are ready."""
    end = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < end:
        if process.poll() is not None:
            raise ContenderError(f"{name} did not start: {tail(log)}")
        try:
            with socket.create_connection(("127.0.0.1", port), START_TIMEOUT_S) as probe:
                probe.sendall(b"GET /health/live HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
                if probe.recv(1):
                    return
        except ConnectionError:
            time.sleep(0.05)
    raise ContenderError(f"{name} did not start in {START_TIMEOUT_S:.0f} s: {tail(log)}")
