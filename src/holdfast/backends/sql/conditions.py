"""Conditions on rows of the directory as SQL, and their values as columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, get_type_hints

import msgspec

from holdfast.directory import Row, Where
from holdfast.errors import ValidationError
from holdfast.model import Json

_OPERATORS: Final = {"eq": "=", "lte": "<=", "gt": ">"}


def condition_of(kind: type[Row], where: Sequence[Where]) -> tuple[str, list[Any]]:
    """An expression over the columns of a row, and its parameters."""
    parts, parameters = ["TRUE"], []
    for one in where:
        name = field_of(kind, one.field)
        if one.op == "in" and not one.value:
            parts.append("FALSE")
        elif one.op == "in":
            parts.append(f"{name} IN ({','.join('?' * len(one.value))})")
            parameters += [column_value(kind, name, value) for value in one.value]
        elif one.value is None and one.op == "eq":
            parts.append(f"{name} IS NULL")
        else:
            parts.append(f"{name} {_OPERATORS[one.op]} ?")
            parameters.append(column_value(kind, name, one.value))
    return " AND ".join(parts), parameters


def field_of(kind: type[Row], name: str) -> str:
    """The name of a column, which is about to stand in a statement."""
    if name not in kind.__struct_fields__:
        raise ValidationError(f"{kind.table} has no field {name[:64]!r}.")
    return name


@lru_cache
def json_fields(kind: type[Row]) -> frozenset[str]:
    """The fields that are stored as JSON: whatever is no text, number or flag."""
    plain = {"str", "float", "int", "bool"}
    hints = get_type_hints(kind)
    return frozenset(
        name for name in kind.__struct_fields__ if not _plain_types(hints[name]) <= plain
    )


def _plain_types(hint: Any) -> set[str]:
    """The names of the types a field may have, None aside; literals count as text."""
    members = getattr(hint, "__args__", None)
    if members is None:
        return {getattr(hint, "__name__", "other")}
    if all(isinstance(member, str) for member in members):
        return {"str"}
    if getattr(hint, "__origin__", None) in (tuple, Mapping) or hint is Json:
        return {"other"}
    return set().union(*(_plain_types(member) for member in members if member is not type(None)))


def column_value(kind: type[Row], name: str, value: Json) -> Any:
    """The value of a field as its column has it."""
    if value is None:
        return None
    if name in json_fields(kind):
        return msgspec.json.encode(value).decode()
    return int(value) if isinstance(value, bool) else value
