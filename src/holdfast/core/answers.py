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

_MISREAD: Final = re.compile(
    "[\x7f-\x9f\u2028\u2029"  # a reader may take them for the end of a line
    "\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff"  # hide text, or turn it round
    "\U000e0000-\U000e007f]"  # letters that nobody sees
    r"|<(?=[|\uff5c]|/?s>|<?/?SYS>|/?(?:start|end)_of_(?:turn|role|image)>|/?(?:bos|eos|pad|unk)>)"
    r"|\[(?=/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\])",
    re.IGNORECASE,
)
"""Characters that a model may not take for text: line ends, invisible ones, and the beginnings of
the marks that models' own templates set between turns, which some servers read in texts as well."""
_THOUGHT: Final = re.compile(r"\s*<think(?:ing)?>.*?</think(?:ing)?>", re.IGNORECASE | re.DOTALL)


def json_line(line: Mapping[str, Json]) -> str:
    """JSON is the fence around what people wrote: no text can end its own line.

    What a model could misread is written as JSON escapes: read as JSON, the text is the same.
    """
    plain = json.dumps({key: _printable(value) for key, value in line.items()}, ensure_ascii=False)
    return _MISREAD.sub(_escaped, plain)


def _escaped(match: re.Match[str]) -> str:
    return json.dumps(match[0])[1:-1] if not match[0].isascii() else f"\\u{ord(match[0]):04x}"


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
