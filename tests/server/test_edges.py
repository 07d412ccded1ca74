"""What comes over the wire that no honest client sends, and what stands in front of a server."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import socket
import ssl
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx
import pytest

from holdfast import limits
from holdfast.client import AsyncMemory
from holdfast.server.protocol import GuardedProtocol
from support.certificates import certificate
from support.served import ADMIN_KEY, Served, served
from support.wire import Wire, request

SEARCH = {"query": "tea", "filters": {"user_id": "ann"}}
PATH = "/v3/memories/search/"


@pytest.fixture
def strict(tmp_path: Path) -> Iterator[Served]:
    """A server with little patience and little room."""
    with served(
        tmp_path / "store",
        header_timeout_s=0.5,
        body_timeout_s=0.5,
        body_bytes_max=2_048,
        connections_max=4,
    ) as running:
        yield running


# ---------------------------------------------------------------------- heads


def test_a_head_that_drips_is_cut_off(strict: Served) -> None:
    with Wire(strict.url) as wire:
        assert not wire.drip(b"GET /health/live HTTP/1.1\r\nX: " + b"y" * 200, 0.05)
    with Wire(strict.url) as wire:
        wire.send(b"GET /health/live HTTP/1.1\r\nX: y")
        status, headers, body = wire.answer()
        assert (status, headers["connection"]) == (408, "close")
        assert json.loads(body)["code"] == "REQUEST_TIMEOUT"
        assert wire.closed(1)


def test_a_dripping_head_goes_on_for_ever_without_the_guard(tmp_path: Path) -> None:
    """The planted fault: the guard really is what ends it."""
    with (
        patch.object(GuardedProtocol, "_tired", lambda _: None),
        served(tmp_path / "store", header_timeout_s=0.2) as server,
        Wire(server.url) as wire,
    ):
        assert wire.drip(b"GET /health/live HTTP/1.1\r\nX: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyy", 0.02)
        assert not wire.closed(0.3)


@pytest.mark.parametrize("begun", [b"", b"\r\n", b"\r\n\r\n"])
def test_a_connection_that_says_nothing_is_closed(strict: Served, begun: bytes) -> None:
    with Wire(strict.url) as wire:
        wire.send(begun)
        assert wire.closed(3)


def test_line_breaks_do_not_keep_a_used_connection_open(strict: Served) -> None:
    with Wire(strict.url) as wire:
        wire.send(request("GET", "/health/live"))
        assert wire.answer()[0] == 200
        wire.send(b"\r\n")
        assert wire.closed(3)


@pytest.mark.parametrize(
    "head",
    [
        f"GET / HTTP/1.1\r\nX: {'y' * limits.HEADER_BYTES_MAX}\r\n\r\n",
        f"GET / HTTP/1.1\r\nX: {'y' * limits.HEADER_BYTES_MAX}",
        f"GET /{'y' * limits.HEADER_BYTES_MAX} HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\n" + "X: y\r\n" * limits.HEADER_BYTES_MAX,
    ],
)
def test_a_head_that_is_too_long_is_refused(server: Served, head: str) -> None:
    with Wire(server.url) as wire:
        wire.send(head)
        status, headers, body = wire.answer()
        assert (status, headers["connection"]) == (431, "close")
        assert json.loads(body)["code"] == "TOO_LARGE"


@pytest.mark.parametrize(
    "head",
    [b"\x16\x03\x01\x02\x00\x01\x00", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n",
     b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
     b"POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"],
)  # fmt: skip
def test_what_is_no_http_is_told_so(server: Served, head: bytes) -> None:
    with Wire(server.url) as wire:
        wire.send(head)
        status, headers, _ = wire.answer()
        assert (status, headers["connection"]) == (400, "close")


def test_pipelined_requests_are_answered_in_order(server: Served) -> None:
    paths = ["/health/live", "/v1/ping/", "/nope", "/health/ready"]
    with Wire(server.url) as wire:
        wire.send(b"".join(request("GET", path) for path in paths))
        assert [wire.answer()[0] for _ in paths] == [200, 200, 404, 200]


def test_a_slow_answer_is_not_cut_off_by_a_head_that_waits_behind_it(strict: Served) -> None:
    """The next head is begun while the first answer takes longer than a head may."""

    async def slow(self: AsyncMemory, query: str, **_: Any) -> Any:
        await asyncio.sleep(1.2)
        return {"results": []}

    with patch.object(AsyncMemory, "search", slow), Wire(strict.url) as wire:
        wire.send(request("POST", PATH, SEARCH) + b"GET /health/live HTT")
        assert wire.answer()[0] == 200


# ---------------------------------------------------------------------- bodies


def test_a_body_that_is_too_large_is_refused(strict: Served) -> None:
    with Wire(strict.url) as wire:
        wire.send(request("POST", PATH, b"", Content_Length=str(100_000_000)))
        assert wire.answer()[0] == 413
        assert wire.closed(4), "and what it goes on sending is not waited for"


def test_a_chunked_body_that_is_too_large_is_refused(strict: Served) -> None:
    with Wire(strict.url) as wire:
        head = request("POST", PATH, Transfer_Encoding="chunked", Content_Type="application/json")
        wire.send(head)
        for _ in range(3):
            wire.send(b"400\r\n" + b" " * 1_024 + b"\r\n")
        status, _, body = wire.answer()
        assert (status, json.loads(body)["code"]) == (413, "TOO_LARGE")


def test_a_body_that_drips_is_refused(strict: Served) -> None:
    with Wire(strict.url) as wire:
        wire.send(request("POST", PATH, b"{", Content_Length="1000"))
        wire.drip(b"    ", 0.05)
        status, _, body = wire.answer()
        assert (status, json.loads(body)["code"]) == (408, "REQUEST_TIMEOUT")


def test_a_body_nobody_reads_does_not_keep_the_connection(strict: Served) -> None:
    with Wire(strict.url) as wire:
        wire.send(request("POST", "/nope", b"{", Content_Length="1000"))
        assert wire.answer()[0] == 404
        assert not wire.drip(b" " * 200, 0.02)


def test_a_caller_that_leaves_while_it_sends_is_no_fault_of_the_server(
    server: Served, caplog: pytest.LogCaptureFixture
) -> None:
    """A phone in a tunnel is to wake nobody: no error in the log, no 5xx in the metrics."""
    head = request("POST", PATH, SEARCH).partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    with caplog.at_level(logging.INFO):
        with Wire(server.url) as wire:
            wire.send(head + b'{"query": ')
            time.sleep(0.2)
        counted = _until_counted(server, "search")
    assert counted == {"4xx": 1.0}
    assert [r for r in caplog.records if r.levelno >= logging.ERROR] == []


def _until_counted(server: Served, operation: str) -> dict[str, float]:
    """The requests for an operation, by class of status, as soon as there are any."""
    pattern = rf'^holdfast_operations_total{{operation="{operation}",status="(...)"}} (\S+)$'
    for _ in range(100):
        text = httpx.get(f"{server.url}/metrics", headers=server.headers).text
        if found := re.findall(pattern, text, re.MULTILINE):
            return {status: float(count) for status, count in found}
        time.sleep(0.05)
    raise AssertionError(f"{operation} was never counted")


# ---------------------------------------------------------------------- content

DEEP = 100_000


def nested(depth: int) -> bytes:
    return b'{"query": "q", "filters": ' + b'{"AND": [' * depth + b"]}" * depth + b"}"


@pytest.mark.parametrize(
    "body",
    [
        b"[" * DEEP,
        b"[" * DEEP + b"]" * DEEP,
        b'{"a":' * DEEP + b"1" + b"}" * DEEP,
        nested(17),
        nested(500),
        nested(DEEP // 10),
        b'{"query": ' + b"9" * 10_000 + b"}",
        b'{"query": NaN}',
        b"\xff\xfe",
        b"",
        b"null",
        b'"text"',
        b'{"query": "q", "filters": {"user_id": "a\\u0000b"}}',
        b'{"query": "q", "filters": {"user_id": "a\\ud800b"}}',
        b'{"query": "q\\ud800", "filters": {"\\ud800": 1}}',
        b'{"query": "q", "filters": {"user_id": {"\\ud800": 1}}}',
        b'{"query": "q", "filters": {"user_id": ["' + b"x" * 600 + b'"]}}',
    ],
)
def test_bad_bodies_are_the_callers_fault(client: httpx.Client, body: bytes) -> None:
    answer = client.post(PATH, content=body, headers={"Content-Type": "application/json"})
    assert 400 <= answer.status_code < 500, answer.text
    told = answer.json()
    assert told["detail"]
    assert told["request_id"]


def test_a_body_that_is_not_called_json_is_told_so(client: httpx.Client) -> None:
    """`curl -d` says that it sends a form."""
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    for path in (PATH, "/search", "/v1/memories/"):
        answer = client.post(path, content=json.dumps(SEARCH), headers=form)
        assert answer.status_code in (400, 422), path
        assert "Content-Type: application/json" in answer.json()["hint"], path
        assert "Content-Type: application/json" in answer.json()["error"], path
    wrong = client.post(PATH, json={**SEARCH, "top_k": 0})
    assert wrong.json()["hint"] == ""


def test_what_is_nested_too_deeply_is_told_so_on_every_surface(client: httpx.Client) -> None:
    for path in (PATH, "/search", "/holdfast/search"):
        body = nested(1_000)
        answer = client.post(path, content=body, headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json()["code"]) == (413, "TOO_LARGE"), path
        assert "nested too deeply" in answer.json()["detail"]


def test_paths_and_methods_there_are_not_say_where_to_look(client: httpx.Client) -> None:
    assert "/docs" in client.get("/v4/memories/").json()["detail"]
    refused = client.get(PATH)
    assert (refused.status_code, refused.headers["allow"]) == (405, "POST")
    assert "Allow" in refused.json()["hint"]


# ---------------------------------------------------------------------- load


def test_what_is_too_much_is_sent_away_and_health_is_not(tmp_path: Path) -> None:
    holding = asyncio.Event()

    async def held(self: AsyncMemory, query: str, **_: Any) -> Any:
        await holding.wait()
        return {"results": []}

    with (
        patch.object(AsyncMemory, "search", held),
        served(tmp_path / "store", requests_max=2) as server,
        httpx.Client(base_url=server.url, headers=server.headers) as client,
        ThreadPoolExecutor(2) as pool,
    ):
        running = [pool.submit(client.post, PATH, json=SEARCH) for _ in range(2)]
        deadline = time.monotonic() + 10
        while (refused := client.post("/v1/ping/")).status_code != 503:
            assert time.monotonic() < deadline
        refused = client.get("/v1/ping/")
        assert (refused.status_code, refused.json()["code"]) == (503, "OVERLOADED")
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.headers["x-request-id"]
        assert client.get("/health/ready").status_code == 200
        assert client.get("/health").status_code == 200
        server.loop.call_soon_threadsafe(holding.set)
        assert [answer.result(10).status_code for answer in running] == [200, 200]
        assert client.get("/v1/ping/").status_code == 200


def test_a_request_ends_at_its_deadline(tmp_path: Path) -> None:
    async def never(self: AsyncMemory, query: str, **_: Any) -> Any:
        await asyncio.sleep(3600)

    with (
        patch.object(AsyncMemory, "search", never),
        served(tmp_path / "store", request_timeout_s=0.3) as server,
        httpx.Client(base_url=server.url, headers=server.headers) as client,
    ):
        answer = client.post(PATH, json=SEARCH)
        assert (answer.status_code, answer.json()["code"]) == (503, "OVERLOADED")
        assert "0.3 s" in answer.json()["detail"]


def test_connections_beyond_the_bound_are_refused_and_health_is_let_through(
    tmp_path: Path,
) -> None:
    with (
        patch.object(limits, "HEALTH_CONNECTIONS", 1),
        served(tmp_path / "store", connections_max=2) as server,
        ExitStack() as open_,
    ):
        for _ in range(2):
            wire = open_.enter_context(Wire(server.url))
            wire.send(request("GET", "/v1/ping/"))
            assert wire.answer()[0] == 200
        third = open_.enter_context(Wire(server.url))
        third.send(request("GET", "/health/live"))
        assert third.answer()[0] == 200
        third.send(request("GET", "/v1/ping/"))
        status, headers, _ = third.answer()
        assert (status, headers["retry-after"]) == (503, "1")
        fourth = open_.enter_context(Wire(server.url))
        assert fourth.answer()[0] == 503
        assert fourth.closed(1)


# ---------------------------------------------------------------------- what stands in front


def test_tls(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    with served(tmp_path / "store", tls_cert=str(cert), tls_key=str(key)) as server:
        url = server.url.replace("http://", "https://")
        trusting = ssl.create_default_context(cafile=str(cert))
        answer = httpx.get(f"{url}/v1/ping/", headers=server.headers, verify=trusting)
        assert answer.status_code == 200
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{server.url}/v1/ping/", headers=server.headers)
        old = ssl.create_default_context(cafile=str(cert))
        with warnings.catch_warnings(action="ignore"):  # it is what this is about
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        port = int(url.rpartition(":")[2])
        with (
            socket.create_connection(("127.0.0.1", port)) as plain,
            pytest.raises(ssl.SSLError),
        ):
            old.wrap_socket(plain, server_hostname="127.0.0.1")


def test_a_connection_that_is_kept_for_later_does_not_hold_up_the_end(tmp_path: Path) -> None:
    """A client does not read from a connection it keeps, so it does not say goodbye."""
    cert, key = certificate(tmp_path)
    files = {"tls_cert": str(cert), "tls_key": str(key)}
    trusting = ssl.create_default_context(cafile=str(cert))
    with httpx.Client(verify=trusting) as keeping:
        with served(tmp_path / "store", drain_s=20.0, **files) as server:
            url = server.url.replace("http://", "https://")
            keeping.get(f"{url}/health/live").raise_for_status()
            ends = time.monotonic()
        assert time.monotonic() - ends < 10


def test_a_handshake_that_is_never_made_is_not_waited_for(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    files = {"tls_cert": str(cert), "tls_key": str(key)}
    with (
        served(tmp_path / "store", header_timeout_s=0.5, **files) as server,
        Wire(server.url) as wire,
    ):
        assert wire.closed(10)


@pytest.mark.parametrize(
    ("trusted", "forwarded", "seen"),
    [
        ("", "203.0.113.9", "127.0.0.1"),
        ("10.0.0.1", "203.0.113.9", "127.0.0.1"),
        ("127.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("127.0.0.0/8", "203.0.113.9", "203.0.113.9"),
        ("127.0.0.1", "198.51.100.1, 203.0.113.9", "203.0.113.9"),
        ("127.0.0.1, 203.0.113.9", "198.51.100.1, 203.0.113.9", "198.51.100.1"),
        ("127.0.0.1", "my words", "unknown"),
    ],
)
def test_only_trusted_proxies_say_who_calls(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    trusted: str,
    forwarded: str,
    seen: str,
) -> None:
    """A caller puts whatever it likes into X-Forwarded-For; what the nearest proxy added counts."""
    with (
        caplog.at_level(logging.INFO, "holdfast.access"),
        served(tmp_path / "store", trusted_proxies=trusted) as server,
    ):
        headers = server.headers | {"X-Forwarded-For": forwarded}
        httpx.get(f"{server.url}/v1/ping/", headers=headers).raise_for_status()
    [line] = [record.fields for record in caplog.records if record.name == "holdfast.access"]
    assert line["client"] == seen


PREFLIGHT = {
    "Origin": "https://app.example",
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization, content-type",
}


def test_no_page_may_call_unless_it_is_named(server: Served) -> None:
    with httpx.Client(base_url=server.url) as client:
        assert client.options(PATH, headers=PREFLIGHT).status_code == 405
        answer = client.get("/v1/ping/", headers=server.headers | {"Origin": "https://app.example"})
        assert not [name for name in answer.headers if name.startswith("access-control")]


def test_named_pages_may_call(tmp_path: Path) -> None:
    origins = "https://app.example, https://other.example"
    with (
        served(tmp_path / "store", cors_origins=origins) as server,
        httpx.Client(base_url=server.url) as client,
    ):
        allowed = client.options(PATH, headers=PREFLIGHT)
        assert allowed.status_code == 200
        assert allowed.headers["access-control-allow-origin"] == "https://app.example"
        assert "authorization" in allowed.headers["access-control-allow-headers"].lower()
        stranger = client.options(PATH, headers=PREFLIGHT | {"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in stranger.headers
        refused = client.get("/v1/ping/", headers={"Origin": "https://app.example"})
        assert refused.status_code == 401
        assert refused.headers["access-control-allow-origin"] == "https://app.example"
        assert "x-ratelimit-remaining" in refused.headers["access-control-expose-headers"].lower()
        assert "access-control-allow-credentials" not in refused.headers


def test_a_fault_of_the_program_tells_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(self: AsyncMemory, query: str, **_: Any) -> Any:
        raise KeyError(f"secret {query}")

    with (
        patch.object(AsyncMemory, "search", broken),
        served(tmp_path / "store") as server,
        httpx.Client(base_url=server.url, headers=server.headers) as client,
    ):
        answer = client.post(PATH, json=SEARCH)
        assert answer.status_code == 500
        assert answer.json()["request_id"] == answer.headers["x-request-id"]
        assert "secret" not in answer.text
        assert ADMIN_KEY not in answer.text
    assert any(record.exc_info for record in caplog.records), "but the log has where it arose"
