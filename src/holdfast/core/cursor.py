"""Listing cursors: opaque to callers, checked when they come back."""

from __future__ import annotations

import base64
import binascii

from holdfast.errors import ValidationError

_PREFIX = "n1:"


def encode_cursor(number: int) -> str:
    """A cursor that stands behind the memory with this insertion number."""
    return base64.urlsafe_b64encode(f"{_PREFIX}{number}".encode()).decode().rstrip("=")


def decode_cursor(cursor: str) -> int:
    """The insertion number; ValidationError if the text is not one of our cursors."""
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        text = base64.urlsafe_b64decode(padded.encode("ascii")).decode("ascii")
        if not text.startswith(_PREFIX):
            raise ValueError
        number = int(text.removeprefix(_PREFIX))
    except (ValueError, binascii.Error):
        number = -1
    if not 0 <= number < 2**63:
        raise ValidationError(
            "The cursor is not one a listing gave out.", hint="Start again without a cursor."
        )
    return number
