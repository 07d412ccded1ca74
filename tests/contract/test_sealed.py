"""A store that seals its texts keeps every sentence that a plain one keeps."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from holdfast.backends.postgres.records import PostgresRecords
from holdfast.backends.postgres.settings import PostgresSettings
from holdfast.backends.sql.sealing import CURRENT, Need, Subject
from holdfast.backends.sqlite.records import SqliteRecords
from holdfast.clock import ManualClock, seeded_ids
from holdfast.model import Space
from holdfast.testing import operations as draw
from holdfast.testing.contracts.directory import DirectoryContract
from holdfast.testing.contracts.indexing import IndexSourceContract
from holdfast.testing.contracts.jobs import JobsContract
from holdfast.testing.contracts.records import RecordsContract
from holdfast.testing.contracts.values import Make
from holdfast.testing.machines import RecordsMachine
from holdfast.testing.replica import Store
from support import postgres
from support.sealed import records, sealing

NAMES = ("alice", "bob", "x", "r")
EXAMPLES, STEPS = 15, 25
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)


class SealedFixture:
    @pytest.fixture
    def make(self, tmp_path: Path) -> Make:
        ids = seeded_ids(ManualClock(), seed=1)
        return lambda: records(tmp_path / "store.db", ids=ids)


class TestSealedRecords(SealedFixture, RecordsContract):
    pass


class TestSealedJobs(SealedFixture, JobsContract):
    pass


class TestSealedDirectory(SealedFixture, DirectoryContract):
    pass


class TestSealedIndexing(SealedFixture, IndexSourceContract):
    pass


class SealedPostgresFixture:
    @pytest.fixture
    def make(self) -> Iterator[Make]:
        ids = seeded_ids(ManualClock(), seed=1)
        with postgres.database() as url:
            given = PostgresSettings(url=url)
            yield lambda: PostgresRecords(given, ManualClock(), ids, sealing())


class TestSealedPostgresRecords(SealedPostgresFixture, RecordsContract):
    pass


class TestSealedPostgresJobs(SealedPostgresFixture, JobsContract):
    pass


class TestSealedPostgresDirectory(SealedPostgresFixture, DirectoryContract):
    pass


class Warm(SqliteRecords):
    """Has the keys before they are asked for: of commits that are asked at once, one that waits
    for a key comes after the others, and the reference knows no keys."""

    async def open(self, space: Space, key_mark: int = 0) -> None:
        await super().open(space, key_mark)
        assert self._keys is not None
        names = [*product(("user", "agent", "app", "run"), NAMES), ("project", "")]
        subjects = [Subject(project, *name) for project in draw.PROJECTS for name in names]
        await self._keys.load([Need(subject, CURRENT) for subject in subjects])


class SealedMachine(RecordsMachine):
    """The machine on a sealed file."""

    def __init__(self) -> None:
        self._folder = TemporaryDirectory()
        super().__init__()

    def make(self) -> Store:
        return Warm(
            Path(self._folder.name) / "store.db", ManualClock(), self.ids, sealing=sealing()
        )

    def teardown(self) -> None:
        super().teardown()
        self._folder.cleanup()


def test_a_sealed_store_answers_like_the_reference() -> None:
    run_state_machine_as_test(
        SealedMachine,
        settings=settings(max_examples=EXAMPLES, stateful_step_count=STEPS, phases=PHASES),
    )
