"""No socket that was not configured: at import, in a whole life by default, with a model."""

from __future__ import annotations

import json
import os
import signal
import socket
from pathlib import Path

import httpx
import pytest

from support import sockets
from support.llm_server import LLMServer
from support.sockets import watched
from tidy.test_dependencies import declared, module_names

IMPORTS = """
import importlib, json, pkgutil, sys, threading
import holdfast
found, missing = {}, []
def load(name):
    before = set(threading.enumerate())
    importlib.import_module(name)
    started = [thread.name for thread in set(threading.enumerate()) - before]
    if started:
        found[name] = started
ours = [one.name for one in pkgutil.walk_packages(holdfast.__path__, "holdfast.")]
for name in [*ours, *sys.argv[1:]]:
    if name in ("holdfast.__main__", "holdfast.backends.migrations.env"):
        continue  # run, not imported
    try:
        load(name)
    except ModuleNotFoundError as error:
        missing.append(error.name)
print(json.dumps([len(ours), found, missing]))
"""
"""Imports every module of ours and of what extras bring; prints how many, who began threads."""

LIFE = """
import sys
from holdfast.cli.main import app
for words in (
    ["add", "-u", "ada", "I keep three hives of bees in Kent."],
    ["search", "-u", "ada", "bees"], ["list", "-u", "ada"], ["stats"], ["doctor"],
    ["config"], ["export"],
):
    try:
        app(words)
    except SystemExit as end:
        if end.code:
            raise
"""
"""What somebody does who configured nothing."""

SWALLOWS = """
import socket
try:
    socket.create_connection(("127.0.0.1", {port}), timeout=1)
except Exception:
    pass
"""
AT_ONCE = """
import asyncio, uvloop
async def go():
    try:
        await asyncio.get_running_loop().create_connection(asyncio.Protocol, "127.0.0.1", {port})
    except OSError:
        pass
uvloop.run(go())
"""

REPORTS = {
    "ANONYMIZED_TELEMETRY": "true",
    "DO_NOT_TRACK": "0",
    "HF_HUB_DISABLE_TELEMETRY": "0",
    "MEM0_TELEMETRY": "true",
    "POSTHOG_API_KEY": "phc_planted",
    "WANDB_MODE": "online",
    "LOGFIRE_SEND_TO_LOGFIRE": "true",
}
"""What makes libraries report home where they can."""


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


ASKS_FOR_IPV6 = "bind ::1:0"
"""How urllib3 finds out, at its import, whether this machine has IPv6: nothing leaves it."""


def test_no_import_opens_a_socket_or_starts_a_thread(tmp_path: Path) -> None:
    default, extras = declared()
    theirs = sorted(module_names(default | extras) - {"holdfast"})
    with watched(["-c", IMPORTS, *theirs], tmp_path, environ=REPORTS) as process:
        count, threads, missing = json.loads(process.ended())
    assert count > 200
    assert {name for name in missing if name.startswith("holdfast")} == set()
    assert {name: who for name, who in threads.items() if name.startswith("holdfast")} == {}
    assert process.sockets - {ASKS_FOR_IPV6} == set()


def test_who_configured_nothing_calls_nobody(tmp_path: Path) -> None:
    with watched(["-c", LIFE], tmp_path, environ=REPORTS) as process:
        assert "three hives" in process.ended()
    assert process.sockets == set()


def test_a_server_listens_where_it_was_told_and_calls_nobody(tmp_path: Path) -> None:
    here = f"127.0.0.1:{free_port()}"
    environ = {**REPORTS, "HOLDFAST_SERVER_ADMIN_KEY": "the-admin-key-of-the-tests"}
    words = ["-m", "holdfast", "serve", "--port", here.partition(":")[2]]
    with watched(words, tmp_path, reaches=[here], environ=environ) as process:
        errors = process.process.stderr
        assert errors is not None
        assert any("address" in line for line in errors)
        headers = {"Authorization": "Token the-admin-key-of-the-tests"}
        with httpx.Client(base_url=f"http://{here}", headers=headers, timeout=60) as client:
            body = {"messages": "I like tea", "user_id": "ada", "infer": False}
            assert client.post("/v1/memories/", json=body).is_success
            assert client.post("/v1/memories/search/", json={"query": "tea", "user_id": "ada"})
            client.post("/shutdown")
        process.process.send_signal(signal.SIGTERM)
        process.process.communicate(timeout=60)
    assert process.asked_of_python == {f"bind {here}"}
    assert process.sockets == {f"bind {here}"}


def test_with_a_model_only_its_address_is_called(tmp_path: Path) -> None:
    with LLMServer() as server:
        server.say(json.dumps({"facts": []}))
        here = server.url.removeprefix("http://").partition("/")[0]
        config = tmp_path / "config.toml"
        config.write_text(
            'workers = 1\n[llm]\nprovider = "openai"\n[llm.config]\nmodel = "scripted"\n'
            f'openai_base_url = "{server.url}"\napi_key = "sk-x"\n'
        )
        words = ["-m", "holdfast", "add", "-u", "ada", "--config", str(config), "I keep bees."]
        with watched(words, tmp_path, reaches=[here], environ=REPORTS) as process:
            process.ended()
        assert server.requests != []
    assert process.sockets == {f"connect {here}"}


def test_a_planted_connection_is_stopped_and_seen_even_if_swallowed(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        code = SWALLOWS.format(port=port)
        with watched(["-c", code], tmp_path, trace=False) as process:
            process.ended()
        server.settimeout(0.05)
        with pytest.raises(TimeoutError):
            server.accept()
    assert process.sockets == {f"connect 127.0.0.1:{port}"}


@pytest.mark.skipif(
    not sockets.traceable(), reason="strace is not installed: apt-get install strace"
)
def test_a_planted_connection_in_c_is_seen(tmp_path: Path) -> None:
    """The audit hook is not told of it, the system is."""
    port = free_port()
    with watched(["-c", AT_ONCE.format(port=port)], tmp_path) as process:
        process.ended()
    assert f"connect 127.0.0.1:{port}" in process.sockets - process.asked_of_python


def test_a_planted_thread_at_import_is_seen(tmp_path: Path) -> None:
    (tmp_path / "planted.py").write_text(
        "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    )
    environ = {"PYTHONPATH": f"{os.environ['PYTHONPATH']}{os.pathsep}{tmp_path}"}
    code = IMPORTS.replace("holdfast.__path__", "[]")
    with watched(["-c", code, "planted"], tmp_path, environ=environ, trace=False) as process:
        assert list(json.loads(process.ended())[1]) == ["planted"]
