"""The arguments of a call as JSON, refused here where they are none, as `AsyncMemory` would."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any
from uuid import UUID

from holdfast.errors import TooLargeError, ValidationError


def encoded(given: Mapping[str, Any]) -> bytes:
    """The body of a call. Raises ValidationError, TooLargeError."""
    parts = [f"{json.dumps(name)}:{_value(name, value)}" for name, value in given.items()]
    return f"{{{','.join(parts)}}}".encode()


def text_of(name: str, value: Any) -> str:
    """A value of a query. Raises ValidationError."""
    text = value if isinstance(value, str) else json.loads(_value(name, value))
    return json.dumps(text) if not isinstance(text, str) else text


def _value(name: str, value: Any) -> str:
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False, default=_plain)
        text.encode()
    except RecursionError:
        raise TooLargeError(f"{name} is nested too deeply.", hint="Make it flatter.") from None
    except UnicodeEncodeError:
        raise ValidationError(
            f"{name} contains half a surrogate pair.",
            hint="Clean it with text.encode('utf-8', 'replace').decode().",
        ) from None
    except TypeError:
        raise ValidationError(f"{name} holds what is not JSON.", hint="Give it as text.") from None
    except ValueError:  # not a finite number, or contains itself
        raise ValidationError(
            f"{name} holds a number that is not finite, or contains itself.",
            hint="JSON has no such values.",
        ) from None
    return text


def _plain(value: Any) -> Any:
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, set | frozenset | tuple):
        return list(value)
    raise TypeError(type(value).__name__)
