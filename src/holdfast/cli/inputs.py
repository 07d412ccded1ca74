"""What comes in from the command line and from standard input."""

from __future__ import annotations

import json
import sys
from typing import Any

from holdfast.errors import ValidationError
from holdfast.limits import TEXT_CHARS_MAX


def text_from(words: list[str] | None, what: str) -> str:
    """The words of the command line as one text; "-" or none: all of standard input.

    Raises:
        ValidationError: there is neither, or standard input is not UTF-8.
    """
    if words and words != ["-"]:
        return " ".join(words)
    if not words and sys.stdin.isatty():
        raise ValidationError(
            f"there is no {what}.", hint="Write it after the command, or pipe it in."
        )
    # One byte more than any text that could be accepted: the library then says it is too large.
    data = sys.stdin.buffer.read(4 * TEXT_CHARS_MAX + 1)
    try:
        text = data.decode()
    except UnicodeDecodeError as fault:
        raise ValidationError("standard input is not UTF-8 text.") from fault
    if not text.strip():
        raise ValidationError(f"there is no {what}.", hint="Standard input was empty.")
    return text.rstrip("\r\n")


_AN_OBJECT = 'Write it like {"source": "mail"}.'


def json_object(written: str, option: str) -> dict[str, Any]:
    """A JSON object given to an option.

    Raises:
        ValidationError: it is not JSON, or not an object.
    """
    try:
        value = json.loads(written)
    except ValueError as fault:
        raise ValidationError(f"{option} is not JSON: {fault}.", hint=_AN_OBJECT) from fault
    except RecursionError:
        raise ValidationError(f"{option} is nested too deeply.", hint=_AN_OBJECT) from None
    if not isinstance(value, dict):
        raise ValidationError(f"{option} must be a JSON object.", hint=_AN_OBJECT)
    return value
