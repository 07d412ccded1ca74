"""Servers for the tests: one for each test that asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from support.llm_server import LLMServer
from support.served import Served, served


@pytest.fixture
def llm() -> Iterator[LLMServer]:
    """A server of models that answers what the test tells it to."""
    with LLMServer() as running:
        yield running


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Served]:
    """A server with an empty store."""
    with served(tmp_path / "store") as running:
        yield running


@pytest.fixture
def client(server: Served) -> Iterator[httpx.Client]:
    """Talks to the server as its administrator."""
    with httpx.Client(base_url=server.url, headers=server.headers, timeout=60) as talking:
        yield talking
