"""`holdfast serve` and `holdfast worker` as real processes: how they start, drain and end."""

from __future__ import annotations

import json
import re
import signal
import socket
import sqlite3
import stat
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from holdfast import Memory
from support.llm_server import LLMServer, chat
from support.process import ADMIN_KEY, running, talker

SLOW_S = 3.0
FACTS = json.dumps(
    {
        "facts": [
            {"turn": 1, "quote": "three hives of bees", "text": "Keeps three hives of bees",
             "when": "", "entities": [], "categories": [], "replaces": []}
        ]
    }
)  # fmt: skip
SAID = "I keep three hives of bees in Kent."
SEARCH = {"query": "bees", "filters": {"user_id": "ann"}, "rerank": True}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "store"


def settings(llm: LLMServer | None = None, **server: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"server": {"admin_key": ADMIN_KEY, "port": 0, **server}}
    if llm is not None:
        model = {"model": "scripted", "openai_base_url": llm.url, "api_key": "k"}
        part = {"provider": "openai", "config": model}
        found |= {"llm": part, "reranker": {"provider": "llm_reranker", "config": {"llm": part}}}
    return found


def remember(home: Path, text: str = SAID) -> None:
    """Put a memory into the store without a server or a model."""
    with Memory({"path": str(home)}) as memory:
        memory.add(text, user_id="ann")


def queue(home: Path, llm: LLMServer) -> str:
    """Queue an extraction and leave; the job's id."""
    given = settings(llm) | {"path": str(home), "workers": 0}
    with Memory(given) as memory:
        return str(memory.add(SAID, user_id="ann", wait=False)["event_id"])


def job(home: Path, job_id: str) -> tuple[str, int]:
    """State and tries of a job, as they are on disk."""
    with closing(sqlite3.connect(home / "holdfast.db")) as connection:
        row = connection.execute("SELECT state, attempts FROM jobs WHERE id = ?", (job_id,))
        found: tuple[str, int] = row.fetchone()
        return found


def eventually(check: Any, patience_s: float = 30.0) -> None:
    deadline = time.monotonic() + patience_s
    while not check():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.05)


# ---------------------------------------------------------------------- start


def test_without_any_setting_it_serves_and_shows_a_key_once(home: Path) -> None:
    with running("serve", "--port", "0", home=home) as server:
        url = server.url
        key = server.hear(r"key +(hf-\S+)").group(1)
        assert "/docs" in server.said
        assert str(home / "holdfast.db") in server.said
        with talker(url, key) as client:
            assert client.get("/v1/ping/").status_code == 200
            assert client.get("/metrics").status_code == 200, "the first key runs the deployment"
        trial = server.hear(r"try it +(KEY=.*)").group(1).replace("KEY=hf-...", f"KEY={key}")
        answer = subprocess.run(
            ["bash", "-c", trial], check=True, capture_output=True, text=True, timeout=30
        )
        assert json.loads(answer.stdout)["results"][0]["memory"] == "I like tea.", answer
        server.send(signal.SIGTERM)
        assert server.wait() == 0
        assert server.said.count(key) == 1, "told once, and never in the log"
    with running("serve", "--port", "0", home=home) as server:
        assert server.url
        server.send(signal.SIGINT)
        assert server.wait() == 0
        assert "hf-" not in server.said


def test_the_log_is_json_and_holds_nothing_that_was_sent(home: Path) -> None:
    remember(home)
    with running("serve", "--log-format", "json", home=home, settings=settings()) as server:
        with talker(server.url) as client:
            answer = client.post("/v3/memories/search/", json=SEARCH | {"rerank": False})
            assert SAID in answer.text
            client.get("/secret-path/ann")
        server.hear('"operation": "unknown"')
        server.send(signal.SIGTERM)
        assert server.wait() == 0
        lines = [json.loads(line) for line in server.said.splitlines() if line.startswith("{")]
        search = next(line for line in lines if line.get("operation") == "search")
        assert search["request_id"] == answer.headers["x-request-id"]
        assert (search["status"], search["method"], search["key"]) == (200, "POST", "root")
        for word in ("bees", "ann", "secret-path", ADMIN_KEY):
            assert not re.search(rf"\b{word}\b", "".join(map(str, lines))), word


@pytest.mark.parametrize(
    ("server", "told"),
    [
        ({"tls_key": "key.pem"}, "without server.tls_cert"),
        ({"tls_cert": "missing.pem"}, "cannot be read"),
        ({"tls_cert": __file__}, "not a certificate"),
        ({"trusted_proxies": "example.org"}, "no address and no network"),
        ({"redis_url": "http://x"}, "no address of a Redis"),
    ],
)
def test_what_it_cannot_do_is_told_in_one_line(
    home: Path, server: dict[str, str], told: str
) -> None:
    with running("serve", home=home, settings=settings(**server)) as process:
        assert process.wait() == 2
        assert told in process.said
        assert len(process.said.splitlines()) == 1, process.said


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_port_that_is_taken_is_told_in_one_line(home: Path, workers: str) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = str(other.getsockname()[1])
        words = ("serve", "--port", port, "--workers", workers)
        with running(*words, home=home) as process:
            assert process.wait() == 2
            assert "another program listens there" in process.said
            assert len(process.said.splitlines()) == 1, process.said


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_store_that_cannot_be_opened_is_told_in_one_line(home: Path, workers: str) -> None:
    home.mkdir()
    (home / "holdfast.db").write_bytes(b"this is no database" * 1_000)
    with running("serve", "--port", "0", "--workers", workers, home=home) as process:
        assert process.wait() == 4
        assert len(process.said.splitlines()) == 1, process.said
        assert "(CORRUPT)" in process.said


# ---------------------------------------------------------------------- the end


def test_told_to_stop_it_finishes_what_runs_and_hands_its_job_back(
    home: Path, llm: LLMServer
) -> None:
    """A slow search goes on to its end, a slow job is left to others, its try not counted."""
    remember(home)
    job_id = queue(home, llm)
    llm.say(chat("{}", delay_s=60.0), chat('{"scores": [{"id": 1, "score": 9}]}', delay_s=SLOW_S))
    with running("serve", home=home, settings=settings(llm, drain_s=30)) as server:
        url = server.url
        llm.wait_for_requests(1, 30)
        assert job(home, job_id) == ("RUNNING", 1)
        with talker(url) as client, ThreadPoolExecutor(1) as pool:
            assert client.get("/health/ready").status_code == 200
            searching = pool.submit(client.post, "/v3/memories/search/", json=SEARCH)
            llm.wait_for_requests(2, 30)
            server.send(signal.SIGTERM)
            eventually(lambda: not accepts(url), 10)
            answer = searching.result(30)
        assert answer.status_code == 200
        assert answer.json()["results"][0]["memory"] == SAID
        assert server.wait() == 0
    assert job(home, job_id) == ("PENDING", 0)
    llm.say(FACTS)
    with running("worker", home=home, settings=settings(llm)) as worker:
        eventually(lambda: job(home, job_id) == ("SUCCEEDED", 1))
        worker.send(signal.SIGTERM)
        assert worker.wait() == 0


def accepts(url: str) -> bool:
    host, port = url.removeprefix("http://").split(":")
    try:
        with socket.create_connection((host, int(port)), 1):
            return True
    except OSError:
        return False


def test_before_it_stops_it_says_that_it_is_not_ready(home: Path) -> None:
    with running("serve", home=home, settings=settings(drain_notice_s=2.0)) as server:
        with httpx.Client(base_url=server.url) as client:
            assert client.get("/health/ready").json() == {"status": "ready"}
            server.send(signal.SIGTERM)
            eventually(lambda: client.get("/health/ready").status_code == 503, 1.5)
            assert client.get("/health/ready").json() == {"status": "draining"}
            assert client.get("/health/live").status_code == 200
            assert client.get("/health").json()["draining"] is True
        assert server.wait() == 0


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_told_twice_it_ends_at_once(home: Path, llm: LLMServer, second: int) -> None:
    remember(home)
    llm.say(chat("{}", delay_s=60.0))
    with running("serve", home=home, settings=settings(llm, drain_s=60)) as server:
        url = server.url
        asking = threading.Thread(target=quietly, args=(url,))
        asking.start()
        llm.wait_for_requests(1, 30)
        server.send(signal.SIGTERM)
        eventually(lambda: not accepts(url), 10)
        assert server.process.poll() is None, "it waits for the search"
        began = time.monotonic()
        server.send(second)
        assert server.wait(10) == 128 + second
        assert time.monotonic() - began < 5
        asking.join(10)


def quietly(url: str) -> None:
    """A search whose server may go away."""
    with talker(url) as client:
        try:
            client.post("/v3/memories/search/", json=SEARCH)
        except httpx.TransportError:
            return


def test_what_takes_longer_than_the_drain_is_ended(home: Path, llm: LLMServer) -> None:
    remember(home)
    llm.say(chat("{}", delay_s=60.0))
    with running("serve", home=home, settings=settings(llm, drain_s=1)) as server:
        asking = threading.Thread(target=quietly, args=(server.url,))
        asking.start()
        llm.wait_for_requests(1, 30)
        server.send(signal.SIGTERM)
        assert server.wait(20) == 0
        asking.join(10)


# ---------------------------------------------------------------------- several


def test_several_processes_serve_one_store(home: Path) -> None:
    words = ("serve", "--workers", "2")
    open_metrics = settings(metrics_open=True)
    with running(*words, home=home, settings=open_metrics) as server:
        url = server.url
        assert "limits are counted in each by itself" in server.said
        for number in range(20):
            with talker(url) as client:  # a new connection each time: either process may take it
                assert client.get("/v1/ping/").status_code == 200, number

        def total() -> float:
            text = httpx.get(f"{url}/metrics").text
            found = re.search(r'operations_total\{operation="whoami",status="2xx"\} (\S+)', text)
            return float(found.group(1)) if found else 0.0

        eventually(lambda: total() == 20, 10)
        server.send(signal.SIGTERM)
        assert server.wait() == 0
    assert not accepts(url)


def test_a_process_that_dies_is_replaced_and_none_outlives_the_parent(home: Path) -> None:
    with running("serve", "--workers", "2", home=home, settings=settings()) as server:
        url = server.url
        eventually(lambda: len(children(server.process.pid)) == 2)
        time.sleep(5.5)  # those that die within BEGIN_S count as never begun
        victim = children(server.process.pid)[0]
        signal_to(victim)
        server.hear("another takes its place")
        eventually(lambda: len(set(children(server.process.pid)) - {victim}) == 2)
        httpx.get(f"{url}/health/live").raise_for_status()
        left = children(server.process.pid)
        server.process.kill()
        server.wait()
        eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in left))


def children(parent: int) -> list[int]:
    """The processes that serve, by what Linux tells of them."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            told = (folder / "stat").read_text().rpartition(")")[2].split()
            words = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if int(told[1]) == parent and b"spawn_main" in words:
            found.append(int(folder.name))
    return found


def signal_to(pid: int) -> None:
    import os

    os.kill(pid, signal.SIGKILL)


def test_the_store_of_a_first_start_is_for_its_owner_alone(home: Path) -> None:
    with running("serve", "--port", "0", home=home) as server:
        assert server.url
        mode = stat.S_IMODE((home / "holdfast.db").stat().st_mode)
        assert not mode & stat.S_IWOTH
        assert not stat.S_IMODE(home.stat().st_mode) & 0o077, "others do not even see it"
