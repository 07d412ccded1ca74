"""Sealing of texts and vectors: AES-256-GCM, each ciphertext bound to the place it stands in.

A sealed text is `hf1:` and base64url of: the number of its data key (1 byte), a nonce (12 bytes),
ciphertext and tag. A sealed vector is these bytes themselves. What it is bound to (project, table,
row, field) is authenticated, not stored: a value that was moved, swapped, cut or changed is
refused, never read as something else.

Source: NIST SP 800-38D (GCM); random 96-bit nonces are good for 2**32 texts of one key, and every
subject has a key of its own.
"""

from __future__ import annotations

import binascii
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple, overload

from holdfast.errors import CorruptError, MissingExtraError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

PREFIX: Final = "hf1:"
KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
NUMBER_BYTES: Final = 4
"""Of each number of a vector, so that none but sealed ones are of other lengths."""
VERSIONS_MAX: Final = 255
"""Data keys one subject may have had."""
_URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")
_STANDARD: Final = bytes.maketrans(b"-_+/", b"+/\0\0")
"""From base64url to base64; what is none becomes no sign of either."""
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
        # of very many places nothing but the row differs
        before = _measured(self.project) + _measured(self.table)
        row = self.row.encode()
        return before + len(row).to_bytes(4, "big") + row + _measured(self.field)


@lru_cache(maxsize=1_024)
def _measured(part: str) -> bytes:
    raw = part.encode()
    return len(raw).to_bytes(4, "big") + raw


def is_sealed(value: str | bytes) -> bool:
    """Whether what is stored looks sealed; it is read as sealed then, or not at all."""
    if isinstance(value, bytes):
        return len(value) % NUMBER_BYTES != 0
    return value.startswith(PREFIX)


@overload
def seal(key: bytes, version: int, nonce: bytes, place: Place, value: str) -> str: ...
@overload
def seal(key: bytes, version: int, nonce: bytes, place: Place, value: bytes) -> bytes: ...


def seal(key: bytes, version: int, nonce: bytes, place: Place, value: str | bytes) -> str | bytes:
    """A text, or a vector (float32, little-endian), as it is stored.

    `nonce`: 12 random bytes that were never used with this key.
    """
    if not 0 < version <= VERSIONS_MAX or len(nonce) != NONCE_BYTES:
        raise ValueError("a key version of 1 to 255 and a nonce of 12 bytes")
    plain = value if isinstance(value, bytes) else value.encode()
    raw = bytes([version]) + nonce + cipher(key).encrypt(nonce, plain, place.bound())
    if isinstance(value, bytes):
        return raw
    return PREFIX + binascii.b2a_base64(raw, newline=False).translate(_URL_SAFE).decode("ascii")


def version_of(sealed: str | bytes) -> int:
    """The number of the data key a value was sealed with. Raises CorruptError."""
    return envelope(sealed)[0]


def envelope(sealed: str | bytes) -> bytes:
    """What `disclose` opens; its first byte is the number of the data key. Raises CorruptError."""
    if isinstance(sealed, bytes):
        raw = sealed
    else:
        try:
            standard = sealed[len(PREFIX) :].encode("ascii").translate(_STANDARD)
            raw = binascii.a2b_base64(standard, strict_mode=True)
            # the last sign may have bits that mean nothing: it is read as it is written only
            if len(raw) % 3 and binascii.b2a_base64(raw[-(len(raw) % 3) :])[:4] != standard[-4:]:
                raw = b""
        except (binascii.Error, ValueError):
            raw = b""
    if not is_sealed(sealed) or len(raw) < 1 + NONCE_BYTES + TAG_BYTES or not raw[0]:
        raise CorruptError("A sealed value is cut off or damaged.", hint="Restore a backup.")
    return raw


@overload
def unseal(key: bytes, place: Place, sealed: str) -> str: ...
@overload
def unseal(key: bytes, place: Place, sealed: bytes) -> bytes: ...


def unseal(key: bytes, place: Place, sealed: str | bytes) -> str | bytes:
    """The value. Raises CorruptError unless it was sealed so, with this key, for this place."""
    value: str | bytes = disclose(key, place, envelope(sealed), is_text=isinstance(sealed, str))
    return value


def disclose(key: bytes, place: Place, raw: bytes, *, is_text: bool) -> Any:
    """`unseal` for what `envelope` gave."""
    nonce, body = raw[1 : 1 + NONCE_BYTES], raw[1 + NONCE_BYTES :]
    try:
        plain = cipher(key).decrypt(nonce, body, place.bound())
        return plain.decode() if is_text else plain
    except (_invalid_tag(), UnicodeDecodeError):
        raise CorruptError(
            f"A sealed {place.field} in {place.table} cannot be opened: it was changed or moved, "
            "or sealed with another key.",
            hint="Restore it from a backup; check the keyring.",
        ) from None


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


def _invalid_tag() -> type[Exception]:
    from cryptography.exceptions import InvalidTag

    return InvalidTag


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
