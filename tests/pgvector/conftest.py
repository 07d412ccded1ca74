"""A Postgres with pgvector, and a database in it for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.pgvector import Guarded


@pytest.fixture(scope="session")
def server() -> Iterator[Guarded]:
    """One for all tests; a test that stops it starts it again."""
    server = Guarded()
    yield server
    server.remove()


@pytest.fixture
def owner(server: Guarded) -> str:
    """The address of a new database with pgvector, of a user who is no superuser."""
    return server.owned()
