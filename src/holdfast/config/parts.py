"""What a part takes: the mapping under `config`, checked against a struct of the part's own."""

from __future__ import annotations

import re
from typing import Final, TypeVar

import msgspec

from holdfast.config.faults import fault, nearest
from holdfast.config.settings import Part
from holdfast.errors import ConfigError

T = TypeVar("T", bound=msgspec.Struct)

_MISSING: Final = re.compile(r"missing required field `([^`]*)`")
_PLACE: Final = re.compile(r" - at `\$\.?([^`]*)`")


def part_settings(kind: type[T], part: Part, place: str) -> T:
    """The settings of a part as its struct; `place` is the part's name, "index" say.

    Raises ConfigError, which names the setting and, for an unknown one, the nearest there is; it
    tells no values, which may be secret.
    """
    known = msgspec.structs.fields(kind)
    names = [field.encode_name for field in known]
    for key in part.config:
        if key not in names:
            what = f"{part.provider} has no such setting"
            raise fault(f"{place}.config.{key[:64]}", "configuration", what, nearest(key, names))
    try:
        return msgspec.convert(part.config, kind, strict=False)
    except msgspec.ValidationError as error:
        raise _told(str(error), place) from None


def _told(text: str, place: str) -> ConfigError:
    found = _PLACE.search(text)
    name = f"{place}.config" + (f".{found.group(1)}" if found and found.group(1) else "")
    missing = _MISSING.search(text)
    if missing:
        name = f"{name}.{missing.group(1)}"
        return fault(name, "configuration", "is needed, and is not set", f"Set {name}.")
    return fault(name, "configuration", _PLACE.sub("", text)[:200].rstrip("."))
