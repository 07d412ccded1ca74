"""Cached values that whoever can read the shared cache cannot read."""

from __future__ import annotations

import os
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from holdfast.core.packing import Packing
from holdfast.core.seal import NONCE_BYTES

_FORM: Final = b"holdfast cache 1"


class SealedPacking(Packing):
    """`Packing` whose payloads are sealed, each bound to its key in the cache."""

    def __init__(self, key: bytes, *secrets: bytes) -> None:
        """`key`: 32 bytes that all processes of the deployment share."""
        super().__init__(*secrets)
        self._cipher = AESGCM(key)

    def pack(self, name: str, payload: bytes) -> bytes:
        nonce = os.urandom(NONCE_BYTES)
        return super().pack(name, nonce + self._cipher.encrypt(nonce, payload, _bound(name)))

    def unpack(self, name: str, value: bytes | None) -> bytes | None:
        sealed = super().unpack(name, value)
        if sealed is None:
            return None
        try:
            return self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], _bound(name))
        except (InvalidTag, ValueError):
            return None


def _bound(name: str) -> bytes:
    return _FORM + name.encode()
