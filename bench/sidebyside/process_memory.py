"""Resident and peak memory of a process, in bytes."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path


def resident_bytes(pid: int | None = None) -> int:
    """Memory that is resident now in a process, this one unless told: from /proc, else `ps`."""
    pid = pid or os.getpid()
    statm = Path(f"/proc/{pid}/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize()
    listing = subprocess.run(
        ["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=True
    )
    return int(listing.stdout) * 1024


def peak_bytes() -> int:
    """The most that was ever resident (getrusage counts kB on Linux and bytes on macOS)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
