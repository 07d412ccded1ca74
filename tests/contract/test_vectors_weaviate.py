"""Weaviate's index through its own client: against a server of the tests', and a real one.

HOLDFAST_TEST_WEAVIATE_URL names the real one (HOLDFAST_TEST_WEAVIATE_GRPC_URL its gRPC interface,
HOLDFAST_TEST_WEAVIATE_KEY its API key).
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import uuid4

import pytest

from holdfast.backends.weaviate.vectors import build
from holdfast.config import Part
from holdfast.testing.contracts.vectors import MakeVectors, VectorsContract
from support.weaviate_wire import KEY, WeaviateWire

REAL = os.environ.get("HOLDFAST_TEST_WEAVIATE_URL")


class TestWeaviate(VectorsContract):
    @pytest.fixture
    def make(self) -> Iterator[MakeVectors]:
        with WeaviateWire() as wire:
            config: dict[str, Any] = {"api_key": KEY, "url": wire.url, "grpc_url": wire.grpc_url}
            yield lambda name="first": build(Part(provider="weaviate", config=config), name)
            assert wire.problems == []


if REAL:

    class TestRealWeaviate(VectorsContract):
        @pytest.fixture
        async def make(self) -> AsyncIterator[MakeVectors]:
            unique = uuid4().hex[:8]
            named = {
                "url": REAL,
                "grpc_url": os.environ.get("HOLDFAST_TEST_WEAVIATE_GRPC_URL"),
                "api_key": os.environ.get("HOLDFAST_TEST_WEAVIATE_KEY"),
            }
            config = {name: value for name, value in named.items() if value}
            part = Part(provider="weaviate", config=config)
            yield lambda name="first": build(part, f"test_{unique}_{name}")
            from holdfast.testing.contracts.values import SPACE

            for name in ("first", "other"):
                index = build(part, f"test_{unique}_{name}")
                await index.open(SPACE)
                await index.clear(None)
                await index.close()

else:

    def test_real_weaviate() -> None:
        pytest.skip("HOLDFAST_TEST_WEAVIATE_URL is not set")
