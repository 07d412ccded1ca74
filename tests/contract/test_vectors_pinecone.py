"""Pinecone's index through its own client: against a server of the tests', and the real one."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest

from holdfast.backends.pinecone.vectors import build
from holdfast.config import Part
from holdfast.testing.contracts.vectors import MakeVectors, VectorsContract
from support.pinecone_wire import KEY, PineconeWire

REAL_KEY = os.environ.get("HOLDFAST_TEST_PINECONE_API_KEY")


class TestPinecone(VectorsContract):
    @pytest.fixture
    def make(self) -> Iterator[MakeVectors]:
        with PineconeWire() as wire:
            config = {"api_key": KEY, "url": wire.url, "settles_s": 0}
            yield lambda name="first": build(Part(provider="pinecone", config=config), name)
            assert wire.problems == []


if REAL_KEY:

    class TestRealPinecone(VectorsContract):
        """Needs HOLDFAST_TEST_ONLINE=1 beside the key, and minutes."""

        @pytest.fixture
        async def make(self) -> AsyncIterator[MakeVectors]:
            unique = uuid4().hex[:8]
            part = Part(provider="pinecone", config={"api_key": REAL_KEY, "settles_s": 20})
            yield lambda name="first": build(part, f"test-{unique}-{name}")
            for name in ("first", "other"):
                index = build(part, f"test-{unique}-{name}")
                await index.clear(None)
                await index.close()

else:

    def test_real_pinecone() -> None:
        pytest.skip("HOLDFAST_TEST_PINECONE_API_KEY is not set")
