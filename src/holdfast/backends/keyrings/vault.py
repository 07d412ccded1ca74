"""Master keys in Vault (or OpenBao): its transit engine wraps data keys."""

from __future__ import annotations

import base64
import binascii
import os
import re
from typing import Annotated, Any, Final

import httpx
from msgspec import Meta

from holdfast.errors import ConfigError, CorruptError, KeyRingError
from holdfast.model import Struct

_NAME: Final = r"\A[A-Za-z0-9_.-]{1,128}\Z"
_UNCHANGED: Final = "Data keys are as they were; it is tried again with the next call."


class VaultSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key of a transit engine, of a type that knows associated data (aes256-gcm96)."""

    url: Annotated[str, Meta(pattern=r"\Ahttps?://")]
    """Address of Vault, https://vault.example.com:8200."""
    key: Annotated[str, Meta(pattern=_NAME)] = "holdfast"
    """Name of the key that wraps."""
    mount: Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_./-]{1,128}\Z")] = "transit"
    token: str = ""
    """Empty: that of the environment variable VAULT_TOKEN."""
    namespace: str = ""
    ca_file: str = ""
    """Who is trusted over TLS, if not the public authorities."""
    timeout_s: Annotated[float, Meta(gt=0, le=120)] = 10.0


class VaultKeyRing:
    """`ports.keyring.KeyRing` on Vault's HTTP interface; keeps no connection."""

    def __init__(
        self, settings: VaultSettings, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        """`transport`: what sends, if not a connection. Raises ConfigError."""
        token = settings.token or os.environ.get("VAULT_TOKEN", "")
        if not token:
            raise ConfigError(
                "Sealing with Vault needs a token.", hint="Set seal.config.token or VAULT_TOKEN."
            )
        self.primary = settings.key
        self._settings = settings
        self._transport = transport
        self._headers = {"X-Vault-Token": token, "X-Vault-Request": "true"}
        if settings.namespace:
            self._headers["X-Vault-Namespace"] = settings.namespace

    async def wrap(self, key: bytes, bound_to: bytes) -> bytes:
        asked = {"plaintext": _encoded(key), "associated_data": _encoded(bound_to)}
        data = await self._ask("encrypt", self.primary, asked)
        wrapped = data.get("ciphertext")
        if not isinstance(wrapped, str) or not wrapped.startswith("vault:"):
            raise _strange()
        return wrapped.encode()

    async def unwrap(self, name: str, wrapped: bytes, bound_to: bytes) -> bytes:
        if not re.fullmatch(_NAME, name):
            raise KeyRingError("A data key names a master key that cannot be one of Vault's.")
        asked = {
            "ciphertext": wrapped.decode("ascii", "replace"),
            "associated_data": _encoded(bound_to),
        }
        data = await self._ask("decrypt", name, asked)
        try:
            return base64.b64decode(data["plaintext"], validate=True)
        except (KeyError, TypeError, ValueError, binascii.Error):
            raise _strange() from None

    async def close(self) -> None:
        pass

    async def _ask(self, verb: str, name: str, asked: dict[str, str]) -> dict[str, Any]:
        mount = self._settings.mount.strip("/")
        url = f"{self._settings.url.rstrip('/')}/v1/{mount}/{verb}/{name}"
        verify: Any = True
        if self._settings.ca_file:
            verify = self._settings.ca_file
        try:
            async with httpx.AsyncClient(
                transport=self._transport,
                timeout=self._settings.timeout_s,
                verify=verify,
                trust_env=False,
            ) as client:
                answer = await client.post(url, json=asked, headers=self._headers)
        except (httpx.HTTPError, OSError) as error:
            raise KeyRingError(
                f"Vault does not answer ({type(error).__name__}).", hint=_UNCHANGED
            ) from error
        return _data(answer, verb, name)


def _data(answer: httpx.Response, verb: str, name: str) -> dict[str, Any]:
    """What Vault answered; its words are not repeated, they may quote what was sent."""
    if answer.status_code == httpx.codes.BAD_REQUEST and verb == "decrypt":
        raise CorruptError(
            f"A data key cannot be unwrapped by Vault's key {name!r}: it was changed or moved, or "
            "another key goes by that name.",
            hint="Check the keyring, or restore the data keys from a backup.",
        )
    if answer.status_code != httpx.codes.OK:
        raise KeyRingError(
            f"Vault refuses to {verb} with the key {name!r} (status {answer.status_code}).",
            hint="Check the token's policy, the mount and the type of the key (aes256-gcm96).",
        )
    try:
        data = answer.json()["data"]
    except (ValueError, KeyError, TypeError):
        raise _strange() from None
    if not isinstance(data, dict):
        raise _strange()
    return data


def _strange() -> KeyRingError:
    return KeyRingError(
        "What answers at seal.config.url does not speak as Vault does.", hint="Check the address."
    )


def _encoded(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
