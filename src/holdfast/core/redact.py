"""Placeholders for personal data: reversible within one question, or for good.

Where personal data stands is told by a `ports.redactor.Redactor`; here it is replaced.
"""

from __future__ import annotations

import hashlib
import json
import re
from bisect import bisect
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Literal

from holdfast.core.answers import json_line
from holdfast.model import Json
from holdfast.ports.redactor import Passage

Place = Literal["model", "storage"]
Style = Literal["numbered", "kind", "keyed"]
"""`<EMAIL_1>`, by number within one call; `<EMAIL>`; `<EMAIL_1f0c9a2b>`, the same for the same
value in the whole store, and nothing to whoever has no key."""

Named = Callable[[str, str], str]
"""The stand-in for a kind and a value."""

MARK_CHARS: Final = 8
"""Hexadecimal digits that tell values apart in the style `keyed`."""

_NAME: Final = re.compile(r"[A-Z][A-Z_]*_\d+")
_WRITTEN: Final = re.compile(
    r"(?:<|\\u003c|(?<![A-Za-z0-9_]))(?P<name>[A-Z][A-Z_]*_\d+)(?![A-Za-z0-9_])(?:>|\\u003e)?",
    re.IGNORECASE,
)
"""A stand-in as a model may write it."""


class Placeholders:
    """The placeholders of one question, and what they stand for.

    Equal values have equal placeholders. One that stands in the texts already is not given out, so
    that what is put back was taken out here.
    """

    def __init__(self, texts: Sequence[str] = ()) -> None:
        """`texts`: where placeholders will stand; names that occur in them are not given out."""
        self._taken = {name for text in texts for name in _NAME.findall(text)}
        self._names: dict[tuple[str, str], str] = {}
        self._values: dict[str, str] = {}
        self._last: dict[str, int] = {}

    def hide(self, text: str, found: Sequence[Passage]) -> str:
        """The text with placeholders for its passages."""
        return _replaced(text, found, self._placeholder)

    def restore(self, text: str) -> str:
        """An answer, in which the values are put back as they stand in JSON strings.

        A model may have left out the brackets, or written them as escapes.
        """
        if not self._values:
            return text
        return _WRITTEN.sub(self._value, text)

    def _placeholder(self, kind: str, value: str) -> str:
        key = (kind, value)
        if key not in self._names:
            number = self._last.get(kind, 0) + 1
            while f"{kind}_{number}" in self._taken:
                number += 1
            self._last[kind] = number
            self._names[key] = name = f"{kind}_{number}"
            self._values[name] = json.dumps(value, ensure_ascii=False)[1:-1]
        return f"<{self._names[key]}>"

    def _value(self, match: re.Match[str]) -> str:
        return self._values.get(match["name"].upper(), match[0])


def hidden(
    texts: Sequence[str], found: Sequence[Sequence[Passage]], style: Style, key: bytes = b""
) -> list[str]:
    """The texts with placeholders that nobody can take back; `key` is for the style `keyed`."""
    numbered = Placeholders(texts)

    def named(kind: str, value: str) -> str:
        if style == "kind":
            return f"<{kind}>"
        digest = hashlib.blake2b(f"{kind}\0{_folded(value)}".encode(), key=key).hexdigest()
        return f"<{kind}_{digest[:MARK_CHARS]}>"

    pairs = zip(texts, found, strict=True)
    if style == "numbered":
        return [numbered.hide(text, each) for text, each in pairs]
    return [_replaced(text, each, named) for text, each in pairs]


def _folded(value: str) -> str:
    """What two ways to write one value have in common."""
    return "".join(char for char in value.casefold() if char.isalnum() or char in "@.+")


def _replaced(text: str, found: Sequence[Passage], named: Named) -> str:
    parts: list[str] = []
    at = 0
    for one in found:
        parts += [text[at : one.start], named(one.kind, text[one.start : one.end])]
        at = one.end
    return "".join([*parts, text[at:]])


def apart(found: Sequence[Passage]) -> tuple[Passage, ...]:
    """Passages without overlaps, in order: of two that overlap, the longer one; else the first
    in the sequence."""
    kept: list[Passage] = []
    for one in sorted(found, key=lambda each: each.start - each.end):
        at = bisect(kept, one.start, key=lambda each: each.start)
        after_last = at == 0 or kept[at - 1].end <= one.start
        if after_last and (at == len(kept) or one.end <= kept[at].start):
            kept.insert(at, one)
    return tuple(kept)


class Lines:
    """A prompt as what its lines say: the strings inside JSON objects, other lines as they are."""

    def __init__(self, prompt: str) -> None:
        self._lines = [_read(line) for line in prompt.split("\n")]
        self.strings: list[str] = []
        for line in self._lines:
            self.strings += _strings(line)

    def written(self, strings: Sequence[str]) -> str:
        """The same prompt with other strings in place of its own."""
        rest = iter(strings)
        lines = [_with(line, rest) for line in self._lines]
        return "\n".join(line if isinstance(line, str) else json_line(line) for line in lines)


def _read(line: str) -> Json:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return line
    return value if isinstance(value, dict) and json_line(value) == line else line


def _strings(value: Json) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _strings(item)


def _with(value: Json, strings: Iterator[str]) -> Json:
    if isinstance(value, str):
        return next(strings)
    if isinstance(value, dict):
        return {key: _with(item, strings) for key, item in value.items()}
    return [_with(item, strings) for item in value] if isinstance(value, list) else value
