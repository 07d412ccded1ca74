"""Clients where servers are busy, away, slow, or not what they seem to be."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from typing import Any

import pytest

import holdfast
from holdfast import AsyncClient, Client, errors, limits
from holdfast.remote import answers, connection
from support.scripted import Answer, Scripted, problem, scripted

GOOD = Answer(body={"results": []})
BUSY = problem(503, "OVERLOADED", retry_after="0")
LIMITED = problem(429, "RATE_LIMITED", retry_after="0", x_ratelimit_limit="5")
BROKEN = Answer(breaks=True)
ALICE = {"user_id": "alice"}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CLIENT_BACKOFF_S", 0.001)


def client(server: Scripted, **more: Any) -> Client:
    return Client(server.url, "key", **more)


CALLS: dict[str, Any] = {
    "search": lambda one: one.search("x", filters=ALICE),
    "add": lambda one: one.add("x", user_id="alice"),
    "update": lambda one: one.update("id", "x"),
    "delete_all": lambda one: one.delete_all(user_id="alice"),
}
REPEATED = {"search", "add"}


@pytest.mark.parametrize("verb", CALLS)
@pytest.mark.parametrize("fault", [LIMITED, BUSY, BROKEN], ids=["limited", "busy", "broken"])
def test_only_what_may_be_repeated_is(verb: str, fault: Answer) -> None:
    with scripted(fault, GOOD) as server, client(server) as one:
        if verb in REPEATED or fault is LIMITED:
            CALLS[verb](one)
            assert len(server.asked) == 2
            assert server.asked[0] == server.asked[1]  # an add has the same key both times
        else:
            with pytest.raises(holdfast.HoldfastError) as caught:
                CALLS[verb](one)
            assert caught.value.retryable
            assert len(server.asked) == 1


def test_every_add_has_a_key_of_its_own() -> None:
    with scripted(GOOD) as server, client(server) as one:
        one.add("x", user_id="alice")
        one.add("x", user_id="alice")
        one.add("x", user_id="alice", idempotency_key="mine")
    keys = [body["idempotency_key"] for _, body in server.asked]
    assert len(set(keys)) == 3
    assert keys[2] == "mine"


def test_tries_are_bounded_and_the_last_refusal_is_told() -> None:
    refused = pytest.raises(holdfast.RateLimitError)
    with scripted(LIMITED) as server, client(server, retries_max=2) as one, refused as caught:
        one.search("x", filters=ALICE)
    assert len(server.asked) == 3
    assert (caught.value.retry_after_s, caught.value.told) == (0.0, {"x-ratelimit-limit": "5"})


def test_a_server_is_waited_for_as_long_as_it_says() -> None:
    busy = problem(503, "OVERLOADED", retry_after="1")
    with scripted(busy, GOOD) as server, client(server) as one:
        begun = time.monotonic()
        one.search("x", filters=ALICE)
        assert time.monotonic() - begun >= 1.0


def test_a_server_that_asks_for_too_long_a_pause_is_not_waited_for() -> None:
    limited = problem(429, "RATE_LIMITED", retry_after="3600")
    refused = pytest.raises(holdfast.RateLimitError)
    with scripted(limited, GOOD) as server, client(server) as one, refused as caught:
        one.search("x", filters=ALICE)
    assert caught.value.retry_after_s == 3600


def test_a_slow_answer_is_a_timeout() -> None:
    with scripted(Answer(delay_s=0.6, body={})) as server:
        with client(server, timeout_s=0.2) as one:
            with pytest.raises(holdfast.ServerTimeoutError, match="not known") as caught:
                one.search("x", filters=ALICE)
            assert isinstance(caught.value, TimeoutError)
        assert len(server.asked) == 1


def test_a_server_that_is_away_is_named() -> None:
    with scripted(GOOD) as server:
        url = server.url
    refused = pytest.raises(holdfast.ServerUnavailableError, match=url)
    with Client(url, "secret", retries_max=1) as one, refused as caught:
        one.update("id", "x")
    assert "secret" not in str(caught.value)
    assert caught.value.code == "SERVER_UNAVAILABLE"


STRANGERS = {
    "a page": Answer(200, b"<html>hello</html>"),
    "a proxy": Answer(502, b"<html>bad gateway</html>"),
    "a redirect": Answer(307, b"", {"location": "https://elsewhere.invalid/"}),
    "another server": Answer(404, {"detail": "Not Found"}),
    "nonsense": Answer(400, ["no", "object"]),
    "no code": Answer(400, {"code": ["VALIDATION"]}),
}


@pytest.mark.parametrize("name", STRANGERS)
def test_what_is_no_holdfast_server_is_said_to_be_none(name: str) -> None:
    refused = pytest.raises(holdfast.ServerUnavailableError)
    with scripted(STRANGERS[name]) as server, client(server, retries_max=0) as one, refused:
        one.search("x", filters=ALICE)


def test_every_error_has_a_class_on_this_side() -> None:
    tree = [value for value in vars(errors).values() if isinstance(value, type)]
    tree = [kind for kind in tree if issubclass(kind, errors.HoldfastError)]
    assert len(tree) > 20
    for kind in tree:
        told = {"code": kind.code, "detail": "This. Do that.", "hint": "Do that."}
        error = answers.error_of(400, {}, told)
        assert type(error) is kind
        assert (error.message, error.hint, str(error)) == ("This.", "Do that.", "This. Do that.")


def test_a_long_wait_takes_several_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CLIENT_WAIT_S", 0.1)
    pending = Answer(body={"status": "PENDING"}, delay_s=0.11)
    done = Answer(body={"status": "SUCCEEDED"})
    with scripted(pending, pending, done) as server, client(server) as one:
        assert one.wait("event", timeout_s=60)["status"] == "SUCCEEDED"
    assert [body["timeout_s"] for _, body in server.asked] == [0.1] * 3


def test_an_event_that_is_parked_is_told_at_once() -> None:
    with scripted(Answer(body={"status": "PENDING"})) as server, client(server) as one:
        assert one.wait("event", timeout_s=60)["status"] == "PENDING"
    assert len(server.asked) == 1


def test_what_is_as_it_is_anyway_is_not_sent() -> None:
    with scripted(GOOD) as server, client(server) as one:
        one.search("x", filters=ALICE, top_k=20, threshold=None)
    assert server.asked == [
        ("/holdfast/search", {"query": "x", "filters": ALICE, "threshold": None})
    ]


def test_the_environment_names_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted(GOOD) as server:
        monkeypatch.setenv("HOLDFAST_URL", f"{server.url}/")
        monkeypatch.setenv("HOLDFAST_API_KEY", "key")
        with Client() as one:
            one.search("x", filters=ALICE)
    assert server.asked


@pytest.mark.parametrize(
    ("url", "more"),
    [
        (None, {}),
        ("", {}),
        ("ftp://example.com", {}),
        ("https://user:secret@example.com", {}),
        ("http://127.0.0.1", {"ca_file": "/nowhere.pem"}),
        ("http://127.0.0.1", {"api_key": "schlüssel"}),
        ("http://127.0.0.1", {"timeout_s": -1}),
        ("http://127.0.0.1", {"connections_max": 0}),
    ],
)
def test_wrong_settings_are_named(url: str | None, more: dict[str, Any]) -> None:
    with pytest.raises((holdfast.ConfigError, holdfast.ValidationError)) as caught:
        Client(url, **more)
    assert "secret" not in str(caught.value)


def test_a_missing_package_is_named() -> None:
    code = (
        "import sys; sys.modules['httpx'] = None\n"
        "import holdfast\n"
        "try: holdfast.Client('http://127.0.0.1')\n"
        "except holdfast.MissingExtraError as error: print(error)\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, text=True
    )
    assert "holdfast[client]" in answer.stdout


async def test_closed_is_closed() -> None:
    with scripted(GOOD) as server:
        one = AsyncClient(server.url, "key")
        await one.search("x", filters=ALICE)
        await one.aclose()
        await one.aclose()
        with pytest.raises(holdfast.ClosedError):
            await one.search("x", filters=ALICE)
        other = AsyncClient(server.url, "key")
        other.close()
        with pytest.raises(holdfast.ClosedError):
            await other.open()


async def test_a_cancelled_call_ends_at_once() -> None:
    with scripted(Answer(delay_s=0.5, body={})) as server:
        async with AsyncClient(server.url, "key") as one:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(one.search("x", filters=ALICE), 0.1)


def test_connections_are_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    pool = connection.Connection._pool
    monkeypatch.setattr(connection.Connection, "_pool", lambda self: made.append(1) or pool(self))
    with scripted(GOOD) as server, client(server) as one:
        for _ in range(5):
            one.search("x", filters=ALICE)
    assert made == [1]
