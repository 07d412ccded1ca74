"""Records in Postgres with the index in pgvector beside them, in one database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from holdfast.backends.index.builds import Builds
from holdfast.backends.index.candidates import Bounds, CandidateIndex
from holdfast.backends.index.embedded import EmbeddedIndex
from holdfast.backends.pgvector.vectors import build
from holdfast.backends.postgres.beside import Beside
from holdfast.backends.postgres.records import PostgresRecords
from holdfast.backends.postgres.settings import PostgresSettings
from holdfast.clock import ManualClock, seeded_ids
from holdfast.config import Part
from holdfast.engine.comparing import Drift, compare
from holdfast.engine.indexing import Feeder
from holdfast.metrics import Metrics
from holdfast.model import Project, Space
from holdfast.testing.contracts.values import RED, SPACE
from support import postgres


@contextmanager
def database() -> Iterator[str]:
    """A new database that has pgvector."""
    if postgres.programs(18) is None:
        pytest.skip("Postgres with pgvector is not installed")
    with postgres.database(18, empty=True) as url:
        postgres.shared(18).ask("CREATE EXTENSION vector", name_of(url))
        yield url


def name_of(url: str) -> str:
    return str(psycopg.conninfo.conninfo_to_dict(url)["dbname"])


class Joined(PostgresRecords):
    """Records that write an index of theirs; nobody feeds it unless `feeder` is told to."""

    def __init__(
        self, url: str, index_url: str | None = None, *, seed: int = 1, **settings: Any
    ) -> None:
        clock = ManualClock()
        super().__init__(PostgresSettings(url=url, **settings), clock, seeded_ids(clock, seed=seed))
        part = Part(provider="pgvector", config={"url": index_url or url})
        self._part = part
        self.builds = self._builds()
        self.feeder = Feeder(self.indexing, self.builds, clock)
        self.metrics = Metrics()
        self.joined = False
        self.left = 0
        """Commits that the index has not got."""

    async def open(self, space: Space, key_mark: int = 0, before: Space | None = None) -> None:
        await super().open(space, key_mark, before)
        await self.feeder.collection(await self.feeder.build())
        index = Beside("joined", await self.feeder.build(), self._opened, self._leave)  # type: ignore[arg-type]
        self.joined = self.feeder.beside = await self.keep_beside(index)

    async def close(self) -> None:
        await self.builds.close()
        await super().close()

    def _builds(self) -> Builds:
        return Builds(lambda name: build(self._part, name), "joined", SPACE)

    def index(self) -> CandidateIndex:
        """What searches; with connections of its own, which go with it."""
        exact = EmbeddedIndex(self, SPACE.dimensions, 1 << 30)
        return CandidateIndex(
            self,
            self.indexing,
            self._builds(),
            exact,
            SPACE.dimensions,
            bounds=Bounds(exact_rows=0),
            metrics=self.metrics,
        )

    def answered(self) -> dict[str, float]:
        """How searches were answered."""
        counts = self.metrics.counts().items()
        return {labels[0]: value for (name, labels), value in counts if name == "index_answer"}

    async def drift(self, project: Project = RED) -> Drift:
        """How the searched collection differs from the records."""
        return await compare(
            self.indexing, await self.builds.of(await self.feeder.build()), project
        )

    def _opened(self, number: int) -> object:
        return self.builds.opened(number) if self.feeder.owns(number) else None

    def _leave(self) -> None:
        self.left += 1
