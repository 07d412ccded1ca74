"""A memory on a fresh folder, asynchronous and blocking."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from holdfast import AsyncMemory, Memory
from support.llm_server import LLMServer
from support.refusals import KEY, Refusals


@pytest.fixture
def server() -> Iterator[LLMServer]:
    """A server of models that answers what the test tells it to."""
    with LLMServer() as running:
        yield running


@pytest.fixture
async def memory(tmp_path: Path) -> AsyncIterator[AsyncMemory]:
    async with AsyncMemory({"path": str(tmp_path / "store")}) as opened:
        yield opened


@pytest.fixture
def blocking(tmp_path: Path) -> Iterator[Memory]:
    with Memory({"path": str(tmp_path / "store")}) as opened:
        yield opened


@pytest.fixture(scope="module")
def stocked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Memory, Path]]:
    """A memory that holds something of two users, and its folder; shared by a module."""
    folder = tmp_path_factory.mktemp("stocked")
    with Memory({"path": str(folder), "read_connections_max": 1}) as opened:
        opened.add("I like tea.", user_id="alice", idempotency_key=KEY, metadata={"n": 1})
        opened.add("I like coffee.", user_id="bob", run_id="r", categories=["drinks"])
        opened.search("What do I like?", filters={"user_id": "alice"})
        yield opened, folder


@pytest.fixture(scope="module")
def shared(stocked: tuple[Memory, Path]) -> Memory:
    """The stocked memory itself."""
    return stocked[0]


@pytest.fixture(scope="module")
def refused(stocked: tuple[Memory, Path]) -> Refusals:
    """Makes calls of the stocked memory that must fail without a trace."""
    return Refusals(*stocked)
