"""A fleet in trouble for as long as you like: `python -m tests.fleet.soak --minutes 60`.

Memory, open files and threads of every instance are looked at after each round: they must not grow.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from tests.fleet.campaign import Fleet, campaign
from tests.fleet.machines import Machine


def look(one: Machine) -> dict[str, int]:
    """What an instance holds of the machine."""
    status = Path(f"/proc/{one.pid}/status").read_text()
    field = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    return {
        "mb": int(field["VmRSS"].split()[0]) // 1024,
        "threads": int(field["Threads"]),
        "files": len(list(Path(f"/proc/{one.pid}/fd").iterdir())),
    }


def main() -> int:
    """Run rounds until the time is over; 1 if anything was lost, doubled, stale or refused."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--callers", type=int, default=8)
    parser.add_argument("--calm", action="store_true", help="no troubles: only growth is looked at")
    parser.add_argument("--environ", type=json.loads, default={}, help="settings, as JSON")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="holdfast-fleet-") as folder:
        Path(folder).chmod(0o755)  # nginx's workers are another user
        return _soak(Path(folder), args.minutes, args.callers, args.environ, calm=args.calm)


def _soak(
    folder: Path, minutes: float, callers: int, environ: Mapping[str, str], *, calm: bool
) -> int:
    fleet = Fleet(folder, environ, with_redis=bool(environ.get("HOLDFAST_CACHE_PROVIDER")))
    fleet.start()
    end, number = time.monotonic() + 60 * minutes, 0
    try:
        while time.monotonic() < end:
            number += 1
            troubles = [] if calm else fleet.troubles
            book = asyncio.run(campaign(fleet, troubles, callers=callers, seed=number, pause_s=5))
            held = {one.name: look(one) for one in fleet.instances}
            told = {"round": number, **book.counts, "held": held}
            sys.stdout.write(json.dumps(told) + "\n")
            sys.stdout.flush()
            if book.faults:
                sys.stderr.write("\n".join(book.faults) + "\n")
                return 1
    finally:
        fleet.end()
    return 0


if __name__ == "__main__":
    sys.exit(main())
