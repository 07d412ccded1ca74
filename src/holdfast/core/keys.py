"""API keys: how they are written, and how what is shown is compared with what is stored.

A key is `hf-<id>-<secret>`. The id finds it, the secret proves it; stored is the id and SHA-256 of
the secret, which needs no salt and no slow hash, for a secret is 256 bits of chance.
"""

from __future__ import annotations

import hashlib
import hmac
import re

from holdfast.model import Struct

PREFIX = "hf"
CREDENTIAL_CHARS_MAX = 8_192
"""Longest key or token that is looked at."""

ID_BYTES = 6
SECRET_BYTES = 32

_KEY = re.compile(r"hf-(?P<id>[0-9a-f]{12})-(?P<secret>[0-9A-Za-z_-]{43})")
_NO_DIGEST = "0" * 64


class Parsed(Struct, frozen=True):
    """The two halves of a key."""

    id: str
    secret: str

    def __repr__(self) -> str:
        return f"Parsed(id={self.id!r}, secret=***)"


def written(id_: str, secret: str) -> str:
    """The key as its owner keeps it."""
    return f"{PREFIX}-{id_}-{secret}"


def parsed(key: str) -> Parsed | None:
    """The halves of a key; None if it is none."""
    found = _KEY.fullmatch(key)
    return None if found is None else Parsed(found["id"], found["secret"])


def digest(secret: str) -> str:
    """What is stored of a secret, hex."""
    return hashlib.sha256(secret.encode()).hexdigest()


def proves(secret: str, stored: str | None) -> bool:
    """Whether this is the secret; takes as long whether or not there is such a key."""
    same = hmac.compare_digest(digest(secret), stored or _NO_DIGEST)
    return same and stored is not None


def same_text(given: str, wanted: str) -> bool:
    """Whether two secrets are equal, in a time that does not tell where they differ."""
    return hmac.compare_digest(
        hashlib.sha256(given.encode()).digest(), hashlib.sha256(wanted.encode()).digest()
    )
