"""How busy other programs kept the machine meanwhile.

Taking turns does not make a busy machine fair. Every wait for the disk ends with a wait for a free
core, a whole time slice of it (4 ms is usual), and contenders wait differently often: one sync for
an add, or eight. Ratios then say more about the neighbours than about the contenders.
"""

from __future__ import annotations

import os
import resource
import time
from dataclasses import dataclass
from pathlib import Path

STAT = Path("/proc/stat")
IDLE_COLUMNS = (3, 4)
"""Positions of idle and iowait in the line of all cores; what follows steal counts guests twice."""
STEAL_COLUMN = 7
OTHERS_CORES_MAX = 0.25
"""Ratios stand while other programs use less than this many cores on average."""


@dataclass(frozen=True)
class Usage:
    """Processor seconds since boot, of all programs and of ours, at a moment."""

    at_s: float
    all_s: float
    own_s: float


def usage() -> Usage | None:
    """The usage now; None where the system does not tell (it has no /proc/stat).

    Ours is this process and its children that have ended.
    """
    if not STAT.exists():
        return None
    own = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    own_s = sum(used.ru_utime + used.ru_stime for used in own)
    return Usage(time.monotonic(), busy_seconds(STAT.read_text()), own_s)


def busy_seconds(stat: str) -> float:
    """Seconds that all cores together were not idle, from the text of /proc/stat."""
    fields = [int(field) for field in stat.splitlines()[0].split()[1 : STEAL_COLUMN + 2]]
    ticks = sum(value for column, value in enumerate(fields) if column not in IDLE_COLUMNS)
    return ticks / os.sysconf("SC_CLK_TCK")


def others_cores(before: Usage | None, after: Usage | None) -> float | None:
    """How many cores other programs used on average between two moments; None if not known."""
    if before is None or after is None or after.at_s <= before.at_s:
        return None
    others = (after.all_s - before.all_s) - (after.own_s - before.own_s)
    return max(0.0, others / (after.at_s - before.at_s))
