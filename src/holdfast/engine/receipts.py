"""Receipts: signed by a key of the deployment's own, verified with its public half."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from holdfast.core import signing
from holdfast.core.erasure import receipt_text
from holdfast.directory import SigningKey, Where
from holdfast.engine.parts import Parts
from holdfast.errors import ValidationError
from holdfast.model import Json

_HINT = "Use the file as it was handed out."


async def signed(parts: Parts, receipt: Mapping[str, Json]) -> dict[str, Json]:
    """The receipt with a signature over all of it. Raises MissingExtraError."""
    key = await signing_key(parts)
    value = signing.sign(key.algorithm, key.secret, receipt_text(receipt))
    signature = {"algorithm": key.algorithm, "key": key.id, "public": key.public, "value": value}
    return {**receipt, "signature": signature}


async def signing_key(parts: Parts) -> SigningKey:
    """What this deployment signs with; made at the first use. Where two processes make one at
    once, both are good."""
    algorithm = signing.best()
    wanted = Where("algorithm", algorithm)
    found = await parts.directory.select(SigningKey, wanted, order="created_at", size=1)
    if found:
        return found[0]
    secret = signing.encoded(secrets.token_bytes(signing.SEED_BYTES))
    made = SigningKey(
        id=parts.ids.new(),
        project=parts.home,
        algorithm=algorithm,
        secret=secret,
        public=signing.public_of(algorithm, secret),
        created_at=parts.clock.now(),
    )
    await parts.directory.insert(made)
    return made


async def is_ours(parts: Parts, receipt: Mapping[str, Json]) -> bool:
    """Whether a key of this deployment signed exactly this receipt. Raises ValidationError for
    what is no receipt."""
    algorithm, key_id, _, value = signature_of(receipt)
    found = await parts.directory.select(SigningKey, Where("id", key_id))
    if not found or found[0].algorithm != algorithm:
        return False
    key = found[0].public or found[0].secret
    return signing.verifies(algorithm, key, receipt_text(receipt), value)


def is_signed_by(receipt: Mapping[str, Json], public: str) -> bool:
    """Whether the holder of a public key (base64) signed exactly this receipt; no store is needed.

    Raises ValidationError for what is no receipt, or was signed with a secret.
    """
    algorithm, _, _, value = signature_of(receipt)
    if algorithm != "ed25519":
        raise ValidationError(
            "This receipt was signed without a public key.", hint="Verify it with the store."
        )
    return signing.verifies(algorithm, public, receipt_text(receipt), value)


def signature_of(receipt: Mapping[str, Json]) -> tuple[str, str, str | None, str]:
    """Algorithm, id of the key, public key and signature. Raises ValidationError."""
    found: Any = receipt.get("signature")
    parts = (
        [found.get(name) for name in ("algorithm", "key", "public", "value")]
        if (isinstance(found, Mapping))
        else []
    )
    match parts:
        case [str(algorithm), str(key), str() | None as public, str(value)]:
            return algorithm, key, public, value
    raise ValidationError("This is no receipt: it has no signature.", hint=_HINT)
