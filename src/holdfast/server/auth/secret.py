"""What signs the tokens of accounts: a setting, or chance that is kept beside the store."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import tempfile
from pathlib import Path

from holdfast.config import Config
from holdfast.errors import ConfigError, StoreUnavailableError

FILE = "server.secret"
SECRET_CHARS_MIN = 16

_PURPOSE = b"holdfast: tokens of accounts"
_BYTES = 32


def signing_key(config: Config) -> bytes:
    """The key of this deployment's tokens, the same in all of its processes.

    Raises ConfigError for a secret that can be guessed, StoreUnavailableError.
    """
    secret = config.server.token_secret
    if secret and len(secret) < SECRET_CHARS_MIN:
        raise ConfigError(
            f"server.token_secret has fewer than {SECRET_CHARS_MIN} characters.",
            hint="Use a long random one, or leave it out: then a file of the store holds one.",
        )
    source = secret.encode() if secret else _from_file(Path(config.path) / FILE)
    return hmac.digest(source, _PURPOSE, hashlib.sha256)


def _from_file(path: Path) -> bytes:
    """The file's secret; made if there is none, by exactly one of those who try at once."""
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)  # records may be elsewhere
            _make(path)
        secret = path.read_bytes()
    except OSError as error:
        raise StoreUnavailableError(
            f"{path} cannot be made or read: {error.strerror}.",
            hint="Make the folder writable, or set server.token_secret.",
        ) from error
    if len(secret) < _BYTES:
        raise StoreUnavailableError(f"{path} holds no secret.", hint="Delete the file and restart.")
    return secret


def _make(path: Path) -> None:
    """Write it whole under another name (mkstemp: 0600), then give it its own, once."""
    handle, name = tempfile.mkstemp(prefix=f".{FILE}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_hex(_BYTES).encode())
            file.flush()
            os.fsync(file.fileno())
        os.link(name, path)
    except FileExistsError:
        return  # somebody else's came first, and is the one that counts
    finally:
        os.unlink(name)
