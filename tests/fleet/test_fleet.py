"""Three instances behind a real nginx and a real HAProxy, while their parts are killed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.postgres import Server
from tests.fleet.campaign import Fleet, campaign
from tests.fleet.machines import HAPROXY, NGINX, REDIS

pytestmark = [
    pytest.mark.skipif(not NGINX, reason="nginx is not installed: apt-get install nginx"),
    pytest.mark.skipif(not HAPROXY, reason="haproxy is not installed: apt-get install haproxy"),
]


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """Instances that share an SQLite file."""
    made = Fleet(tmp_path, {}, with_redis=False)
    made.start()
    yield made
    made.end()


def test_one_file_many_instances(fleet: Fleet) -> None:
    troubles = [fleet.instance_killed, fleet.instance_drained]
    book = asyncio.run(campaign(fleet, troubles, callers=6, seed=1))
    assert book.faults == [], dict(book.counts)
    assert book.counts["adds"] > 20, dict(book.counts)
    assert book.counts["deletes"] > 0, dict(book.counts)


@pytest.fixture
def postgres() -> Iterator[Server]:
    """A database with pgvector that keeps what it acknowledged, whatever happens to it."""
    made = Server(18, durable=True)
    made.ask("CREATE DATABASE fleet OWNER holdfast")
    made.ask("CREATE EXTENSION vector", database="fleet")
    yield made
    made.remove()


@pytest.mark.skipif(not REDIS, reason="redis-server is not installed: apt-get install redis-server")
def test_everything_that_can_be_killed_is_killed(tmp_path: Path, postgres: Server) -> None:
    """Records in Postgres, an index in pgvector, answers cached in Redis."""
    url = postgres.tcp_url("fleet")
    environ = {
        "HOLDFAST_RECORDS_PROVIDER": "postgres",
        "HOLDFAST_RECORDS_URL": url,
        "HOLDFAST_INDEX_PROVIDER": "pgvector",
        "HOLDFAST_INDEX_URL": url,
    }
    fleet = Fleet(tmp_path, environ, with_redis=True, postgres=postgres)
    wipe = 'TRUNCATE holdfast_index."holdfast" CASCADE'
    fleet.wipes = lambda: postgres.ask(wipe, database="fleet")
    try:
        fleet.start()
        book = asyncio.run(campaign(fleet, fleet.troubles, callers=6, seed=2))
    finally:
        fleet.end()
    assert book.faults == [], dict(book.counts)
    assert book.counts["adds"] > 20, dict(book.counts)
    assert book.counts["index wiped"] == 1
