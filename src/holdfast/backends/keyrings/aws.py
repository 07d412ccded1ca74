"""Master keys in AWS KMS: it wraps data keys, and never tells its own."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from typing import Annotated, Any, Final, cast

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from msgspec import Meta

from holdfast.errors import CorruptError, KeyRingError
from holdfast.model import Struct

_CHANGED: Final = ("InvalidCiphertextException", "IncorrectKeyException")
"""What KMS says to a key that it did not wrap so."""


class AwsSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A symmetric key of KMS. Credentials are found as AWS's own tools find them."""

    key_id: Annotated[str, Meta(min_length=1, max_length=2048)]
    """Its id, ARN or alias."""
    region: str | None = None
    endpoint_url: str | None = None
    timeout_s: Annotated[float, Meta(gt=0, le=120)] = 10.0


class AwsKeyRing:
    """`ports.keyring.KeyRing` on KMS; calls run in threads."""

    def __init__(self, settings: AwsSettings, client: Any = None) -> None:
        """`client`: one of boto3's, instead of one that is made here."""
        self.primary = settings.key_id
        self._client = client or boto3.client(
            "kms",
            region_name=settings.region,
            endpoint_url=settings.endpoint_url,
            config=Config(
                connect_timeout=settings.timeout_s,
                read_timeout=settings.timeout_s,
                retries={"mode": "standard", "total_max_attempts": 3},
            ),
        )

    async def wrap(self, key: bytes, bound_to: bytes) -> bytes:
        answer = await _asked(
            lambda: self._client.encrypt(
                KeyId=self.primary, Plaintext=key, EncryptionContext=_context(bound_to)
            )
        )
        return cast("bytes", answer["CiphertextBlob"])

    async def unwrap(self, name: str, wrapped: bytes, bound_to: bytes) -> bytes:
        answer = await _asked(
            lambda: self._client.decrypt(
                KeyId=name, CiphertextBlob=wrapped, EncryptionContext=_context(bound_to)
            )
        )
        return cast("bytes", answer["Plaintext"])

    async def close(self) -> None:
        self._client.close()


def _context(bound_to: bytes) -> dict[str, str]:
    """What KMS authenticates beside the key; it is in its log, and holds the subject's id."""
    return {"holdfast": base64.b64encode(bound_to).decode()}


async def _asked(call: Callable[[], Any]) -> Any:
    try:
        return await asyncio.to_thread(call)
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))[:64]
        if code in _CHANGED:
            raise CorruptError(
                "A data key cannot be unwrapped by KMS: it was changed or moved, or wrapped by "
                "another key.",
                hint="Check the keyring, or restore the data keys from a backup.",
            ) from error
        raise KeyRingError(
            f"KMS refuses ({code}).", hint="Check seal.config.key_id, the credentials and rights."
        ) from error
    except BotoCoreError as error:
        raise KeyRingError(
            f"KMS does not answer ({type(error).__name__}).",
            hint="Check the region, the credentials and the network.",
        ) from error
