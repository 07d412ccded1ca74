"""Whether a JSON value fits a JSON Schema: the words that schemas of plain data are made of.

`type enum const properties required additionalProperties items anyOf oneOf allOf $ref` (within the
schema); others restrict nothing here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from holdfast.model import Json

DEPTH_MAX: Final = 32
"""Nesting of a schema, and of what is held against it."""

_STEPS_MAX: Final = 50_000
"""Parts of a value held against parts of a schema: alternatives that nest multiply."""

_PLAIN: Final = (str, int, float, type(None))

_TYPES: Final[Mapping[str, type | tuple[type, ...]]] = {
    "object": dict,
    "array": list,
    "string": str,
    "number": (int, float),
    "integer": int,
    "boolean": bool,
    "null": type(None),
}


def misfit(value: Json, schema: Mapping[str, Json]) -> str | None:
    """Where and why a value does not fit, without telling the value; None if it does."""
    return _Fitting(schema).fault(value, schema, "the answer", 0)


def resolved(schema: Any, root: Mapping[str, Json]) -> Mapping[str, Json]:
    """A part of a schema, or what it refers to; {} for what is not there."""
    for _ in range(DEPTH_MAX):
        if not isinstance(schema, Mapping):
            return {}
        ref = schema.get("$ref")
        if not isinstance(ref, str):
            return schema
        schema = _target(ref, root)
    return {}


def is_deep(value: Json) -> bool:
    """Whether a JSON value is nested deeper than DEPTH_MAX."""
    layer = [value]
    for _ in range(DEPTH_MAX):
        inner = (one.values() if isinstance(one, Mapping) else one for one in layer)
        layer = [each for one in inner if not isinstance(one, _PLAIN) for each in one]
        if not layer:
            return False
    return True


def types_of(schema: Mapping[str, Json]) -> frozenset[str]:
    """The types a part of a schema allows by name, those of its alternatives included."""
    found = schema.get("type")
    names = set(found if isinstance(found, list) else [found])
    for option in schema.get("anyOf") or ():
        names |= types_of(option) if isinstance(option, Mapping) else set()
    return frozenset(name for name in names if isinstance(name, str))


def _target(ref: str, root: Mapping[str, Json]) -> Json:
    at: Json = root
    for part in filter(None, ref.removeprefix("#").split("/")):
        at = at.get(part, {}) if isinstance(at, Mapping) else {}
    return at


class _Fitting:
    """Holds the whole schema, which its parts refer to."""

    def __init__(self, root: Mapping[str, Json]) -> None:
        self._root = root
        self._steps = 0

    def fault(self, value: Json, schema: Json, place: str, depth: int) -> str | None:
        self._steps += 1
        if depth > DEPTH_MAX or self._steps > _STEPS_MAX:
            return f"{place} is nested too deeply, or there is too much to check"
        part = resolved(schema, self._root)
        return (
            self._kind(value, part, place)
            or self._options(value, part, place, depth)
            or self._members(value, part, place, depth)
            or self._items(value, part, place, depth)
        )

    def _kind(self, value: Json, part: Mapping[str, Json], place: str) -> str | None:
        named = part.get("type")
        names = named if isinstance(named, list) else [named] if named is not None else []
        if names and not any(_is(value, name) for name in names):
            return f"{place} is not of the type {' or '.join(map(str, names))}"
        allowed = part.get("enum")
        if isinstance(allowed, list) and value not in allowed:
            return f"{place} is none of the values allowed"
        if "const" in part and value != part["const"]:
            return f"{place} is not the value required"
        return None

    def _options(self, value: Json, part: Mapping[str, Json], place: str, depth: int) -> str | None:
        for name in ("anyOf", "oneOf"):
            options = part.get(name)
            faults = [self.fault(value, one, place, depth + 1) for one in options or ()]
            if faults and all(faults):
                return faults[0]
        for one in part.get("allOf") or ():
            if (fault := self.fault(value, one, place, depth + 1)) is not None:
                return fault
        return None

    def _members(self, value: Json, part: Mapping[str, Json], place: str, depth: int) -> str | None:
        if not isinstance(value, dict):
            return None
        known = part.get("properties") or {}
        for name in part.get("required") or ():
            if name not in value:
                return f"{place} lacks {str(name)[:64]!r}"
        if part.get("additionalProperties") is False and value.keys() - known.keys():
            return f"{place} has more than the fields allowed"
        for name, schema in known.items():
            if name in value:
                where = f"{place}.{name[:64]}"
                if (fault := self.fault(value[name], schema, where, depth + 1)) is not None:
                    return fault
        return None

    def _items(self, value: Json, part: Mapping[str, Json], place: str, depth: int) -> str | None:
        if not isinstance(value, list) or "items" not in part:
            return None
        faults = (self.fault(one, part["items"], f"{place}[]", depth + 1) for one in value)
        return next((fault for fault in faults if fault is not None), None)


def _is(value: Json, name: Json) -> bool:
    if isinstance(value, bool):
        return bool(name == "boolean")
    wanted: type | tuple[type, ...] = _TYPES.get(str(name), object)
    return isinstance(value, wanted)
