"""A slower disk: every fsync of a contender takes so much longer.

Whoever keeps what it accepted waits for the disk, so rates of adds go by how long an fsync takes: a
tenth of a millisecond on a server's own drive, a millisecond and more on a volume of a cloud.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from sidebyside.environments import cache_folder

SOURCE = Path(__file__).with_suffix(".c")
US_PER_MS = 1_000


class SlowDiskError(Exception):
    """The library that slows a disk could not be made; the message says why."""


def slow_disk(fsync_ms: float) -> dict[str, str]:
    """Variables with which a process finds every fsync `fsync_ms` milliseconds slower.

    Raises:
        SlowDiskError: there is no C compiler, or it failed.
    """
    library = cache_folder() / "slow_disk.so"
    command = ["cc", "-shared", "-fPIC", "-O2", "-o", str(library), str(SOURCE), "-ldl"]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise SlowDiskError("--fsync-ms needs a C compiler named cc.") from error
    except subprocess.CalledProcessError as error:
        raise SlowDiskError(f"{SOURCE.name} cannot be compiled: {error.stderr[:300]}") from error
    return {"LD_PRELOAD": str(library), "SLOW_DISK_US": str(round(fsync_ms * US_PER_MS))}
