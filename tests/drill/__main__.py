"""A restore drill of any size: `python -m tests.drill --memories 100000`.

Fills a SQLite store, changes and deletes some, archives it in full and then what changed; restores
that into a Postgres with pgvector, and compares: every value of every row, all that is listed,
histories, and the answers of some hundreds of searches, with the index in this process, in pgvector
in the same database, and in Qdrant's engine. 1 if anything differs.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path


def main() -> int:
    """Run it, telling each step."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from tests.drill.drill import Size, drill

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--memories", type=int, default=100_000)
    parser.add_argument("--users", type=int, default=1_000)
    parser.add_argument("--searches", type=int, default=300)
    parser.add_argument("--sealed", action="store_true")
    given = parser.parse_args()
    size = Size(given.memories, given.users, given.searches, given.sealed)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="holdfast-drill-") as folder:
        faults = drill(Path(folder), size, _say)
    minutes = (time.perf_counter() - began) / 60
    _say(f"{given.memories:,} memories, {minutes:.1f} minutes: {faults or 'everything is equal'}")
    return 1 if faults else 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
