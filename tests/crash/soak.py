"""Kill processes for as long as you like: `python -m tests.crash.soak --minutes 60`."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

_ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(_ROOT), str(_ROOT / "tests")]

from tests.crash.campaign import Campaign  # noqa: E402
from tests.crash.old_stores import old_store, shapes  # noqa: E402
from tests.crash.zygote import Zygote  # noqa: E402

_REPORT_EVERY_S = 10.0
_ROUNDS_PER_MIGRATION = 8


def main() -> None:
    """Write and migrate until time is up; ends with an error at the first loss."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    given = parser.parse_args()
    print_line(f"seed {given.seed}")
    with Zygote() as zygote, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        old, tables = old_store(folder / "old.db"), shapes(folder)
        campaign = Campaign(zygote, folder, given.seed)
        begin = reported = time.monotonic()
        while time.monotonic() - begin < given.minutes * 60:
            campaign.migration_round(old, tables)
            for _ in range(_ROUNDS_PER_MIGRATION):
                campaign.write_round()
            if time.monotonic() - reported > _REPORT_EVERY_S:
                reported = time.monotonic()
                print_line(told(campaign, reported - begin))
        print_line(told(campaign, time.monotonic() - begin))


def told(campaign: Campaign, seconds: float) -> str:
    """One line: how long, how many of what."""
    counts = ", ".join(f"{count} {name}" for name, count in sorted(campaign.tally.items()))
    return f"{seconds:6.0f} s: {counts}; nothing lost"


def print_line(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
