"""Decodes the JSON of files written by other programs. Pure."""

from __future__ import annotations

import re
from typing import Any, TypeVar

import msgspec

from holdfast.errors import ValidationError

T = TypeVar("T")

_MARK = b"\xef\xbb\xbf"  # the byte order mark some editors write before UTF-8
_OTHER_MARKS = (b"\xff\xfe", b"\xfe\xff")  # and before UTF-16
_SAVE = "Save it as UTF-8."
_NOT_FINITE = re.compile(rb"[:\[,]\s*-?(NaN|Infinity)\b")  # as Python's json writes them
_SURROGATES = re.compile(
    rb"(\\\\|\\u[dD][89abAB]..\\u[dD][c-fC-F]..)"  # an escaped backslash, or a whole pair: kept
    rb"|\\u[dD][89a-fA-F].."  # half a pair, as a truncated emoji leaves it
)


def decode(data: bytes, kind: type[T] = Any) -> T:  # type: ignore[assignment]
    """Decodes one JSON text; half a surrogate pair becomes U+FFFD.

    Raises:
        ValidationError: it is not JSON, or nested too deeply.
    """
    data = data.removeprefix(_MARK)
    try:
        try:
            return msgspec.json.decode(data, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError):
            mended = _SURROGATES.sub(lambda found: found[1] or rb"\ufffd", data)
            return msgspec.json.decode(mended, type=kind)
    except UnicodeDecodeError as fault:
        raise ValidationError("this is not JSON: it is not UTF-8.", hint=_SAVE) from fault
    except msgspec.DecodeError as fault:
        if data.startswith(_OTHER_MARKS):
            raise ValidationError("this is not JSON: it is not UTF-8.", hint=_SAVE) from fault
        hint = "NaN and Infinity are not JSON: write null." if _NOT_FINITE.search(data) else ""
        raise ValidationError(f"this is not JSON: {fault}.", hint=hint) from fault
    except RecursionError:
        raise ValidationError("this JSON is nested too deeply.", hint="Flatten it.") from None


def is_list(data: bytes) -> bool:
    """Whether this JSON text is a list, as far as its first character tells."""
    return data.removeprefix(_MARK).lstrip().startswith(b"[")
