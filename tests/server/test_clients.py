"""One set of tests of the verbs, run in process and through both clients of a server."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

import holdfast
from holdfast import AsyncClient, AsyncMemory, Client, Memory
from support.served import Served

ALICE = {"user_id": "alice"}
UNKNOWN = "00000000-0000-7000-8000-000000000000"
OWN = {"open", "close", "aclose", "from_config"}
"""What concerns the process of the caller, and is no verb."""


def verbs(owner: type) -> set[str]:
    names = {name for base in owner.__mro__[:-1] for name in vars(base)}
    return {name for name in names if not name.startswith("_")} - OWN


Face = Callable[..., Any]


@pytest.fixture(params=["memory", "client", "async-memory", "async-client"])
async def call(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Face]:
    """`await call(verb, ...)` on a face of an empty project."""
    kind = request.param
    if kind.endswith("client"):
        server: Served = request.getfixturevalue("server")
        where: tuple[Any, ...] = (server.url, server.key)
    else:
        where = ({"path": str(tmp_path)},)
    if kind.startswith("async"):
        made = AsyncClient(*where) if kind.endswith("client") else AsyncMemory(*where)
        async with made as face:

            async def ask(verb: str, *given: Any, **named: Any) -> Any:
                answer = getattr(face, verb)(*given, **named)
                return await answer if inspect.isawaitable(answer) else answer

            yield ask
        return
    with Client(*where) if kind == "client" else Memory(*where) as blocking:

        async def tell(verb: str, *given: Any, **named: Any) -> Any:
            return getattr(blocking, verb)(*given, **named)

        yield tell


# ---------------------------------------------------------------- the same methods


def test_clients_have_every_verb() -> None:
    assert len(verbs(AsyncMemory)) > 15
    assert verbs(AsyncClient) == verbs(AsyncMemory)
    assert verbs(Client) == verbs(Memory)


@pytest.mark.parametrize("verb", sorted(verbs(AsyncMemory)))
def test_signatures_are_the_same(verb: str) -> None:
    theirs = getattr(AsyncMemory, verb)
    for face in (AsyncClient, Client):
        assert inspect.signature(getattr(face, verb)) == inspect.signature(theirs)
    assert getattr(AsyncClient, verb).__doc__ == theirs.__doc__
    assert inspect.iscoroutinefunction(getattr(AsyncClient, verb))
    assert not inspect.iscoroutinefunction(getattr(Client, verb))


def test_both_clients_are_made_alike() -> None:
    assert inspect.signature(Client) == inspect.signature(AsyncClient)
    assert OWN - {"aclose", "from_config"} <= set(vars(Client))


# ---------------------------------------------------------------- the same answers


async def test_what_is_said_is_remembered_and_found(call: Face) -> None:
    added = await call(
        "add",
        [
            {"role": "user", "content": "I am allergic to peanuts.", "name": "Alice"},
            {"role": "assistant", "content": "Noted."},
        ],
        user_id="alice",
        metadata={"topic": "food", "day": date(2026, 1, 2)},
        timestamp=datetime(2026, 1, 2, 3, 4, tzinfo=UTC),
    )
    first, second = added["results"]
    assert set(first) == {"id", "memory", "event", "role", "actor_id"}
    assert (first["event"], first["actor_id"], second["role"]) == ("ADD", "Alice", "assistant")
    got = await call("get", first["id"])
    assert got["metadata"] == {"topic": "food", "day": "2026-01-02"}
    assert got["score"] is None
    assert got["event_at"] == "2026-01-02T03:04:00+00:00"
    found = await call("search", "What is Alice allergic to?", filters=ALICE, explain=True)
    assert found["results"][0]["id"] == first["id"]
    assert found["results"][0]["score_details"]["final_score"] == found["results"][0]["score"]
    assert await call("count", ALICE) == 2
    assert await call("get", UNKNOWN) is None


async def test_listing_changing_and_deleting(call: Face) -> None:
    ids = [
        (await call("add", f"thing {number}", user_id="alice"))["results"][0]["id"]
        for number in range(3)
    ]
    page = await call("get_all", filters=ALICE, top_k=2)
    assert [one["id"] for one in page["results"]] == ids[:0:-1]
    page = await call("get_all", filters=ALICE, top_k=2, cursor=page["cursor"])
    assert ([one["id"] for one in page["results"]], page["total"]) == (ids[:1], 3)
    told = await call("update", ids[0], "a better thing", expiration_date="2099-01-01")
    assert told == {"message": "Memory updated successfully!"}
    assert (await call("get", ids[0]))["expiration_date"] == "2099-01-01"
    await call("update", ids[0], expiration_date=None)
    assert "expiration_date" not in await call("get", ids[0])
    events = [one["event"] for one in await call("history", ids[0])]
    assert events == ["ADD", "UPDATE", "UPDATE"]
    assert (await call("delete", ids[1]))["message"] == "Memory deleted successfully!"
    assert (await call("delete_all", user_id="alice"))["count"] == 2
    assert await call("count", ALICE) == 0


async def test_entities_events_and_the_project(call: Face) -> None:
    told = await call("add", "kept", user_id="alice", agent_id="bot", wait=False)
    event = await call("wait", told["event_id"], timeout_s=5)
    assert (event["status"], event["id"]) == ("SUCCEEDED", told["event_id"])
    assert (await call("event", told["event_id"]))["results"][0]["memory"] == "kept"
    assert (await call("events", status="SUCCEEDED"))["results"][0]["id"] == told["event_id"]
    entities = await call("entities")
    assert {(one["type"], one["name"]) for one in entities["results"]} == {
        ("user", "alice"),
        ("agent", "bot"),
    }
    assert (await call("stats"))["turns"] == 1
    assert (await call("settings"))["project"]
    assert await call("reset") is None
    assert (await call("stats"))["turns"] == 0


async def test_a_repeated_add_is_carried_out_once(call: Face) -> None:
    first = await call("add", "Order 4711 is paid.", user_id="alice", idempotency_key="4711")
    again = await call("add", "Order 4711 is paid.", user_id="alice", idempotency_key="4711")
    assert first["results"] == again["results"]
    assert first["results"][0]["role"] == "user"
    with pytest.raises(holdfast.ConflictError):
        await call("add", "Order 4711 is not paid.", user_id="alice", idempotency_key="4711")
    await call("add", "Order 4712 is paid.", user_id="alice")
    await call("add", "Order 4712 is paid.", user_id="alice")
    assert await call("count", ALICE) == 3  # said twice stays said twice


async def test_the_older_form_is_understood_and_warned_of(call: Face) -> None:
    await call("add", "I like tea", user_id="alice", metadata={"n": 1})
    for named in ({}, {"filters": {"n": 1}}, {"filters": {"user_id": "alice"}}):
        with pytest.warns(DeprecationWarning, match="Top-level ids") as caught:
            found = await call("search", "What tea do I like?", user_id="alice", limit=1, **named)
        assert [one["memory"] for one in found["results"]] == ["I like tea"]
        assert [one.filename for one in caught] == [__file__]
    with pytest.warns(DeprecationWarning, match="Top-level ids"):
        assert (await call("get_all", user_id="alice", filters={"n": 2}))["total"] == 0
    with pytest.warns(UserWarning, match="Identity keys"):
        await call("add", "mine", user_id="alice", metadata={"user_id": "bob"})
    assert await call("count", {"user_id": "bob"}) == 0


WRONG: dict[str, tuple[type[Exception], str, tuple[Any, ...], dict[str, Any]]] = {
    "no user": (holdfast.ValidationError, "add", ("x",), {}),
    "no text": (holdfast.ValidationError, "add", ("  ",), ALICE),
    "a number": (holdfast.ValidationError, "add", (5,), ALICE),
    "bytes": (holdfast.ValidationError, "add", (b"x",), ALICE),
    "half a character": (holdfast.ValidationError, "add", ("\ud800",), ALICE),
    "metadata": (holdfast.ValidationError, "add", ("x",), {**ALICE, "metadata": {1: 2}}),
    "not finite": (holdfast.ValidationError, "add", ("x",), {**ALICE, "metadata": {"a": 1e999}}),
    "too long": (holdfast.TooLargeError, "search", ("x" * 40_000,), {"filters": ALICE}),
    "a flag": (holdfast.ValidationError, "search", ("x",), {"filters": ALICE, "explain": "yes"}),
    "top_k": (holdfast.ValidationError, "search", ("x",), {"filters": ALICE, "top_k": 0}),
    "filters": (holdfast.FilterError, "search", ("x",), {"filters": {"topic": "food"}}),
    "no filters": (holdfast.FilterError, "search", ("x",), {}),
    "a cursor": (holdfast.ValidationError, "get_all", (), {"filters": ALICE, "cursor": "x"}),
    "nobody": (holdfast.ValidationError, "delete_all", (), {}),
    "nothing": (holdfast.ValidationError, "update", (UNKNOWN,), {}),
    "unknown": (holdfast.NotFoundError, "update", (UNKNOWN, "x"), {}),
    "deleted": (holdfast.NotFoundError, "delete", (UNKNOWN,), {}),
    "no event": (holdfast.NotFoundError, "event", ("nothing",), {}),
    "no time": (holdfast.ValidationError, "wait", ("nothing",), {"timeout_s": -1}),
    "a status": (holdfast.ValidationError, "events", (), {"status": "LOST"}),
    "talk": (holdfast.UnsupportedError, "chat", ("hello",), {}),
}


async def test_errors_are_the_same(call: Face) -> None:
    for name, (kind, verb, given, named) in WRONG.items():
        with pytest.raises(kind) as caught:
            await call(verb, *given, **named)
        error = caught.value
        assert isinstance(error, holdfast.HoldfastError)
        assert (type(error), bool(error.message)) == (kind, True), name
        assert str(error) == f"{error.message} {error.hint}".strip(), name
        assert error.hint, name


async def test_several_at_once(call: Face) -> None:
    ids = [
        (await call("add", f"thing {number}", user_id="alice"))["results"][0]["id"]
        for number in range(2)
    ]
    changes = [{"memory_id": one, "text": f"better {one}"} for one in ids]
    assert (await call("batch_update", changes))["count"] == 2
    assert (await call("get", ids[1]))["memory"] == f"better {ids[1]}"
    wrong = {"user_id": "bob", "n": 1}
    with pytest.warns(UserWarning, match="Identity keys"):
        await call("batch_update", [{"memory_id": ids[0], "metadata": wrong}])
    assert (await call("get", ids[0]))["metadata"] == {"n": 1}
    assert (await call("entity", "user", "alice"))["total_memories"] == 2
    with pytest.raises(holdfast.NotFoundError):
        await call("batch_delete", [{"memory_id": ids[0]}, {"memory_id": UNKNOWN}])
    assert (await call("batch_delete", [{"memory_id": one} for one in ids]))["count"] == 2
    assert await call("count", ALICE) == 0
