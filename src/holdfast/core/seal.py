"""Sealing of texts: AES-256-GCM, each ciphertext bound to the place it stands in.

A sealed text is `hf1:` and base64url of: the number of its data key (1 byte), a nonce (12 bytes),
ciphertext and tag. What it is bound to (project, table, row, field) is authenticated, not stored: a
value that was moved, swapped, cut or changed is refused, never read as something else.

Source: NIST SP 800-38D (GCM); random 96-bit nonces are good for 2**32 texts of one key, and every
subject has a key of its own.
"""

from __future__ import annotations

import base64
import binascii
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from holdfast.errors import CorruptError, MissingExtraError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

PREFIX: Final = "hf1:"
KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
VERSIONS_MAX: Final = 255
"""Data keys one subject may have had."""
FERNET_PREFIX: Final = "gAAAA"
"""How texts begin that were encrypted by Fernet (version byte 0x80, base64)."""


class Place(NamedTuple):
    """Where a value stands."""

    project: str
    table: str
    row: str
    field: str

    def bound(self) -> bytes:
        """The same bytes for the same place only: each part after its length."""
        parts = [part.encode() for part in self]
        return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def is_sealed(text: str) -> bool:
    """Whether a stored text looks sealed. A text that merely begins so is sealed all the same."""
    return text.startswith(PREFIX)


def seal(key: bytes, version: int, nonce: bytes, place: Place, text: str) -> str:
    """A text as it is stored. `nonce`: 12 random bytes that were never used with this key."""
    if not 0 < version <= VERSIONS_MAX or len(nonce) != NONCE_BYTES:
        raise ValueError("a key version of 1 to 255 and a nonce of 12 bytes")
    body = cipher(key).encrypt(nonce, text.encode(), place.bound())
    return PREFIX + base64.urlsafe_b64encode(bytes([version]) + nonce + body).decode()


def version_of(sealed: str) -> int:
    """The number of the data key a text was sealed with. Raises CorruptError."""
    return _parts(sealed)[0]


def unseal(key: bytes, place: Place, sealed: str) -> str:
    """The text. Raises CorruptError unless it was sealed so, with this key, for this place."""
    from cryptography.exceptions import InvalidTag

    _, nonce, body = _parts(sealed)
    try:
        return cipher(key).decrypt(nonce, body, place.bound()).decode()
    except (InvalidTag, UnicodeDecodeError):
        raise CorruptError(
            f"A sealed {place.field} in {place.table} cannot be opened: it was changed or moved, "
            "or sealed with another key.",
            hint="Restore it from a backup; check the keyring.",
        ) from None


def _parts(sealed: str) -> tuple[int, bytes, bytes]:
    try:
        raw = base64.b64decode(sealed[len(PREFIX) :], altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if not is_sealed(sealed) or len(raw) < 1 + NONCE_BYTES + TAG_BYTES or not raw[0]:
        raise CorruptError("A sealed value is cut off or damaged.", hint="Restore a backup.")
    return raw[0], raw[1 : 1 + NONCE_BYTES], raw[1 + NONCE_BYTES :]


def unfernet(keys: tuple[bytes, ...], text: str) -> str:
    """A text that an earlier setup encrypted with Fernet, by any of its keys (base64, 32 bytes).

    Raises CorruptError.
    """
    from cryptography.fernet import Fernet, InvalidToken, MultiFernet

    try:
        return MultiFernet([Fernet(key) for key in keys]).decrypt(text.encode()).decode()
    except (InvalidToken, ValueError):
        raise CorruptError(
            "A text that looks encrypted by Fernet cannot be opened with the given keys.",
            hint="Name every key it may have been encrypted with.",
        ) from None


@lru_cache(maxsize=1_024)
def cipher(key: bytes) -> AESGCM:
    """The cipher of a key of 32 bytes. Raises MissingExtraError."""
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ModuleNotFoundError:
        raise MissingExtraError(
            "Sealing needs the package cryptography.", hint="pip install 'holdfast[seal]'"
        ) from None
    return AESGCM(key)
