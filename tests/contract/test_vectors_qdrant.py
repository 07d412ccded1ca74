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

from holdfast.backends.qdrant.vectors import build
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
    """The same over gRPC: usually what goes another way through it."""

    USUALLY: ClassVar = (
        "test_a_point_is_found_by_its_vector_and_by_its_words",
        "test_a_point_belongs_to_each_of_its_entities",
        "test_hostile_ids_are_ids_like_any_other",
        "test_hostile_projects_are_projects_like_any_other",
        "test_points_without_a_vector_are_found_by_their_words",
        "test_terms_use_all_their_bits",
        "test_rows_are_exact_if_told",
        "test_marks_come_once_each_whatever_the_page",
        "test_counts_are_exact",
        "test_clear_forgets_a_project_and_no_other",
        "test_a_dropped_collection_is_made_anew_by_open",
        "test_vectors_of_another_length_are_refused",
        "test_many_points_go_in_one_call",
        "test_closed_is_closed",
    )

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
