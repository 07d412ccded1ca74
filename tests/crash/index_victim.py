"""A process that writes memories, feeds an index with them and builds it anew, until it is killed.

    python -m tests.crash.index_victim FOLDER ROUND [FAULT]

Prints a line for each memory that is committed, and one when it has begun.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

from holdfast.backends.index.builds import Builds
from holdfast.backends.sqlite.records import SqliteRecords
from holdfast.clock import ManualClock, seeded_ids
from holdfast.engine import reindexing
from holdfast.engine.indexing import Feeder
from holdfast.filters import Compare
from holdfast.limits import INDEX_LEASE_S
from holdfast.model import Project
from holdfast.ports import Op, Point, RemoveMemories
from holdfast.testing.contracts.index import said
from holdfast.testing.contracts.values import NOW, RED, SPACE, commit
from support.file_vectors import FileVectors

ROUND_S = INDEX_LEASE_S + 1
"""Each process lives so much later than the one before it, whose leases have run out by then."""


class Hasty(FileVectors):
    """A planted fault: says that points are stored, and stores them later."""

    async def put(self, project: Project, points: Sequence[Point]) -> None:
        if project != RED:  # whose the collection is
            await super().put(project, points)
            return

        async def later() -> None:
            await asyncio.sleep(0.5)
            await super(Hasty, self).put(project, points)

        self.late = asyncio.create_task(later())


def parts(
    folder: Path, number: int, engine: type[FileVectors] = FileVectors
) -> tuple[SqliteRecords, Builds, Feeder]:
    """The records, the engine and the feeder as the process of this round has them."""
    clock = ManualClock(NOW + number * ROUND_S)
    records = SqliteRecords(folder / "store.db", clock, seeded_ids(clock, seed=number))
    builds = Builds(lambda name: engine(folder / "engine.db", name), "index", SPACE)
    return records, builds, Feeder(records.indexing, builds, clock)


async def main(folder: Path, number: int, fault: bool) -> None:
    """Write, feed and rebuild for ever."""
    records, _, feeder = parts(folder, number, Hasty if fault else FileVectors)
    await records.open(SPACE)
    dice = random.Random(number)

    async def write() -> None:
        for n in range(10_000):
            id_ = f"r{number}-{n}"
            ops: list[Op] = [said(id_, f"tea {id_}")]
            if n % 5 == 4:
                gone = f"r{number}-{n - 2}"
                ops.append(RemoveMemories(filter=Compare("id", "eq", gone), at=NOW))
            await commit(records, *ops)
            sys.stdout.write(f"{id_}\n" if n % 5 != 4 else f"{id_} -{gone}\n")
            sys.stdout.flush()
            await asyncio.sleep(dice.uniform(0, 0.004))

    async def feed() -> None:
        while True:
            await feeder.round()
            await asyncio.sleep(0)

    async def rebuild() -> None:
        while True:
            await reindexing.rebuild(feeder)

    works = [write(), feed()] + ([rebuild()] if number % 2 else [])
    await asyncio.gather(*works)


if __name__ == "__main__":
    with patch.multiple(reindexing, SWITCH_S=0.0):
        asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), bool(sys.argv[3:])))
