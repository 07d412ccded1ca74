"""Looks at the endpoints of models, on real sockets: listening, refused, silent, with TLS."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import pytest

from holdfast.backends.models import endpoints
from holdfast.backends.models.endpoints import Endpoint, Endpoints, endpoint_of
from holdfast.metrics import Sight
from holdfast.server.health import connected, seen
from support.certificates import certificate

NOW = 1_700_000_000.0


@contextmanager
def listening(backlog: int = 8) -> Iterator[socket.socket]:
    """A socket that takes connections, and never says anything."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(backlog)
        yield server


def at(server: socket.socket, scheme: str = "http") -> SimpleNamespace:
    return SimpleNamespace(address=f"{scheme}://127.0.0.1:{server.getsockname()[1]}/v1")


def of(*models: object) -> Endpoints:
    return Endpoints({"llm": models}, lambda: NOW)


@pytest.mark.asyncio
async def test_many_who_ask_cause_one_connection_that_sends_nothing() -> None:
    with listening() as server:
        found = of(at(server))
        looks = await asyncio.gather(*(found.of("llm") for _ in range(20)))
        assert {(look.reached, look.at, look.reached_at) for [look] in looks} == {(True, NOW, NOW)}
        assert looks[0][0].took_s > 0
        accepted, _ = server.accept()
        with accepted, suppress(ConnectionResetError):
            accepted.settimeout(5)
            assert accepted.recv(1) == b""
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()


@pytest.mark.asyncio
async def test_what_refuses_is_not_reached_and_when_it_was_stays_known() -> None:
    with listening() as server:
        model = at(server)
        found = of(model)
        assert (await found.of("llm"))[0].reached
    assert (await found.of("llm"))[0].reached, "it was asked a moment ago"
    with patch.object(endpoints, "ENDPOINT_AGE_MAX_S", 0.0):
        [look] = await found.of("llm")
    assert (look.reached, look.reached_at) == (False, NOW)
    [never] = await of(model).of("llm")
    assert (never.reached, never.reached_at) == (False, 0.0)


@pytest.mark.asyncio
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_what_does_not_answer_is_given_up_in_time(scheme: str) -> None:
    with listening(0) as server, patch.object(endpoints, "DEPENDENCY_TIMEOUT_S", 0.2):
        filling = []  # a queue that is full lets nobody in, and refuses nobody
        if scheme == "http":
            for _ in range(8):
                one = socket.socket()
                one.setblocking(False)
                one.connect_ex(server.getsockname())
                filling.append(one)
        [look] = await of(at(server, scheme)).of("llm")
        assert not look.reached
        assert look.took_s >= 0.19
        for one in filling:
            one.close()


@pytest.mark.asyncio
async def test_a_handshake_is_a_part_of_reaching(tmp_path: Path) -> None:
    chain, key = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)

    def serve(server: socket.socket) -> None:
        for _ in range(2):
            taken, _ = server.accept()
            with taken, suppress(OSError):
                context.wrap_socket(taken, server_side=True).close()

    with listening() as server:
        thread = threading.Thread(target=serve, args=(server,))
        thread.start()
        [stranger] = await of(at(server, "https")).of("llm")
        with patch.object(endpoints, "_trust", lambda: ssl.create_default_context(cafile=chain)):
            [known] = await of(at(server, "https")).of("llm")
        thread.join(10)
    assert (stranger.reached, known.reached) == (False, True)


@pytest.mark.parametrize(
    ("address", "endpoint"),
    [
        ("https://api.example.org/v1/", Endpoint("api.example.org", 443, tls=True)),
        ("http://10.0.0.1", Endpoint("10.0.0.1", 80, tls=False)),
        ("http://[::1]:11434/v1", Endpoint("::1", 11434, tls=False)),
        (None, None),
        ("", None),
        ("api.example.org", None),
        ("http://host:port", None),
    ],
)
def test_where_a_url_leads(address: str | None, endpoint: Endpoint | None) -> None:
    assert endpoint_of(address) == endpoint


def test_what_goes_through_a_proxy_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy.example.org:3128")
    monkeypatch.setenv("no_proxy", "inside.example.org")
    assert endpoint_of("https://api.example.org/v1") is None
    assert endpoint_of("http://api.example.org/v1") is not None
    assert endpoint_of("https://inside.example.org/v1") is not None


@pytest.mark.asyncio
async def test_models_without_an_address_are_not_looked_at() -> None:
    assert await of(object(), SimpleNamespace(address=None)).of("llm") == []
    assert await of().of("embedder") == []


REACHED = endpoints.Look(reached=True, took_s=0.01, at=5.0, reached_at=5.0)
AWAY = endpoints.Look(reached=False, took_s=2.0, at=5.0, reached_at=3.0)
CALLED = Sight(succeeded_at=4.0, took_s=0.5)
CALLED_SINCE = Sight(succeeded_at=6.0, took_s=0.5)
FAILED = Sight(failed_at=4.0, error_code="MODEL_REFUSED")


@pytest.mark.parametrize(
    ("sight", "looks", "status", "error"),
    [
        (Sight(), [REACHED], "ok", None),
        (Sight(), [AWAY], "down", "UNREACHABLE"),
        (Sight(), [], "unknown", None),
        (CALLED, [REACHED], "ok", None),
        (CALLED, [AWAY], "down", "UNREACHABLE"),
        (CALLED_SINCE, [AWAY], "ok", None),
        (FAILED, [REACHED], "down", "MODEL_REFUSED"),
        (FAILED, [AWAY], "down", "MODEL_REFUSED"),
        (CALLED, [AWAY, REACHED], "degraded", "UNREACHABLE"),
        (CALLED_SINCE, [AWAY, REACHED], "ok", None),
        (CALLED, [REACHED, AWAY], "ok", None),
    ],
)
def test_what_happened_last_counts(
    sight: Sight, looks: list[endpoints.Look], status: str, error: str | None
) -> None:
    told = connected(seen(sight, there=True), sight, looks)
    assert (told.status, told.error) == (status, error)
    reached = any(look.reached for look in looks) if looks else None
    assert told.reachable == reached
    assert told.connect_ms == (10.0 if reached else None)
    assert (told.last_reached is not None) == bool(looks)
