"""Collections of the index in pgvector, for tests of what surrounds it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest

from holdfast.backends.pgvector.vectors import PgVectors, build
from holdfast.config import Part
from holdfast.model import Space
from holdfast.testing.contracts.values import BLUE, RED, SPACE
from holdfast.testing.contracts.vectors import having, near, point
from support.postgres import Server

PASSWORD = "the-password-of-the-tests"


class Guarded(Server):
    """A Postgres with pgvector that asks everybody on the network for a password."""

    def __init__(self) -> None:
        super().__init__(18)
        self.ask(f"ALTER ROLE postgres PASSWORD '{PASSWORD}'")
        self.demand_password("all", over="host all {user} 127.0.0.1/32")

    def address(self, database: str, user: str = "postgres", password: str = PASSWORD) -> str:
        """Where a database is, for a user."""
        return self.tcp_url(database, f"{user}:{password}")

    def owned(self) -> str:
        """The address of a new database with pgvector, of a user who is no superuser."""
        name = f"owner_{next(self._names)}"
        self.ask(f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'")
        self.ask(f"CREATE DATABASE {name} OWNER {name}")
        self.ask("CREATE EXTENSION vector", name)
        return self.address(name, name)


def execute(url: str, *statements: str) -> list[Any]:
    """Run statements as they are; the rows of the last."""
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


def database(url: str) -> str:
    """The name of the database, and of its owner."""
    return url.rpartition("/")[2]


def made(url: str, collection: str = "memories", **settings: object) -> PgVectors:
    vectors = build(Part(provider="pgvector", config={"url": url, **settings}), collection)
    assert isinstance(vectors, PgVectors)
    return vectors


@asynccontextmanager
async def opened(url: str, space: Space = SPACE, **settings: object) -> AsyncIterator[PgVectors]:
    vectors = made(url, **settings)
    try:
        await vectors.open(space)
        yield vectors
    finally:
        await vectors.close()


async def refused(kind: type[Exception], url: str, space: Space = SPACE, **settings: object) -> str:
    """What `open` says when it fails."""
    with pytest.raises(kind) as caught:
        async with opened(url, space, **settings):
            pass
    assert PASSWORD not in str(caught.value)
    return str(caught.value)


def calls(vectors: PgVectors) -> dict[str, Callable[[], Awaitable[Any]]]:
    return {
        "put": lambda: vectors.put(RED, [point("b")]),
        "remove": lambda: vectors.remove(RED, ["b"]),
        "nearest": lambda: near(vectors),
        "holders": lambda: having(vectors, 7),
        "marks": lambda: vectors.marks(RED, None, 10),
        "count": lambda: vectors.count(RED),
        "clear": lambda: vectors.clear(BLUE),
    }
