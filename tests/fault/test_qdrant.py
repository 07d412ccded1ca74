"""What goes wrong between Holdfast and Qdrant, and what each kind of it is called."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from holdfast.backends.qdrant.vectors import build
from holdfast.config import Part
from holdfast.errors import (
    ConfigError,
    HoldfastError,
    IndexUnavailableError,
    SpaceMismatchError,
    ValidationError,
)
from holdfast.model import ANY, Entity, Space
from holdfast.ports import Vectors
from holdfast.testing.contracts.values import ALICE, RED, SPACE
from holdfast.testing.contracts.vectors import EAST, having, marks, near, point
from support.qdrant_engine import Engine
from support.qdrant_wire import Fault, QdrantWire

KEY = "not-for-anybody-to-see"

Call = Callable[[Vectors], Awaitable[Any]]
READS: dict[str, Call] = {
    "nearest": lambda v: v.nearest(RED, ALICE, np.array(EAST, np.float32), 5),
    "holders": lambda v: v.holders(RED, ALICE, [(7,), (8, 9)], 5),
    "marks": lambda v: v.marks(RED, None, 5),
    "count": lambda v: v.count(RED),
}
WRITES: dict[str, Call] = {
    "put": lambda v: v.put(RED, [point("a")]),
    "remove": lambda v: v.remove(RED, ["a"]),
    "clear": lambda v: v.clear(RED),
}
CALLS = {**READS, **WRITES, "open": lambda v: v.open(SPACE), "drop": lambda v: v.clear(None)}
every_call = pytest.mark.parametrize("call", CALLS.values(), ids=list(CALLS))


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[QdrantWire]:
    engine = Engine(tmp_path)
    served = QdrantWire(engine, KEY)
    yield served
    served.close()
    engine.close()


def index(wire: QdrantWire, collection: str = "one", **config: Any) -> Vectors:
    """A handle on a collection of the server."""
    given = {"url": wire.url, "api_key": KEY, "timeout_s": 20, **config}
    return build(Part("qdrant", given), collection)


@pytest.fixture
async def vectors(wire: QdrantWire) -> AsyncIterator[Vectors]:
    made = index(wire)
    await made.open(SPACE)
    await made.put(RED, [point("a", terms=[7, 8])])
    wire.requests.clear()
    yield made
    await made.close()


def told(error: BaseException, wire: QdrantWire) -> str:
    """What an error says, which is neither the key nor where the server is."""
    text = str(error)
    assert KEY not in text
    assert wire.url.rsplit(":", 1)[1] not in text
    assert error.__cause__ is None
    return text


@every_call
async def test_credentials_that_are_refused_are_a_matter_of_configuration(
    wire: QdrantWire, vectors: Vectors, call: Call
) -> None:
    for status in (401, 403):
        wire.fail(Fault(status, b'{"status": {"error": "Unauthorized: %s"}}' % KEY.encode()))
        with pytest.raises(ConfigError, match=r"index\.config\.api_key") as caught:
            await call(vectors)
        assert not caught.value.retryable
        told(caught.value, wire)


@every_call
async def test_requests_that_are_refused_are_a_matter_of_configuration(
    wire: QdrantWire, vectors: Vectors, call: Call
) -> None:
    for status in (307, 400, 405, 422):
        wire.fail(Fault(status, b'{"status": {"error": "Wrong"}}', {"Location": "/elsewhere"}))
        with pytest.raises(ConfigError, match=f"HTTP {status}") as caught:
            await call(vectors)
        told(caught.value, wire)
    assert "/elsewhere" not in [each.path for each in wire.requests]


@every_call
async def test_a_server_that_is_busy_or_ill_is_unavailable(
    wire: QdrantWire, vectors: Vectors, call: Call
) -> None:
    for status in (408, 423, 429, 500, 502, 503, 504):
        wire.fail(Fault(status, b"<html>"))
        with pytest.raises(IndexUnavailableError) as caught:
            await call(vectors)
        assert caught.value.retryable
        assert caught.value.retry_after_s is None
        told(caught.value, wire)


@every_call
async def test_how_long_to_wait_is_told(wire: QdrantWire, vectors: Vectors, call: Call) -> None:
    for status in (429, 503):
        wire.fail(Fault(status, b"{}", {"Retry-After": "7"}))
        with pytest.raises(IndexUnavailableError) as caught:
            await call(vectors)
        assert caught.value.retry_after_s == 7.0
    wire.fail(Fault(429, b"{}", {"Retry-After": "Fri, 27 Nov 2026 07:28:00 GMT"}))
    with pytest.raises(IndexUnavailableError) as caught:
        await call(vectors)
    assert caught.value.retry_after_s is None


GARBAGE = (
    b"",
    b"<html>",
    b"{}",
    b"[]",
    b"null",
    b'{"result": null}',
    b'{"result": 3, "status": "ok", "time": 0}',
    b'{"result": {"points": 3}}',
    b'{"result": {"count": "many"}}',
    b"\xff\xfe",
    b'{"result": ' + b"[" * 50_000,
)


@pytest.mark.parametrize("call", {**READS, **WRITES}.values(), ids=list(READS | WRITES))
async def test_garbage_is_no_answer(wire: QdrantWire, vectors: Vectors, call: Call) -> None:
    for body in GARBAGE:
        wire.fail(Fault(200, body))
        with pytest.raises(IndexUnavailableError) as caught:
            await call(vectors)
        told(caught.value, wire)


async def test_garbage_while_opening_is_no_answer(wire: QdrantWire) -> None:
    made = index(wire)
    for body in GARBAGE:
        wire.fail(Fault(200, body))
        with pytest.raises(IndexUnavailableError):
            await made.open(SPACE)
    await made.close()
    assert wire.engine.collections == {}


@every_call
async def test_connections_that_break_are_an_outage(
    wire: QdrantWire, vectors: Vectors, call: Call
) -> None:
    for fault in (Fault(reset=True), Fault(body=b'{"result"', cut=True)):
        wire.fail(fault)
        with pytest.raises(IndexUnavailableError) as caught:
            await call(vectors)
        told(caught.value, wire)


@pytest.mark.parametrize("call", {**READS, **WRITES}.values(), ids=list(READS | WRITES))
async def test_slow_answers_are_not_waited_for(wire: QdrantWire, call: Call) -> None:
    made = index(wire)
    await made.open(SPACE)
    hasty = index(wire, timeout_s=0.05)
    wire.fail(Fault(delay_s=1.0, answer=True))
    with pytest.raises(IndexUnavailableError, match="in time") as caught:
        await call(hasty)
    told(caught.value, wire)
    for each in (made, hasty):
        await each.close()


@every_call
async def test_a_server_that_is_away_is_unavailable(call: Call) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    made = build(Part("qdrant", {"host": "127.0.0.1", "port": port, "api_key": KEY}), "one")
    with pytest.raises(IndexUnavailableError, match="cannot be reached") as caught:
        await call(made)
    assert str(port) not in str(caught.value)
    await made.close()


async def test_after_an_outage_all_goes_on(wire: QdrantWire, vectors: Vectors) -> None:
    wire.fail(Fault(503), Fault(reset=True))
    for _ in range(2):
        with pytest.raises(IndexUnavailableError):
            await near(vectors)
    assert [match.id for match in await near(vectors)] == ["a"]


async def test_a_collection_that_is_gone_is_unavailable_until_it_is_opened(
    wire: QdrantWire, vectors: Vectors
) -> None:
    wire.engine.drop("one")
    for call in {**READS, **WRITES}.values():
        with pytest.raises(IndexUnavailableError, match="holdfast index rebuild"):
            await call(vectors)
    assert wire.engine.collections == {}, "a collection with holes would pass for a whole one"
    await vectors.clear(None)
    await vectors.open(SPACE)
    assert await vectors.count(None) == 0


async def test_a_write_that_is_only_accepted_is_not_done(
    wire: QdrantWire, vectors: Vectors
) -> None:
    for status in ("acknowledged", "wait_timeout"):
        body = {"result": {"operation_id": 1, "status": status}, "status": "ok", "time": 0.0}
        for call in WRITES.values():
            wire.fail(Fault(200, json.dumps(body).encode()))
            with pytest.raises(IndexUnavailableError, match="not finished"):
                await call(vectors)


async def test_points_of_somebody_else_are_no_memories(wire: QdrantWire, vectors: Vectors) -> None:
    for payload in (
        None,
        {},
        {"id": 7, "mark": 1},
        {"id": "a", "mark": "1"},
        {"id": "a", "mark": True},
    ):
        found = {"id": 1, "version": 1, "score": 0.5, "payload": payload}
        wire.fail(Fault(200, _result({"points": [found], "next_page_offset": None})))
        with pytest.raises(IndexUnavailableError, match="not Holdfast's"):
            await vectors.marks(RED, None, 10)
        if not isinstance((payload or {}).get("id"), str):
            wire.fail(Fault(200, _result({"points": [found]})))
            with pytest.raises(IndexUnavailableError, match="not Holdfast's"):
                await near(vectors)


async def test_every_question_must_be_answered(wire: QdrantWire, vectors: Vectors) -> None:
    wire.fail(Fault(200, _result([{"points": []}])))
    with pytest.raises(IndexUnavailableError, match="unanswered"):
        await READS["holders"](vectors)


async def test_where_there_is_no_qdrant_nothing_is_opened(wire: QdrantWire) -> None:
    made = build(Part("qdrant", {"url": f"{wire.url}/elsewhere", "api_key": KEY}), "one")
    with pytest.raises(ConfigError, match=r"index\.config\.url"):
        await made.open(SPACE)
    await made.close()


async def test_wrong_input_is_refused_before_it_is_sent(wire: QdrantWire, vectors: Vectors) -> None:
    with pytest.raises(ValidationError):
        await near(vectors, direction=(float("nan"), 0.0, 0.0, 0.0))
    with pytest.raises(ValidationError):
        await vectors.marks(RED, "no cursor", 10)
    with pytest.raises(SpaceMismatchError):
        await vectors.put(RED, [point("b"), replace(point("c"), vector=bytes(8))])
    assert wire.requests == []


def _result(value: Any) -> bytes:
    return json.dumps({"result": value, "status": "ok", "time": 0.0}).encode()


HOLDER = """
import asyncio, sys
from holdfast.backends.qdrant.vectors import build
from holdfast.config import Part
from holdfast.model import Space

async def main():
    held = build(Part("qdrant", {"path": sys.argv[1]}), "one")
    await held.open(Space(provider="tests", model="m", dimensions=4))
    print("open", flush=True)
    sys.stdin.read()
    await held.close()

asyncio.run(main())
"""


async def test_a_local_folder_serves_one_process(tmp_path: Path) -> None:
    folder = str(tmp_path / "qdrant")
    command = [sys.executable, "-c", HOLDER, folder]
    pipe = asyncio.subprocess.PIPE
    holder = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    assert holder.stdout is not None
    assert await holder.stdout.readline() == b"open\n"
    made = build(Part("qdrant", {"path": folder}), "one")
    with pytest.raises(ConfigError, match="one process"):
        await made.open(SPACE)
    await holder.communicate(b"")
    await made.open(SPACE)
    await made.close()


async def test_a_local_folder_is_kept_and_shared_within_a_process(tmp_path: Path) -> None:
    config = {"path": str(tmp_path / "a" / "b")}
    first, beside = (build(Part("qdrant", config), name) for name in ("one", "two"))
    await asyncio.gather(first.open(SPACE), beside.open(SPACE))
    await first.put(RED, [point("a", mark=2**62)])
    await beside.put(RED, [point("b")])
    await first.close()
    assert await marks(beside) == {"b": 1}
    await beside.close()
    again = build(Part("qdrant", config), "one")
    await again.open(SPACE)
    assert await marks(again) == {"a": 2**62}
    assert await having(again, 7) == ["a"]
    assert [match.id for match in await near(again, Entity("user", ANY))] == ["a"]
    await again.close()


async def test_in_memory_each_has_its_own() -> None:
    first, second = (build(Part("qdrant", {"path": ":memory:"}), "one") for _ in range(2))
    for each in (first, second):
        await each.open(SPACE)
    await first.put(RED, [point("a")])
    assert await second.count(None) == 0
    for each in (first, second):
        await each.close()


async def test_a_folder_that_cannot_be_made_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    made = build(Part("qdrant", {"path": str(tmp_path / "file" / "qdrant")}), "one")
    with pytest.raises(HoldfastError):
        await made.open(SPACE)
    with pytest.raises(HoldfastError):
        await made.open(Space(provider="tests", model="again", dimensions=4))
    await made.close()


def test_without_the_client_the_extra_is_named() -> None:
    code = (
        "import sys; sys.modules['qdrant_client'] = None\n"
        "from holdfast.errors import MissingExtraError\n"
        "try: import holdfast.backends.qdrant.vectors\n"
        "except MissingExtraError as error: print(error.hint)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "Run: pip install 'holdfast[qdrant]'\n"
