"""Stores whose texts are sealed, with master keys made for tests."""

from __future__ import annotations

import base64
from pathlib import Path

from holdfast.backends.keyrings.local import LocalKeyRing
from holdfast.backends.sql.keys import Sealing
from holdfast.backends.sql.sealing import Sealer
from holdfast.backends.sqlite.records import SqliteRecords
from holdfast.clock import Clock, Ids, ManualClock, seeded_ids

MASTER = {"first": bytes(range(32))}
OTHER = {"first": bytes(range(1, 33))}
RENEWED = {"second": bytes(range(2, 34)), **MASTER}


def sealing(keys: dict[str, bytes] | None = None, fernet_keys: tuple[bytes, ...] = ()) -> Sealing:
    """What a store is to be sealed with."""
    return Sealing(LocalKeyRing(keys or MASTER), Sealer(fernet_keys, ("k", "n")))


def records(
    path: Path,
    keys: dict[str, bytes] | None = None,
    *,
    ids: Ids | None = None,
    clock: Clock | None = None,
    fernet_keys: tuple[bytes, ...] = (),
) -> SqliteRecords:
    """Unopened records in a file, sealed."""
    clock = clock or ManualClock()
    ids = ids or seeded_ids(clock, seed=1)
    return SqliteRecords(path, clock, ids, sealing=sealing(keys, fernet_keys))


def written(keys: dict[str, bytes] | None = None) -> str:
    """Master keys as a file or the environment has them."""
    return "\n".join(
        f"{name}:{base64.urlsafe_b64encode(key).decode()}" for name, key in (keys or MASTER).items()
    )
