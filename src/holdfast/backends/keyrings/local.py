"""Master keys from the environment or a file: 32 bytes each, base64, the newest first.

    2026-11:3q2-7w...=
    2025-01:AAEC...=

A name, a colon, the key; one a line, or separated by commas in the environment.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from holdfast.core.seal import KEY_BYTES, NONCE_BYTES
from holdfast.errors import ConfigError, CorruptError, KeyRingError, MissingExtraError

VARIABLE: Final = "HOLDFAST_MASTER_KEYS"
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


class LocalKeyRing:
    """Master keys that this process holds."""

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        """`keys` by name, the primary first. Raises MissingExtraError, ConfigError."""
        try:
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        except ModuleNotFoundError:
            raise MissingExtraError(
                "Sealing needs the package cryptography.", hint="pip install 'holdfast[seal]'"
            ) from None
        if not keys:
            raise ConfigError("The keyring holds no key.", hint=_HOW)
        self.primary = next(iter(keys))
        self._ciphers = {name: AESGCM(key) for name, key in keys.items()}

    async def wrap(self, key: bytes, bound_to: bytes) -> bytes:
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + self._ciphers[self.primary].encrypt(nonce, key, bound_to)

    async def unwrap(self, name: str, wrapped: bytes, bound_to: bytes) -> bytes:
        from cryptography.exceptions import InvalidTag

        cipher = self._ciphers.get(name)
        if cipher is None:
            raise KeyRingError(
                f"The keyring has no master key {name!r}, which data keys were wrapped with.",
                hint="Keep old master keys behind the new one until the rotation is done.",
            )
        try:
            return cipher.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], bound_to)
        except (InvalidTag, ValueError):
            raise CorruptError(
                f"A data key cannot be unwrapped by the master key {name!r}: it was changed or "
                "moved, or another key goes by that name.",
                hint="Check the keyring, or restore the data keys from a backup.",
            ) from None

    async def close(self) -> None:
        pass


_HOW: Final = (
    "Make one: python -c \"import base64, os; print('first:' + "
    'base64.urlsafe_b64encode(os.urandom(32)).decode())"'
)


def from_environment(variable: str, environ: Mapping[str, str] | None = None) -> LocalKeyRing:
    """The keys of an environment variable. Raises ConfigError; no key is ever told."""
    text = (os.environ if environ is None else environ).get(variable, "")
    if not text.strip():
        raise ConfigError(f"{variable} is not set, and sealing needs a master key.", hint=_HOW)
    return LocalKeyRing(_parsed(text.split(","), variable))


def from_file(path: str) -> LocalKeyRing:
    """The keys of a file that nobody but its owner may read. Raises ConfigError."""
    file = Path(path).expanduser()
    try:
        with file.open("rb") as opened:
            mode = os.fstat(opened.fileno()).st_mode  # of what is read, whatever the path names now
            text = opened.read(65_536).decode()
    except (OSError, UnicodeDecodeError) as error:
        what = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ConfigError(f"The key file {file} cannot be read: {what}.", hint=_HOW) from None
    if os.name == "posix" and mode & _OTHERS:
        raise ConfigError(
            f"The key file {file} can be read or changed by others.", hint=f"chmod 600 {file}"
        )
    lines = (line.split("#")[0] for line in text.splitlines())
    return LocalKeyRing(_parsed([line for line in lines if line.strip()], str(file)))


def _parsed(lines: list[str], where: str) -> dict[str, bytes]:
    keys: dict[str, bytes] = {}
    for number, line in enumerate(lines, 1):
        name, colon, encoded = line.strip().partition(":")
        if not colon or not _NAME.fullmatch(name):
            raise ConfigError(f"{where}: entry {number} is not `name:key`.", hint=_HOW)
        if name in keys:
            raise ConfigError(f"{where}: the name {name!r} comes twice.", hint="Rename one.")
        try:
            key = base64.b64decode(encoded.strip(), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if len(key) != KEY_BYTES:
            raise ConfigError(f"{where}: the key {name!r} is not 32 bytes in base64.", hint=_HOW)
        keys[name] = key
    return keys
