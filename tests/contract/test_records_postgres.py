"""Postgres keeps every sentence of `ports.Records`, `ports.Jobs` and `ports.Directory`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from holdfast.clock import ManualClock, seeded_ids
from holdfast.testing.contracts.directory import DirectoryContract
from holdfast.testing.contracts.jobs import JobsContract
from holdfast.testing.contracts.records import RecordsContract
from holdfast.testing.contracts.values import Make
from support import postgres


class PostgresFixture:
    @pytest.fixture
    def make(self) -> Iterator[Make]:
        ids = seeded_ids(ManualClock(), seed=1)
        with postgres.database() as url:
            yield lambda: postgres.records(url, ids=ids)


class TestPostgresRecords(PostgresFixture, RecordsContract):
    pass


class TestPostgresJobs(PostgresFixture, JobsContract):
    pass


class TestPostgresDirectory(PostgresFixture, DirectoryContract):
    pass
