"""Cached values as bytes, so that what comes back is what was put under that very key, or nothing.

A value carries the version of its form and a keyed mark over its key and its bytes: what is cut
off, damaged, of another version, of another deployment, or moved here from another key is none.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

import msgspec

FORM: Final = 1
"""Version of the bytes below and of what is in them: count it up with every change of either."""

_KEY_BYTES: Final = 32
_NAME_BYTES: Final = 20
_MARK_BYTES: Final = 16


class Packing:
    """Names keys and marks values with a secret of the deployment."""

    def __init__(self, *secrets: bytes) -> None:
        """The same secrets make the same names and marks, in every process."""
        said = msgspec.msgpack.encode(secrets)  # unambiguous: they cannot run into one another
        self._key = hashlib.blake2b(said, digest_size=_KEY_BYTES).digest()

    def name(self, kind: str, *parts: bytes) -> str:
        """A key for what is made of these parts; it tells nothing of them."""
        digest = hashlib.blake2b(digest_size=_NAME_BYTES, key=self._key)
        for part in parts:
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
        return f"{kind}:{digest.hexdigest()}"

    def pack(self, name: str, payload: bytes) -> bytes:
        """The value to put under this key."""
        head = bytes([FORM])
        return b"".join((head, self._mark(name, payload), payload))

    def unpack(self, name: str, value: bytes | None) -> bytes | None:
        """The payload of a value that was put under this key; None for anything else."""
        if value is None or value[:1] != bytes([FORM]):
            return None
        mark, payload = value[1 : 1 + _MARK_BYTES], value[1 + _MARK_BYTES :]
        return payload if hmac.compare_digest(mark, self._mark(name, payload)) else None

    def _mark(self, name: str, payload: bytes) -> bytes:
        digest = hashlib.blake2b(name.encode(), digest_size=_MARK_BYTES, key=self._key)
        digest.update(b"\0")
        digest.update(payload)
        return digest.digest()
