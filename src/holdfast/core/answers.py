"""JSON lines for a model to read, and the JSON object in what it answers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from holdfast.core.grounding import clean
from holdfast.errors import BadAnswerError
from holdfast.model import Json

ANSWER_CHARS_MAX: Final = 400_000
"""Characters of an answer that are read."""

OBJECTS_MAX: Final = 1_000
"""Places in a chatty answer where a JSON object is looked for."""

_THOUGHT: Final = re.compile(r"\s*<think(?:ing)?>.*?</think(?:ing)?>", re.IGNORECASE | re.DOTALL)


def json_line(line: Mapping[str, Json]) -> str:
    """JSON is the fence around what people wrote: no text can end its own line."""
    return json.dumps({key: _printable(value) for key, value in line.items()}, ensure_ascii=False)


def _printable(value: Json) -> Json:
    return clean(value) if isinstance(value, str) else value


def find_object(text: str, key: str) -> Mapping[str, Any]:
    """The last JSON object with this key, whatever stands around it: drafts come before it.

    Raises BadAnswerError, whose message quotes no content, if there is none.
    """
    found = [value for value in objects(_THOUGHT.sub("", text, count=1)) if key in value]
    if not found:
        raise BadAnswerError(f"the answer holds no JSON object with {key!r}")
    return found[-1]


def objects(text: str) -> Iterator[dict[str, Any]]:
    """The outermost readable JSON objects of a text, in order."""
    text = text[:ANSWER_CHARS_MAX]
    decoder = json.JSONDecoder()
    at = text.find("{")
    for _ in range(OBJECTS_MAX):
        if at < 0:
            return
        try:
            value, at = decoder.raw_decode(text, at)
            yield value
        except (ValueError, RecursionError):
            at += 1
        at = text.find("{", at)
