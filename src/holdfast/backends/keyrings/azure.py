"""Master keys in Azure Key Vault: it wraps data keys, and never tells its own.

Keys of a vault are RSA, and whoever knows the public one can wrap with it: so what is wrapped is
signed by the vault too, together with what it is bound to, and refused unless the signature is
right. A managed HSM has AES keys, which know associated data.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Callable
from typing import Annotated, Any, Final, Literal, cast

from azure.core.exceptions import AzureError, HttpResponseError
from azure.identity import DefaultAzureCredential
from azure.keyvault.keys.crypto import (
    CryptographyClient,
    EncryptionAlgorithm,
    KeyWrapAlgorithm,
    SignatureAlgorithm,
)
from msgspec import Meta

from holdfast.core.seal import NONCE_BYTES, TAG_BYTES, Place
from holdfast.errors import CorruptError, KeyRingError
from holdfast.model import Struct

_KEY_ID: Final = r"\Ahttps://[A-Za-z0-9.-]{1,253}/keys/[A-Za-z0-9-]{1,127}/[0-9a-f]{32}\Z"
_RSA: Final = b"\x01"
_AES: Final = b"\x02"
_LENGTH_BYTES: Final = 2


class AzureSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key of a vault or a managed HSM. Credentials are found as DefaultAzureCredential does."""

    key_id: Annotated[str, Meta(pattern=_KEY_ID)]
    """https://VAULT/keys/NAME/VERSION, with the version: another one is another master key."""
    algorithm: Literal["RSA-OAEP-256", "A256GCM"] = "RSA-OAEP-256"
    """A256GCM for the AES keys of a managed HSM."""
    timeout_s: Annotated[float, Meta(gt=0, le=120)] = 10.0


class AzureKeyRing:
    """`ports.keyring.KeyRing` on Key Vault; calls run in threads."""

    def __init__(self, settings: AzureSettings, credential: Any = None, **sending: Any) -> None:
        """`credential` and `sending`: for Azure's clients, instead of what they do by default."""
        self.primary = settings.key_id
        self._aes = settings.algorithm == "A256GCM"
        self._credential: Any = credential or DefaultAzureCredential()
        timeouts = {
            "connection_timeout": settings.timeout_s,
            "read_timeout": settings.timeout_s,
            "retry_total": 2,
        }
        self._sending: dict[str, Any] = {**timeouts, **sending}
        self._clients: dict[str, Any] = {}

    async def wrap(self, key: bytes, bound_to: bytes) -> bytes:
        client, wrap = self._client(self.primary), _wrap_aes if self._aes else _wrap_rsa
        return cast("bytes", await _asked(lambda: wrap(client, key, bound_to)))

    async def unwrap(self, name: str, wrapped: bytes, bound_to: bytes) -> bytes:
        # a name is read from the database: no other host is told our token
        if not re.fullmatch(_KEY_ID, name) or _host(name) != _host(self.primary):
            raise KeyRingError(
                "A data key names a master key that is not in the vault of seal.config.key_id.",
                hint="Configure the vault that the data keys were wrapped in.",
            )
        client, unwrap = self._client(name), _unwrap_aes if wrapped[:1] == _AES else _unwrap_rsa
        return cast("bytes", await _asked(lambda: unwrap(client, wrapped, bound_to), opening=True))

    async def close(self) -> None:
        clients, self._clients = list(self._clients.values()), {}
        for client in clients:
            client.close()
        close = getattr(self._credential, "close", None)
        if close is not None:
            close()

    def _client(self, key_id: str) -> Any:
        if key_id not in self._clients:
            self._clients[key_id] = CryptographyClient(key_id, self._credential, **self._sending)
        return self._clients[key_id]


def _wrap_rsa(client: Any, key: bytes, bound_to: bytes) -> bytes:
    encrypted = client.wrap_key(KeyWrapAlgorithm.rsa_oaep_256, key).encrypted_key
    signature = client.sign(SignatureAlgorithm.ps256, _digest(encrypted, bound_to)).signature
    length = len(encrypted).to_bytes(_LENGTH_BYTES, "big")
    return cast("bytes", _RSA + length + encrypted + signature)


def _unwrap_rsa(client: Any, wrapped: bytes, bound_to: bytes) -> bytes:
    start = len(_RSA) + _LENGTH_BYTES
    end = start + int.from_bytes(wrapped[len(_RSA) : start], "big")
    encrypted, signature = wrapped[start:end], wrapped[end:]
    if wrapped[:1] != _RSA or not encrypted or not signature:
        raise _changed()
    digest = _digest(encrypted, bound_to)
    if not client.verify(SignatureAlgorithm.ps256, digest, signature).is_valid:
        raise _changed()
    return cast("bytes", client.unwrap_key(KeyWrapAlgorithm.rsa_oaep_256, encrypted).key)


def _wrap_aes(client: Any, key: bytes, bound_to: bytes) -> bytes:
    made = client.encrypt(EncryptionAlgorithm.a256_gcm, key, additional_authenticated_data=bound_to)
    return cast("bytes", _AES + made.iv + made.tag + made.ciphertext)


def _unwrap_aes(client: Any, wrapped: bytes, bound_to: bytes) -> bytes:
    tag_at = len(_AES) + NONCE_BYTES
    body_at = tag_at + TAG_BYTES
    if len(wrapped) <= body_at:
        raise _changed()
    opened = client.decrypt(
        EncryptionAlgorithm.a256_gcm,
        wrapped[body_at:],
        iv=wrapped[len(_AES) : tag_at],
        authentication_tag=wrapped[tag_at:body_at],
        additional_authenticated_data=bound_to,
    )
    return cast("bytes", opened.plaintext)


def _digest(encrypted: bytes, bound_to: bytes) -> bytes:
    """What is signed: for nothing else that the key may sign, nor for another place."""
    place = Place("holdfast", "wrapped", encrypted.hex(), bound_to.hex())
    return hashlib.sha256(place.bound()).digest()


def _host(key_id: str) -> str:
    return key_id.split("/")[2].lower()


def _changed() -> CorruptError:
    return CorruptError(
        "A data key cannot be unwrapped by Key Vault: it was changed or moved, or wrapped by "
        "another key.",
        hint="Check the keyring, or restore the data keys from a backup.",
    )


async def _asked(call: Callable[[], Any], *, opening: bool = False) -> Any:
    """What the vault answers; its words are not repeated, they may quote what was sent."""
    try:
        return await asyncio.to_thread(call)
    except HttpResponseError as error:
        if opening and error.status_code == 400:
            raise _changed() from error
        raise KeyRingError(
            f"Key Vault refuses (status {error.status_code}).",
            hint="Check seal.config.key_id and the rights: wrapKey, unwrapKey, sign and verify, or "
            "encrypt and decrypt for A256GCM.",
        ) from error
    except (AzureError, ValueError) as error:  # the latter of a key that is not valid now
        raise KeyRingError(
            f"Key Vault cannot be asked ({type(error).__name__}).",
            hint="Check the address, the credentials, the network, and whether the key is valid.",
        ) from error
