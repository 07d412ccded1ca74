"""Qdrant keeps the contract of `ports.Vectors`.

In the client's local mode; over its REST interface in front of the real engine; and on a real
server if HOLDFAST_TEST_QDRANT_URL names one (HOLDFAST_TEST_QDRANT_KEY: its API key), over REST and
gRPC (HOLDFAST_TEST_QDRANT_GRPC_PORT).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

import pytest

from holdfast.backends.qdrant import build
from holdfast.config import Part
from holdfast.ports import Vectors
from holdfast.testing.contracts.vectors import MakeVectors, VectorsContract
from support.qdrant_engine import Engine
from support.qdrant_grpc import QdrantGrpc
from support.qdrant_wire import QdrantWire

SERVER = os.environ.get("HOLDFAST_TEST_QDRANT_URL")
KEY = os.environ.get("HOLDFAST_TEST_QDRANT_KEY")
GRPC_PORT = os.environ.get("HOLDFAST_TEST_QDRANT_GRPC_PORT", "6334")


def maker(config: dict[str, Any], prefix: str) -> MakeVectors:
    """Handles on collections whose names start with a prefix."""

    def make(collection: str = "one") -> Vectors:
        return build(Part("qdrant", config), f"{prefix}-{collection}")

    return make


class TestLocal(VectorsContract):
    @pytest.fixture
    def make(self, tmp_path: Path) -> MakeVectors:
        return maker({"path": str(tmp_path / "qdrant")}, "local")


class TestEngine(VectorsContract):
    """The real engine, reached as a server is."""

    @pytest.fixture
    def make(self, tmp_path: Path) -> Iterator[MakeVectors]:
        engine = Engine(tmp_path)
        wire = QdrantWire(engine)
        yield maker({"url": wire.url, "timeout_s": 30}, "edge")
        wire.close()
        engine.close()


class TestEngineGrpc(VectorsContract):
    """The same over gRPC."""

    @pytest.fixture
    def make(self, tmp_path: Path) -> Iterator[MakeVectors]:
        engine = Engine(tmp_path)
        served = QdrantGrpc(engine)
        place = {"host": "127.0.0.1", "grpc_port": served.port, "prefer_grpc": True}
        yield maker({**place, "timeout_s": 30}, "edge")
        served.close()
        engine.close()


@pytest.mark.skipif(SERVER is None, reason="HOLDFAST_TEST_QDRANT_URL names no Qdrant server")
class TestServer(VectorsContract):
    config: ClassVar[dict[str, Any]] = {"url": SERVER, "api_key": KEY, "timeout_s": 30}

    @pytest.fixture
    def make(self) -> Iterator[MakeVectors]:
        make = maker(self.config, f"holdfast-test-{uuid4().hex}")
        yield make
        for name in ("one", "other"):
            asyncio.run(_drop(make(name)))


class TestServerGrpc(TestServer):
    config: ClassVar[dict[str, Any]] = {
        **TestServer.config,
        "prefer_grpc": True,
        "grpc_port": GRPC_PORT,
    }


async def _drop(vectors: Vectors) -> None:
    await vectors.clear(None)
    await vectors.close()
