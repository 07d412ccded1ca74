"""Opening a store that is, or is to be, sealed: with the right keyring, or not at all."""

from __future__ import annotations

import hashlib
import logging
from typing import TYPE_CHECKING, Final

from holdfast.backends.sql.dialect import Connection
from holdfast.backends.sql.keys import SubjectKeys
from holdfast.backends.sql.rows import only
from holdfast.backends.sql.sealed_metadata import remember
from holdfast.backends.sql.sealing import CURRENT, STATE, STATE_OF, Need, Sealer, Subject
from holdfast.core.seal import KEY_BYTES, PREFIX
from holdfast.errors import ConfigError, CorruptError

if TYPE_CHECKING:
    from holdfast.backends.sql.records import SqlRecords

_log = logging.getLogger("holdfast")

MIXED: Final = 1
"""Texts are sealed from now on; older ones may be plain."""
TEXTS: Final = 2
"""Every text is sealed, and one that is not is refused; vectors from before they were sealed as
well may be plain."""
WHOLE: Final = 3
"""Every text and every vector is sealed, and one that is not is refused."""

OWN: Final = Subject("", "store", "content")
"""The key of the store as a whole: it tells whether a keyring is the right one, and keys hashes."""

_SET_STATE: Final = """
INSERT INTO counters (name, value) VALUES (?, ?)
ON CONFLICT (name) DO UPDATE SET value = excluded.value
"""
_TEXTS: Final = (
    ("memories", "text"), ("messages", "text"), ("history", "old_memory"),
    ("history", "new_memory"), ("sources", "quote"), ("jobs", "payload"), ("webhooks", "secret"),
    ("deliveries", "body"), ("feedback", "reason"), ("exports", "request"),
    ("erasures", "subject"), ("signing_keys", "secret"), ("held", "messages"),
)  # fmt: skip


async def unlock(records: SqlRecords, keys: SubjectKeys | None, key_mark: int) -> bytes:
    """Get the store's own key; the content key that is made of it, unless there is another.

    Raises ConfigError for a keyring that does not fit, KeyRingError, CorruptError.
    """
    state = await records.run_read(None, lambda c: only(c, STATE_OF, ()), brief=True)
    if keys is None:
        if state is not None:
            raise ConfigError(
                "The texts of this store are sealed, and no keyring is configured.",
                hint="Set `seal` as it was when the store was made; nothing was changed.",
            )
        return b""
    try:
        await keys.load([Need(OWN, CURRENT)])
    except CorruptError as error:
        raise ConfigError(
            "The keyring holds another master key than the one this store was sealed with, or the "
            "store's own key was changed.",
            hint="Configure the keyring that belongs to this store; nothing was changed.",
        ) from error
    demand(keys.sealer, state)
    if key_mark or await records.run_read(None, _is_unkeyed):
        return b""
    return derived(keys.sealer, b"holdfast content key")


def derived(sealer: Sealer, purpose: bytes) -> bytes:
    """A key for a purpose, 32 bytes, made of the store's own."""
    own = sealer.keys_of(OWN).by_version
    return hashlib.blake2b(purpose, digest_size=KEY_BYTES, key=own[min(own)]).digest()


def _is_unkeyed(connection: Connection) -> bool:
    """Whether the store holds memories whose hashes were made without a key."""
    if only(connection, "SELECT value FROM counters WHERE name = 'key_mark'", ()) != 0:
        return False
    if only(connection, "SELECT 1 FROM memories LIMIT 1", ()) is None:
        return False
    _log.warning("this store was made without a content key: hashes of texts are not keyed")
    return True


def adopt(connection: Connection, sealer: Sealer | None) -> bool:
    """Mark a store that is sealed from now on, while nobody else writes; whether it was not before.

    Raises ConfigError.
    """
    if sealer is None:
        return False
    remember(connection, sealer)
    if only(connection, STATE_OF, ()) is not None:
        return False
    held = False
    for table, field in _TEXTS:
        held = held or only(connection, f"SELECT 1 FROM {table} LIMIT 1", ()) is not None
        sql = f"SELECT 1 FROM {table} WHERE substr({field}, 1, {len(PREFIX)}) = ? LIMIT 1"
        if only(connection, sql, (PREFIX,)) is not None:
            raise ConfigError(
                f"A {field} in {table} begins with {PREFIX!r}, as sealed texts do.",
                hint="Change or delete it before the store is sealed; nothing was changed.",
            )
    state = MIXED if held else WHOLE
    set_state(connection, state)
    demand(sealer, state)
    return True


def demand(sealer: Sealer, state: int | None) -> None:
    """Refuse from now on what is not sealed, as far as a store in this state has no such thing."""
    sealer.strict = state in (TEXTS, WHOLE)
    sealer.strict_vectors = state == WHOLE


def set_state(connection: Connection, state: int) -> None:
    """Record how the store is sealed."""
    connection.execute(_SET_STATE, (STATE, state))


def state_of(connection: Connection) -> int | None:
    """How the store is sealed; None: its texts are plain."""
    found: int | None = only(connection, STATE_OF, ())
    return found
