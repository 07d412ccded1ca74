"""Limits in a Redis that several servers share: a real one, that dies and comes back."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from holdfast import limits
from holdfast.server import limiter
from support.certificates import certificate
from support.served import PLAIN, Served, served

BINARY = shutil.which("redis-server") or ""

pytestmark = pytest.mark.skipif(
    not BINARY, reason="redis-server is not installed: apt-get install redis-server"
)

WITHIN = 20
LIMIT = f"{WITHIN}/hour"


class Redis:
    """A Redis of this test alone; with a certificate and its key it speaks TLS only."""

    def __init__(self, folder: Path, tls: tuple[Path, Path] | None = None) -> None:
        with closing(socket.create_server(("127.0.0.1", 0))) as free:
            self.port = free.getsockname()[1]
        self._folder = folder
        self._tls = tls
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"{'redis' if tls is None else 'rediss'}://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        listen: tuple[str, ...] = ("--port", str(self.port))
        if self._tls is not None:
            certificate_file, key_file = map(str, self._tls)
            listen = (
                "--port", "0", "--tls-port", str(self.port), "--tls-cert-file", certificate_file,
                "--tls-key-file", key_file, "--tls-auth-clients", "no",
            )  # fmt: skip
        options = (*listen, "--save", "", "--dir", str(self._folder))
        self._process = subprocess.Popen(
            [BINARY, *options, "--bind", "127.0.0.1"], stdout=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 10
        while not self._answers():
            assert time.monotonic() < deadline, "redis-server does not start"
            time.sleep(0.02)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as line:
                if self._tls is not None:
                    return True
                line.sendall(b"PING\r\n")
                return line.recv(64).startswith(b"+PONG")
        except OSError:
            return False

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    made = Redis(tmp_path)
    made.start()
    yield made
    made.kill()


@pytest.fixture
def two(redis: Redis, tmp_path: Path) -> Iterator[tuple[Served, Served]]:
    """Two servers on one Redis."""
    with (
        served(tmp_path / "one", redis_url=redis.url, key_limit_read=LIMIT) as one,
        served(tmp_path / "two", redis_url=redis.url, key_limit_read=LIMIT) as other,
    ):
        yield one, other


def call(server: Served) -> httpx.Response:
    return httpx.get(f"{server.url}/v1/ping/", headers=server.headers, verify=PLAIN)


def redis_health(server: Served) -> str:
    return str(httpx.get(f"{server.url}/health", verify=PLAIN).json()["parts"]["redis"]["status"])


def in_redis(server: Served) -> str:
    # /metrics counts as a read of the key, so what the limiter thinks is asked directly
    return "redis" if server.deployment.limiter.shared else "here"


def test_two_servers_share_a_window(two: tuple[Served, Served]) -> None:
    one, other = two
    for number in range(WITHIN):
        answer = call(two[number % 2])
        assert answer.status_code == 200, number
        assert int(answer.headers["x-ratelimit-remaining"]) == WITHIN - 1 - number
    for server in two:
        answer = call(server)
        assert answer.status_code == 429
        assert 0 < int(answer.headers["retry-after"]) <= 3600
    assert redis_health(one) == redis_health(other) == "ok"


def test_a_redis_that_dies_takes_nothing_down_and_comes_back(
    two: tuple[Served, Served], redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(WITHIN // 2):
        assert [call(server).status_code for server in two] == [200, 200]
    assert call(two[0]).status_code == 429
    redis.kill()
    for server in two:  # each counts by itself, from nothing
        began = time.monotonic()
        statuses = [call(server).status_code for _ in range(WITHIN + 1)]
        assert statuses == [200] * WITHIN + [429]
        assert time.monotonic() - began < 5, "a dead Redis costs no time"
        assert in_redis(server) == "here"
        assert redis_health(server) == "down"
        answer = httpx.get(f"{server.url}/health", verify=PLAIN)
        assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
    assert sum("Redis is away" in message for message in caplog.messages) == 2, "once each"
    redis.start()
    time.sleep(limits.REDIS_PAUSE_S)
    assert [call(server).status_code for server in two] == [200, 200], "an empty Redis"
    assert [in_redis(server) for server in two] == ["redis", "redis"]
    assert int(call(two[0]).headers["x-ratelimit-remaining"]) == WITHIN - 3, "shared again"
    assert sum("Redis is back" in message for message in caplog.messages) == 2
    assert str(redis.port) not in caplog.text


def test_a_server_starts_without_its_redis(redis: Redis, tmp_path: Path) -> None:
    redis.kill()
    with served(tmp_path / "one", redis_url=redis.url) as server:
        assert call(server).status_code == 200
        assert in_redis(server) == "here"


def test_a_redis_that_hangs_is_not_waited_for(tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0), backlog=64)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        with served(tmp_path / "one", redis_url=url) as server:
            took = []
            for _ in range(20):
                began = time.monotonic()
                assert call(server).status_code == 200
                took.append(time.monotonic() - began)
            assert sorted(took)[10] < limits.REDIS_TIMEOUT_S, "most calls do not ask it at all"
            assert redis_health(server) == "down"


def test_limits_are_shared_over_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limiter, "REDIS_TIMEOUT_S", 10.0)  # a handshake takes long if all are busy
    tls = certificate(tmp_path)
    redis = Redis(tmp_path, tls)
    redis.start()
    try:
        trusted = f"{redis.url}?ssl_ca_certs={tls[0]}"
        with (
            served(tmp_path / "one", redis_url=trusted, key_limit_read=LIMIT) as one,
            served(tmp_path / "two", redis_url=trusted, key_limit_read=LIMIT) as other,
        ):
            left = [int(call(each).headers["x-ratelimit-remaining"]) for each in (one, other)]
            assert left == [WITHIN - 1, WITHIN - 2]
            assert [in_redis(one), in_redis(other)] == ["redis", "redis"]
            assert redis_health(one) == "ok"
    finally:
        redis.kill()


def test_a_redis_that_cannot_prove_itself_is_not_counted_in(tmp_path: Path) -> None:
    redis = Redis(tmp_path, certificate(tmp_path))
    redis.start()
    try:
        with served(tmp_path / "one", redis_url=redis.url, key_limit_read=LIMIT) as server:
            assert call(server).status_code == 200
            assert in_redis(server) == "here"
            assert redis_health(server) == "down"
    finally:
        redis.kill()
