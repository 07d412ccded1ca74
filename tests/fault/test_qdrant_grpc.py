"""What goes wrong between Holdfast and Qdrant over gRPC, and what each kind of it is called."""

from __future__ import annotations

import gc
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from holdfast.backends.qdrant.vectors import build
from holdfast.config import Part
from holdfast.errors import ConfigError, HoldfastError, IndexUnavailableError
from holdfast.ports import Vectors
from holdfast.testing.contracts.values import ALICE, RED, SPACE
from holdfast.testing.contracts.vectors import EAST, near, point
from support.qdrant_engine import Engine
from support.qdrant_grpc import QdrantGrpc

KEY = "not-for-anybody-to-see"
CODE = grpc.StatusCode

CALLS: dict[str, Callable[[Vectors], Awaitable[Any]]] = {
    "open": lambda v: v.open(SPACE),
    "put": lambda v: v.put(RED, [point("a")]),
    "remove": lambda v: v.remove(RED, ["a"]),
    "nearest": lambda v: v.nearest(RED, ALICE, np.array(EAST, np.float32), 5),
    "holders": lambda v: v.holders(RED, ALICE, [(7,)], 5),
    "marks": lambda v: v.marks(RED, None, 5),
    "count": lambda v: v.count(RED),
    "clear": lambda v: v.clear(RED),
    "drop": lambda v: v.clear(None),
}


@pytest.fixture(autouse=True)
async def _collected() -> AsyncIterator[None]:
    """Failed calls are collected in the test they belong to."""
    yield
    gc.collect()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[QdrantGrpc]:
    engine = Engine(tmp_path)
    made = QdrantGrpc(engine, KEY)
    yield made
    made.close()
    engine.close()


def index(port: int, **config: Any) -> Vectors:
    """A handle on a collection; nothing listens where REST would be."""
    place = {"host": "127.0.0.1", "port": 1, "grpc_port": port, "prefer_grpc": True}
    return build(Part("qdrant", {**place, "api_key": KEY, "timeout_s": 20, **config}), "one")


@pytest.fixture
async def vectors(served: QdrantGrpc) -> AsyncIterator[Vectors]:
    made = index(served.port)
    await made.open(SPACE)
    await made.put(RED, [point("a")])
    yield made
    await made.close()


EXPECTED: dict[grpc.StatusCode, tuple[type[HoldfastError], str]] = {
    CODE.UNAUTHENTICATED: (ConfigError, "refuses the credentials"),
    CODE.PERMISSION_DENIED: (ConfigError, "refuses the credentials"),
    CODE.INVALID_ARGUMENT: (ConfigError, "refuses the request"),
    CODE.UNIMPLEMENTED: (ConfigError, "refuses the request"),
    CODE.UNAVAILABLE: (IndexUnavailableError, "not available"),
    CODE.INTERNAL: (IndexUnavailableError, "not available"),
    CODE.UNKNOWN: (IndexUnavailableError, "not available"),
    CODE.DEADLINE_EXCEEDED: (IndexUnavailableError, "in time"),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=list(CALLS))
async def test_refusals_and_outages_are_told_apart(
    served: QdrantGrpc, vectors: Vectors, call: Callable[[Vectors], Awaitable[Any]]
) -> None:
    for code, (kind, told) in EXPECTED.items():
        served.failures.append((code, f"said of {KEY}", None))
        with pytest.raises(kind, match=told) as caught:
            await call(vectors)
        assert KEY not in str(caught.value)
        assert caught.value.__cause__ is None
    await call(vectors)


@pytest.mark.filterwarnings(
    # the client raises an error of its own in there, which grpcio does not expect
    "ignore:Exception ignored in. <function InterceptedCall.__del__"
)
async def test_how_long_to_wait_is_told(served: QdrantGrpc, vectors: Vectors) -> None:
    for call in CALLS.values():
        served.failures.append((CODE.RESOURCE_EXHAUSTED, "too much", 7))
        with pytest.raises(IndexUnavailableError) as caught:
            await call(vectors)
        assert caught.value.retry_after_s == 7.0


async def test_a_collection_that_is_gone_is_unavailable(
    served: QdrantGrpc, vectors: Vectors
) -> None:
    served.engine.drop("one")
    for name in ("put", "remove", "nearest", "holders", "marks", "count", "clear"):
        with pytest.raises(IndexUnavailableError, match="is gone"):
            await CALLS[name](vectors)
    await vectors.open(SPACE)
    assert await vectors.count(None) == 0


async def test_a_collection_made_meanwhile_is_taken(served: QdrantGrpc, vectors: Vectors) -> None:
    """Versions of Qdrant say in two ways that it exists."""
    for code in (CODE.ALREADY_EXISTS, CODE.INVALID_ARGUMENT):
        served.failures += [
            (CODE.NOT_FOUND, "no such collection", None),
            (code, "Collection `one` already exists!", None),
        ]
        await vectors.open(SPACE)
    assert [match.id for match in await near(vectors)] == ["a"]


async def test_a_wrong_key_is_refused(served: QdrantGrpc) -> None:
    made = index(served.port, api_key="another")
    with pytest.raises(ConfigError, match=r"index\.config\.api_key"):
        await made.open(SPACE)
    await made.close()


async def test_a_server_that_is_away_is_unavailable() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    made = index(port)
    for call in CALLS.values():
        with pytest.raises(IndexUnavailableError) as caught:
            await call(made)
        assert str(port) not in str(caught.value)
    await made.close()


async def test_writes_are_waited_for(served: QdrantGrpc) -> None:
    made = index(served.port, write_ordering="strong")
    await made.open(SPACE)
    served.calls.clear()
    await made.put(RED, [point("a")])
    await made.remove(RED, ["a"])
    await made.clear(RED)
    assert [(call.wait, call.ordering.type) for call in served.calls] == [(True, 2)] * 3
    await made.close()
