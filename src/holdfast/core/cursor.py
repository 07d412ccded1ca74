"""Listing cursors: opaque to callers, checked when they come back.

A cursor stands for the number of a memory's insertion, which counts those of every project: what
others do would show in it. So it is masked under a key of the store, and is good in its own project
only.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

from holdfast.errors import ValidationError
from holdfast.model import Project

_HALF_BYTES = 8
_FIRST = 2**63


def encode_cursor(number: int, project: Project, key: bytes) -> str:
    """A cursor that stands behind the memory with this insertion number."""
    plain = number.to_bytes(_HALF_BYTES, "big")
    mark = _digest(b"mark" + plain, project, key)
    return base64.urlsafe_b64encode(mark + _masked(plain, mark, project, key)).decode().rstrip("=")


def decode_cursor(cursor: str, project: Project, key: bytes) -> int:
    """The insertion number; ValidationError if the text is not one of this project's cursors."""
    try:
        given = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        given = b""
    mark = given[:_HALF_BYTES]
    plain = _masked(given[_HALF_BYTES:], mark, project, key)
    number = int.from_bytes(plain, "big")
    whole = len(given) == 2 * _HALF_BYTES and number < _FIRST
    if not whole or not hmac.compare_digest(mark, _digest(b"mark" + plain, project, key)):
        raise ValidationError(
            "The cursor is not one a listing gave out.", hint="Start again without a cursor."
        )
    return number


def _masked(half: bytes, mark: bytes, project: Project, key: bytes) -> bytes:
    mask = _digest(b"mask" + mark, project, key)
    return bytes(a ^ b for a, b in zip(half, mask, strict=False))


def _digest(data: bytes, project: Project, key: bytes) -> bytes:
    name = hashlib.blake2b(project.encode(), digest_size=16).digest()
    return hashlib.blake2b(name + data, digest_size=_HALF_BYTES, key=key).digest()
