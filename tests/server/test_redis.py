"""Limits in a Redis that several servers share: a real one, that dies and comes back."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from holdfast import limits
from holdfast.server.rates import redis as limiter_redis
from support.certificates import certificate
from support.redis import BINARY, MISSING, Redis, free_port, running
from support.served import PLAIN, Served, served

pytestmark = pytest.mark.skipif(not BINARY, reason=MISSING)

WITHIN = 20
LIMIT = f"{WITHIN}/hour"


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    made = Redis(tmp_path / "redis")
    with running([made]):
        yield made


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


def over_tls(folder: Path) -> tuple[Redis, Path]:
    """A Redis that speaks TLS only, and its certificate."""
    cert, key = certificate(folder)
    port = free_port()
    files = ("--tls-cert-file", str(cert), "--tls-key-file", str(key), "--tls-auth-clients", "no")
    made = Redis(folder / "redis", "--tls-port", str(port), *files, port=port)
    made.url = f"rediss://127.0.0.1:{port}/0"
    return made, cert


def test_limits_are_shared_over_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # a handshake takes long if all are busy
    monkeypatch.setattr(limiter_redis, "REDIS_TIMEOUT_S", 10.0)
    redis, cert = over_tls(tmp_path)
    trusted = f"{redis.url}?ssl_ca_certs={cert}"
    with (
        running([redis]),
        served(tmp_path / "one", redis_url=trusted, key_limit_read=LIMIT) as one,
        served(tmp_path / "two", redis_url=trusted, key_limit_read=LIMIT) as other,
    ):
        left = [int(call(each).headers["x-ratelimit-remaining"]) for each in (one, other)]
        assert left == [WITHIN - 1, WITHIN - 2]
        assert [in_redis(one), in_redis(other)] == ["redis", "redis"]
        assert redis_health(one) == "ok"


def test_a_redis_that_cannot_prove_itself_is_not_counted_in(tmp_path: Path) -> None:
    redis, _ = over_tls(tmp_path)
    with (
        running([redis]),
        served(tmp_path / "one", redis_url=redis.url, key_limit_read=LIMIT) as server,
    ):
        assert call(server).status_code == 200
        assert in_redis(server) == "here"
        assert redis_health(server) == "down"


def cached_in(redis: Redis) -> dict[str, Any]:
    return {"cache": {"provider": "redis", "config": {"url": redis.url}}}


def health_of(server: Served, part: str) -> str:
    told = httpx.get(f"{server.url}/health", verify=PLAIN).json()["parts"]
    return str(told[part]["status"])


def test_limits_are_counted_in_the_redis_of_the_cache(redis: Redis, tmp_path: Path) -> None:
    more = cached_in(redis)
    with (
        served(tmp_path / "one", more, key_limit_read=LIMIT) as one,
        served(tmp_path / "two", more, key_limit_read=LIMIT) as other,
    ):
        statuses = [call((one, other)[n % 2]).status_code for n in range(WITHIN + 2)]
        assert statuses == [200] * WITHIN + [429] * 2
        for server in (one, other):
            assert health_of(server, "cache") == health_of(server, "redis") == "ok"
        assert any(key.startswith(b"holdfast:limits") for key in redis.held())


def test_a_redis_of_the_limits_alone_may_be_named(redis: Redis, tmp_path: Path) -> None:
    other = Redis(tmp_path / "other")
    with (
        running([other]),
        served(tmp_path / "one", cached_in(redis), redis_url=other.url) as server,
    ):
        assert call(server).status_code == 200
        assert any(b"limits" in key.lower() for key in other.held())
        assert not any(b"limits" in key.lower() for key in redis.held())


def test_a_cache_that_is_away_shows_and_hurts_nobody(redis: Redis, tmp_path: Path) -> None:
    search = {"query": "bees", "filters": {"user_id": "ann"}}
    with served(tmp_path / "one", cached_in(redis)) as server:

        def ask() -> httpx.Response:
            url = f"{server.url}/v3/memories/search/"
            return httpx.post(url, json=search, headers=server.headers, verify=PLAIN)

        server.run(server.deployment.admin.memory().add("I keep bees.", user_id="ann"))
        before = ask().json()
        redis.kill()
        after = ask()
        assert (after.status_code, after.json()) == (200, before)
        assert health_of(server, "cache") == health_of(server, "redis") == "down"
        answer = httpx.get(f"{server.url}/health", verify=PLAIN)
        assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
        assert answer.json()["parts"]["cache"]["error"] == "CACHE_UNAVAILABLE"
        metrics = httpx.get(f"{server.url}/metrics", headers=server.headers, verify=PLAIN).text
        assert 'holdfast_cache_failures_total{reason="away"}' in metrics


def test_limits_in_a_cluster(tmp_path: Path) -> None:
    server = Redis(tmp_path / "node", "--cluster-enabled", "yes")
    with running([server]):
        server.say("CONFIG", "SET", "cluster-announce-ip", "127.0.0.1")
        server.say("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        deadline = time.monotonic() + 10
        while b"cluster_state:ok" not in server.say("CLUSTER", "INFO"):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        config = {"url": server.url, "cluster": True, "timeout_s": 2}
        more = {"cache": {"provider": "redis", "config": config}}
        with served(tmp_path / "one", more, key_limit_read=LIMIT) as one:
            statuses = [call(one).status_code for _ in range(WITHIN + 1)]
            assert statuses == [200] * WITHIN + [429]
            assert in_redis(one) == "redis"
            server.kill()
            assert call(one).status_code == 200
            assert in_redis(one) == "here"


def test_that_limits_are_counted_in_redis_is_told_without_being_asked(
    redis: Redis, tmp_path: Path
) -> None:
    """Of several processes one is asked for metrics, and the least of all their values is told."""
    with served(tmp_path / "one", cached_in(redis)) as server:
        registry = server.deployment.telemetry.registry
        deadline = time.monotonic() + 10
        while registry.get_sample_value("holdfast_limits_in_redis") != 1.0:
            assert time.monotonic() < deadline
            time.sleep(0.05)
