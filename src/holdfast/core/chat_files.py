"""Whole files of chat exports, cut into conversations or memories. Pure."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from holdfast.core.decoding import decode, is_list
from holdfast.core.transcripts import Format, detect, detect_line
from holdfast.errors import ValidationError
from holdfast.model import Json


def detect_file(data: bytes) -> Format:
    """The form of a whole file, from its first conversation or memory.

    Raises:
        ValidationError: the file is not JSON, no form fits, or more than one does.
    """
    if is_list(data):
        raw = decode(data, list[msgspec.Raw])
        return detect([decode(bytes(element)) for element in raw[:1]])
    if is_lines(data):
        return detect_line(decode(next(_lines(data))[1]))
    whole: Json = decode(data)
    listed = listing(whole)
    return detect(whole if listed is None else listed)


def items(data: bytes, form: Format) -> Iterator[Json]:
    """The conversations or memories of a whole file, decoded one at a time.

    A list of messages is one conversation; any other list holds one conversation an element, and
    so do lines of JSON.

    Raises:
        ValidationError: the file is not JSON; of lines, names the line.
    """
    if is_list(data):
        yield from _elements(decode(data, list[msgspec.Raw]), form)
    elif is_lines(data):
        for number, line in _lines(data):
            try:
                yield decode(line)
            except ValidationError as fault:
                raise type(fault)(f"line {number}: {fault.message}", hint=fault.hint) from fault
    else:
        whole: Json = decode(data)
        listed = listing(whole)
        yield from [whole] if listed is None else listed


def _elements(raw: list[msgspec.Raw], form: Format) -> Iterator[Json]:
    if form == "openai" and raw and "role" in _as_dict(decode(bytes(raw[0]))):
        yield [decode(bytes(element)) for element in raw]
        return
    for element in raw:
        yield decode(bytes(element))


def listing(value: Json) -> list[Json] | None:
    """The memories of an answer of `get_all` or `search`, ours or Mem0's; None if it is none."""
    listed = _as_dict(value).get("results")
    return listed if isinstance(listed, list) else None


def is_lines(data: bytes) -> bool:
    """Whether these are several lines, of which the first is an object of JSON on its own."""
    lines = _lines(data)
    first, second = next(lines, None), next(lines, None)
    if first is None or second is None or not first[1].lstrip().startswith(b"{"):
        return False
    try:
        return isinstance(decode(first[1]), dict)
    except ValidationError:
        return False


def _lines(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Lines that hold something, with their numbers from 1."""
    start = number = 0
    while start < len(data):
        number += 1
        end = data.find(b"\n", start) + 1 or len(data)
        if line := data[start:end].strip():
            yield number, line
        start = end


def _as_dict(value: Json) -> dict[str, Json]:
    return value if isinstance(value, dict) else {}
