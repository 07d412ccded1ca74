"""Signatures of receipts: Ed25519, which anybody can verify, or an HMAC, which the deployment can.

Source: RFC 8032 (Ed25519), RFC 2104 (HMAC-SHA256).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from importlib.util import find_spec
from typing import Final, Literal

from holdfast.errors import MissingExtraError, ValidationError

Algorithm = Literal["ed25519", "hmac-sha256"]
ALGORITHMS: Final[tuple[Algorithm, ...]] = ("ed25519", "hmac-sha256")
SEED_BYTES: Final = 32


def best() -> Algorithm:
    """What can be signed with here: Ed25519 needs the package cryptography."""
    return "ed25519" if find_spec("cryptography") is not None else "hmac-sha256"


def public_of(algorithm: str, secret: str) -> str | None:
    """The public half of a secret, base64; None where there is none. Raises MissingExtraError."""
    if algorithm != "ed25519":
        return None
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    except ModuleNotFoundError:
        raise _missing() from None
    key = Ed25519PrivateKey.from_private_bytes(decoded(secret))
    return encoded(key.public_key().public_bytes_raw())


def sign(algorithm: str, secret: str, data: bytes) -> str:
    """The signature, base64. Raises MissingExtraError."""
    if algorithm != "ed25519":
        return encoded(hmac.new(decoded(secret), data, hashlib.sha256).digest())
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    except ModuleNotFoundError:
        raise _missing() from None
    return encoded(Ed25519PrivateKey.from_private_bytes(decoded(secret)).sign(data))


def verifies(algorithm: str, key: str, data: bytes, signature: str) -> bool:
    """Whether a signature is good; `key` is the public one, or an HMAC's secret.

    Raises ValidationError for what is no key or no signature, MissingExtraError.
    """
    if algorithm == "hmac-sha256":
        return hmac.compare_digest(decoded(sign(algorithm, key, data)), decoded(signature))
    if algorithm != "ed25519":
        raise ValidationError(f"No signature is made by {algorithm[:64]!r}.")
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ModuleNotFoundError:
        raise _missing() from None
    try:
        Ed25519PublicKey.from_public_bytes(decoded(key)).verify(decoded(signature), data)
    except InvalidSignature:
        return False
    except ValueError:
        raise ValidationError("The public key is no Ed25519 key.") from None
    return True


def encoded(data: bytes) -> str:
    """Bytes as base64."""
    return base64.b64encode(data).decode()


def decoded(text: str) -> bytes:
    """base64 as bytes. Raises ValidationError."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValidationError("A key or a signature is not base64.") from None


def _missing() -> MissingExtraError:
    return MissingExtraError(
        "Signatures that anybody can verify need the package cryptography.",
        hint="pip install 'holdfast[seal]'",
    )
