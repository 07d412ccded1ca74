"""Advisory locks: what orders the writes of several instances. All end with their transaction.

- A *project's* lock is held by whoever commits to it, so that within a project numbers and
  generations are in the order in which their commits become visible.
- The *binding* is shared by all who commit, and taken alone by who opens a store, upgrades it or
  makes its index terms anew.
- Who commits also shows the last number of history at its beginning: all it writes have greater
  ones. The feed of changes tells nothing above the least that is shown, for it might yet be
  followed by something below.
"""

from __future__ import annotations

import hashlib
from typing import Final

from holdfast.model import Project

SPACE: Final = 0x484F4C44  # "HOLD": the first half of our keys
BINDING: Final = 0
MIGRATION: Final = 1

NUMBERS: Final = 0x4846 << 48
"""Keys of shown numbers are above this; there is room for 2**48."""

LOWEST_NUMBER: Final = f"""
SELECT min(((classid::bigint << 32) | objid::bigint) & {2**48 - 1}) FROM pg_locks
WHERE locktype = 'advisory' AND objsubid = 1 AND classid::bigint >> 16 = {NUMBERS >> 48}
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


def project_key(project: Project) -> int:
    """The second half of a project's key; two projects that share one wait for each other."""
    digest = hashlib.blake2b(project.encode(), digest_size=4).digest()
    number = int.from_bytes(digest, "big", signed=True)
    return number if number not in (BINDING, MIGRATION) else 2
