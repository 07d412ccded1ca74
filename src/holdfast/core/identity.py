"""Content hashes, and the identities that make duplicates impossible."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from uuid import UUID

import msgspec

from holdfast.model import Kind, Scope

HASH_BYTES = 16


def content_hash(text: str, key: bytes) -> str:
    """Keyed hash of a text, hex: equal texts of one deployment are equal, and tell nothing else."""
    return hashlib.blake2b(text.encode(), digest_size=HASH_BYTES, key=key).hexdigest()


def key_mark(key: bytes) -> int:
    """Tells keys apart without telling them: a 63-bit hash; 0 for no key."""
    if not key:
        return 0
    digest = hashlib.blake2b(b"holdfast content key", digest_size=8, key=key).digest()
    return int.from_bytes(digest, "little") >> 1 or 1


def scope_key(scope: Scope) -> str:
    """A scope as text, equal for equal scopes only."""
    names = [scope.user_id, scope.agent_id, scope.app_id, scope.run_id]
    return msgspec.json.encode(names).decode()


def fact_identity(kind: Kind, scope: Scope, text: str, key: bytes) -> bytes:
    """Facts and summaries are one in their scope if they differ in case, width and spaces only."""
    folded = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return _digest(key, kind, scope_key(scope), folded)


def turn_identity(scope: Scope, role: str, text: str, said: tuple[float, int], key: bytes) -> bytes:
    """Turns are one if said in the same scope at the same moment, the n-th time in that add.

    `said` is the event time and n, so that "ok" said twice stays twice, and a retry does not add.
    """
    return _digest(key, "turn", scope_key(scope), role, text, repr(said[0]), str(said[1]))


def id_elsewhere(id_: str, project: str) -> str:
    """The id of the copy of a row in another project: always the same, and as old."""
    digest = hashlib.blake2b(f"{id_} {project}".encode(), digest_size=HASH_BYTES).digest()
    return str(UUID(bytes=UUID(id_).bytes[:8] + digest[:8]))


def fingerprint(parts: object, key: bytes) -> str:
    """Tells whether two calls with one idempotency key are the same call; `parts` must be JSON."""
    return content_hash(json.dumps(parts, sort_keys=True, default=str), key)


def _digest(key: bytes, *parts: str) -> bytes:
    data = msgspec.json.encode(parts)  # unambiguous: the parts cannot run into one another
    return hashlib.blake2b(data, digest_size=HASH_BYTES, key=key).digest()
