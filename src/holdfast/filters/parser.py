"""Written filters (Mem0's grammar, hosted and library) to the tree, with faults named by place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import cast

import msgspec

from holdfast.errors import FilterError
from holdfast.filters.covers import entity_choices
from holdfast.filters.operands import Type, moments, operand, text, type_name
from holdfast.filters.tree import (
    ENTITY_FIELDS,
    METADATA,
    NO_ENTITY,
    OPS,
    Compare,
    Everything,
    Filter,
    Not,
    Op,
    conjunction,
    disjunction,
    negation,
)
from holdfast.limits import FILTER_DEPTH_MAX, FILTER_LIST_MAX, FILTER_NODES_MAX
from holdfast.model import ANY, Json

_EQUALITY: tuple[Op, ...] = ("eq", "ne", "in", "nin", "*")
_ORDERED: tuple[Op, ...] = ("eq", "ne", "gt", "gte", "lt", "lte", "in", "nin", "*")
_LISTS = (list, tuple, set, frozenset)
_LOGICAL = ("AND", "OR", "NOT")

_LISTED_VALUES_MAX = 4 * FILTER_LIST_MAX
"""Values in all lists of one filter together."""
_REMEMBERED_CHARS = 256
"""Longest id in a filter that is kept parsed."""


class _Field(msgspec.Struct, frozen=True):
    """How a written key is read: the field it means, its operands and its operators."""

    name: str
    type: Type
    ops: tuple[Op, ...] = OPS
    plain: Op = "eq"
    """What a plain value stands for."""


_KEYWORDS = _Field("text", "text", ("contains", "icontains"), "icontains")

_FIELDS: dict[str, _Field] = {
    **{name: _Field(name, "id") for name in (*ENTITY_FIELDS, "actor_id", "id")},
    **{name: _Field(name, "moment", _ORDERED) for name in ("created_at", "updated_at", "event_at")},
    "session_id": _Field("run_id", "id"),
    "memory_ids": _Field("id", "id"),
    "timestamp": _Field("event_at", "moment", _ORDERED),
    "expires_on": _Field("expires_on", "day", _ORDERED),
    "expiration_date": _Field("expires_on", "day", _ORDERED),
    "role": _Field("role", "text"),
    "text": _Field("text", "text"),
    "categories": _Field("categories", "text", (*_EQUALITY, "contains", "icontains")),
    "keywords": _KEYWORDS,
    "keywords_search": _KEYWORDS,
    "kind": _Field("kind", "kind", _EQUALITY),
    "listed": _Field("listed", "flag", ("eq", "ne")),
}


def parse_filter(raw: Mapping[str, Json] | None, *, require_entity: bool) -> Filter:
    """A written filter as a tree; None and {} mean everything.

    With `require_entity`, every memory that can match must belong to an entity the filter names: by
    id, by a list of ids, or by "*". Raises FilterError that says where and what is wrong.
    """
    if type(raw) is dict and len(raw) == 1:
        [(key, value)] = raw.items()
        if key in ENTITY_FIELDS and type(value) is str and len(value) <= _REMEMBERED_CHARS:
            return _of_one(key, value)
    tree = Everything() if raw is None else _Parser().group(raw, "filters", 0)
    if require_entity and not entity_choices(tree):
        raise FilterError(NO_ENTITY, hint=_entity_hint(raw or {}))
    return tree


@lru_cache(maxsize=4_096)
def _of_one(key: str, value: str) -> Filter:
    """The commonest filter, {"user_id": "ann"}: it names an entity, or is refused."""
    return _Parser().group({key: value}, "filters", 0)


def _entity_hint(raw: Mapping[str, Json]) -> str:
    """Points at a top-level key that was read as metadata but looks like a misspelt entity."""
    for key in raw:
        close = _nearest(key, ENTITY_FIELDS) if key not in _FIELDS else None
        if close:
            return f"({_shown(key)} was read as a metadata key; did you mean {close}?)"
    return ""


def _nearest(word: str, options: Iterable[str]) -> str | None:
    from difflib import get_close_matches  # only when there is something to complain about

    spelled = {option.lower().replace("_", ""): option for option in options}
    plain = word[:64].lower().strip("$ ").replace("_", "")
    close = get_close_matches(plain, spelled, n=1, cutoff=0.6)
    return spelled[close[0]] if close else None


def _did_you_mean(word: str, options: Iterable[str]) -> str:
    close = _nearest(word, options)
    return f" Did you mean {close}?" if close else ""


def _shown(key: str) -> str:
    return repr(key if len(key) <= 60 else key[:57] + "...")


def _below(path: str, key: str) -> str:
    return f"{path}.{key}" if key.isidentifier() and len(key) <= 60 else f"{path}[{_shown(key)}]"


def _key(raw: Json, path: str) -> str:
    if not isinstance(raw, str):
        raise FilterError(f"a key of {path} is not text but {type_name(raw)}.")
    return text(raw, f"a key of {path}")


class _Parser:
    """Walks one written filter, counting nodes and listed values."""

    def __init__(self) -> None:
        self._nodes = 0
        self._listed = 0

    def group(self, raw: Json, path: str, depth: int) -> Filter:
        """An object whose keys are ANDed."""
        if not isinstance(raw, Mapping):
            raise FilterError(f"{path} must be an object, not {type_name(raw)}.")
        if depth > FILTER_DEPTH_MAX:
            raise FilterError(f"filters are nested deeper than {FILTER_DEPTH_MAX} levels.")
        if depth and not raw:
            raise FilterError(f"{path} is empty.")
        return conjunction(*(self._member(*item, path, depth) for item in raw.items()))

    def _member(self, raw_key: Json, value: Json, path: str, depth: int) -> Filter:
        key = _key(raw_key, path)
        here = _below(path, key)
        if key in _LOGICAL:
            return self._logical(key, value, here, depth + 1)
        if key == "metadata":
            return self._metadata(value, here)
        if key in _FIELDS:
            return self._condition(_FIELDS[key], value, here)
        if key.upper().strip("$ ") in _LOGICAL:
            raise FilterError(f"{here} is no operator.{_did_you_mean(key, _LOGICAL)}")
        return self._condition(_Field(METADATA + key.removeprefix(METADATA), "json"), value, here)

    def _metadata(self, raw: Json, path: str) -> Filter:
        if not isinstance(raw, Mapping):
            raise FilterError(f"{path} takes an object of keys and values, not {type_name(raw)}.")
        parts = []
        for raw_key, value in raw.items():
            key = _key(raw_key, path)
            parts.append(self._condition(_Field(METADATA + key, "json"), value, _below(path, key)))
        return conjunction(*parts)

    def _logical(self, key: str, value: Json, path: str, depth: int) -> Filter:
        self._count(path)
        if key == "NOT" and isinstance(value, Mapping):
            children = [self.group(value, path, depth)]
        elif isinstance(value, (list, tuple)):
            children = [self.group(v, f"{path}[{i}]", depth) for i, v in enumerate(value)]
        else:
            raise FilterError(f"{path} takes a list of conditions, not {type_name(value)}.")
        if not children:
            raise FilterError(f"{path} is empty.")
        if key == "AND":
            return conjunction(*children)
        return disjunction(*children) if key == "OR" else negation(disjunction(*children))

    def _condition(self, field: _Field, raw: Json, path: str) -> Filter:
        """One key with its value, or with an object of operators, which are ANDed."""
        if isinstance(raw, Mapping):
            if not raw:
                raise FilterError(f"{path} names no operator.", hint=_takes(field))
            return conjunction(*(self._operation(field, *item, path) for item in raw.items()))
        self._count(path)
        if isinstance(raw, _LISTS):
            return self._among(field, field.plain, raw, path)
        if raw == ANY and "*" in field.ops:
            return Compare(field.name, "*")
        return _single(field, field.plain, raw, path)

    def _operation(self, field: _Field, raw_op: Json, value: Json, path: str) -> Filter:
        self._count(path)
        op = _key(raw_op, path)
        here = _below(path, op)
        if op not in field.ops:
            fault = "does not apply here" if op in OPS else "is an unknown operator"
            raise FilterError(f"{here} {fault}.{_did_you_mean(op, field.ops)}", hint=_takes(field))
        if op == "*":
            if value is not True:
                raise FilterError(f"{here} takes only true.")
            return Compare(field.name, "*")
        if op in ("in", "nin"):
            among = self._among(field, "eq", value, here)
            return among if op == "in" else _opposite(among)
        return _single(field, cast(Op, op), value, here)

    def _among(self, field: _Field, op: Op, values: Json, path: str) -> Filter:
        """Any of several values: `in`, with null, "*" and whole days spelt out."""
        if not isinstance(values, _LISTS):
            raise FilterError(f"{path} takes a list, not {type_name(values)}.")
        self._count(path, 0, len(values))
        if field.type == "moment":  # each becomes comparisons of its own
            self._count(path, len(values))
        parts = [_single(field, op, v, f"{path}[{i}]") for i, v in enumerate(values)]
        return disjunction(*_gathered(field, parts))

    def _count(self, path: str, nodes: int = 1, listed: int = 0) -> None:
        self._nodes += nodes
        self._listed += listed
        if self._nodes > FILTER_NODES_MAX:
            raise FilterError(f"filters have more than {FILTER_NODES_MAX} conditions, at {path}.")
        if listed > FILTER_LIST_MAX or self._listed > _LISTED_VALUES_MAX:
            raise FilterError(
                f"{path} has too many values: at most {FILTER_LIST_MAX} are allowed in one list "
                f"and {_LISTED_VALUES_MAX} in all."
            )


def _takes(field: _Field) -> str:
    return f"It takes {', '.join(field.ops)}."


def _single(field: _Field, op: Op, raw: Json, path: str) -> Filter:
    """A comparison with one value."""
    if op == "ne":
        return _opposite(_single(field, "eq", raw, path))
    if raw is None and field.type != "id" and "*" in field.ops:
        if op != "eq":
            raise FilterError(f"{path} cannot compare with null.")
        return Not(Compare(field.name, "*"))
    if field.type == "moment":
        return _in_time(field.name, op, *moments(raw, path))
    value = operand(field.type, raw, path)
    if op == "eq" and value == ANY and field.type == "id":
        return Compare(field.name, "*")
    if op == "icontains" and not isinstance(value, str):
        raise FilterError(f"{path} takes text, not {type_name(value)}.")
    if op in ("gt", "gte", "lt", "lte") and isinstance(value, bool):
        raise FilterError(f"{path} takes text or a number, not a boolean.")
    return Compare(field.name, op, value)


def _in_time(field: str, op: Op, start: float, end: float) -> Filter:
    """A comparison with a moment, or with a day from `start` to before `end`."""
    if start == end:
        return Compare(field, op, start)
    match op:
        case "gt":
            return Compare(field, "gte", end)
        case "lte":
            return Compare(field, "lt", end)
        case "eq":
            return conjunction(Compare(field, "gte", start), Compare(field, "lt", end))
    return Compare(field, op, start)


def _opposite(tree: Filter) -> Filter:
    """The negation, as `ne` or `nin` where there is one."""
    match tree:
        case Compare(field, "eq", value):
            return Compare(field, "ne", value)
        case Compare(field, "in", value):
            return Compare(field, "nin", value)
        case Not(child):
            return child
    return negation(tree)


def _gathered(field: _Field, parts: list[Filter]) -> list[Filter]:
    """The parts with equalities drawn together into one `in`; moments stay as they are."""
    if field.type == "moment":
        return parts
    values = [part.value for part in parts if isinstance(part, Compare) and part.op == "eq"]
    others = [part for part in parts if not (isinstance(part, Compare) and part.op == "eq")]
    distinct = tuple({(isinstance(value, bool), value): value for value in values}.values())
    if not distinct:
        return others
    one = len(distinct) == 1
    return [Compare(field.name, "eq" if one else "in", distinct[0] if one else distinct), *others]
