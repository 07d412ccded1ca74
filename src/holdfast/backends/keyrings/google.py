"""Master keys in Google Cloud KMS: it wraps data keys, and never tells its own."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Annotated, Any, Final, cast

from google.api_core.exceptions import (
    DeadlineExceeded,
    GoogleAPICallError,
    InvalidArgument,
    RetryError,
    ServiceUnavailable,
)
from google.api_core.retry import Retry, if_exception_type
from google.auth.exceptions import GoogleAuthError
from google.cloud import kms_v1
from msgspec import Meta

from holdfast.errors import ConfigError, CorruptError, KeyRingError
from holdfast.model import Struct

_PART: Final = r"[^/\s]{1,64}"
_NAME: Final = rf"\Aprojects/{_PART}/locations/{_PART}/keyRings/{_PART}/cryptoKeys/{_PART}\Z"


class GoogleSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A symmetric key of Cloud KMS. Credentials are found as Google's own tools find them."""

    key: Annotated[str, Meta(pattern=_NAME)]
    """projects/P/locations/L/keyRings/R/cryptoKeys/K, of the purpose ENCRYPT_DECRYPT."""
    endpoint: Annotated[str, Meta(max_length=253)] | None = None
    """Host of the service, if it is not the public one."""
    timeout_s: Annotated[float, Meta(gt=0, le=120)] = 10.0


class GoogleKeyRing:
    """`ports.keyring.KeyRing` on Cloud KMS; calls run in threads."""

    def __init__(self, settings: GoogleSettings, client: Any = None) -> None:
        """`client`: one of Google's, instead of one that is made here. Raises ConfigError."""
        self.primary = settings.key
        # Google's own goes on for a minute
        again = if_exception_type(ServiceUnavailable, DeadlineExceeded)
        self._calling: dict[str, Any] = {
            "timeout": settings.timeout_s,
            "retry": Retry(predicate=again, initial=0.1, timeout=settings.timeout_s),
        }
        self._client: Any = client or _made(settings)

    async def wrap(self, key: bytes, bound_to: bytes) -> bytes:
        asked = {"name": self.primary, "plaintext": key, "additional_authenticated_data": bound_to}
        answer = await _asked(lambda: self._client.encrypt(asked, **self._calling))
        return cast("bytes", answer.ciphertext)

    async def unwrap(self, name: str, wrapped: bytes, bound_to: bytes) -> bytes:
        if not re.fullmatch(_NAME, name):
            raise KeyRingError("A data key names a master key that cannot be one of Cloud KMS's.")
        asked = {"name": name, "ciphertext": wrapped, "additional_authenticated_data": bound_to}
        answer = await _asked(lambda: self._client.decrypt(asked, **self._calling), opening=True)
        return cast("bytes", answer.plaintext)

    async def close(self) -> None:
        self._client.transport.close()


def _made(settings: GoogleSettings) -> Any:
    options = None if settings.endpoint is None else {"api_endpoint": settings.endpoint}
    try:
        return kms_v1.KeyManagementServiceClient(client_options=options)
    except GoogleAuthError as error:
        raise ConfigError(
            f"Cloud KMS has no credentials ({type(error).__name__}).",
            hint="Set GOOGLE_APPLICATION_CREDENTIALS, or run where a service account is attached.",
        ) from error


async def _asked(call: Callable[[], Any], *, opening: bool = False) -> Any:
    """What KMS answers; its words are not repeated, they may quote what was sent."""
    try:
        return await asyncio.to_thread(call)
    except InvalidArgument as error:
        if opening:
            raise CorruptError(
                "A data key cannot be unwrapped by Cloud KMS: it was changed or moved, or wrapped "
                "by another key.",
                hint="Check the keyring, or restore the data keys from a backup.",
            ) from error
        raise _refused(error) from error
    except GoogleAPICallError as error:
        raise _refused(error) from error
    except (GoogleAuthError, RetryError) as error:
        raise KeyRingError(
            f"Cloud KMS does not answer ({type(error).__name__}).",
            hint="Check the credentials and the network.",
        ) from error


def _refused(error: GoogleAPICallError) -> KeyRingError:
    code = getattr(error.grpc_status_code, "name", None) or error.code
    return KeyRingError(
        f"Cloud KMS refuses ({code}).", hint="Check seal.config.key, the credentials and rights."
    )
