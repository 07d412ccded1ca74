"""What the instances of a fleet hold of the machine, and whether it grows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import median

from tests.fleet.machines import Machine

Look = Mapping[str, int]
"""What to how much, of one process at one moment."""

SLACK = {"mb": 24, "threads": 3, "files": 12, "connections": 3}
"""By how much the last looks may exceed the first ones: buffers of the allocator, pools that were
not full yet."""
_ROUNDS_MIN = 6
"""A process that lived shorter than this tells nothing: it was warming up."""


def look(one: Machine) -> Look:
    """What an instance holds of the machine."""
    status = Path(f"/proc/{one.pid}/status").read_text()
    field = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    return {
        "pid": one.pid,
        "mb": int(field["VmRSS"].split()[0]) // 1024,
        "threads": int(field["Threads"]),
        "files": len(list(Path(f"/proc/{one.pid}/fd").iterdir())),
    }


def grown(looks: Iterable[tuple[str, Look]]) -> list[str]:
    """What grew, in a line each: medians of the last third beside those of the second.

    `looks`: in order of time, each with the name of the process, and its "pid" if it may have been
    started again, for every one is compared with itself. The first third is warming up.
    """
    by_process: dict[tuple[str, int], list[Look]] = defaultdict(list)
    for name, one in looks:
        by_process[name, one.get("pid", 0)].append(one)
    found = []
    for (name, _), rows in by_process.items():
        if len(rows) < _ROUNDS_MIN:
            continue
        third = len(rows) // 3
        for what, slack in SLACK.items():
            if what not in rows[0]:
                continue
            before = median(row[what] for row in rows[third : 2 * third])
            after = median(row[what] for row in rows[2 * third :])
            if after > before + slack:
                found.append(f"{name}: {what} grew from {before:g} to {after:g}")
    return found
