"""Filters as SQLite's SQL.

What SQLite's JSON cannot express exactly (its reading of numbers is rounded, its paths cannot name
every key) is asked of the reference itself, through functions that `register_functions` adds to a
connection.
"""

from __future__ import annotations

import sqlite3
from functools import lru_cache
from typing import cast

import msgspec

from holdfast.backends.sql.filters import TEXT_FIELDS, Fragment, compile_tree, on_column
from holdfast.filters import METADATA, Compare, Filter, Op, value_test
from holdfast.filters.predicate import ValueTest
from holdfast.limits import FILTER_LIST_MAX
from holdfast.model import Json


def compile_sql(tree: Filter) -> Fragment:
    """The filter for WHERE, on a connection prepared by `register_functions`."""
    return compile_tree(tree, _comparison)


def _comparison(tree: Compare) -> Fragment:
    field, op, value = tree.field, tree.op, tree.value
    if field.startswith(METADATA):
        key = field.removeprefix(METADATA)
        return "holdfast_metadata(m.metadata, ?, ?, ?)", [key, op, _json(value)]
    if field == "categories":
        return "holdfast_categories(m.categories, ?, ?)", [op, _json(value)]
    column = f"m.{field}"
    if op == "in" and len(value) > FILTER_LIST_MAX and field in TEXT_FIELDS:
        # a list no caller wrote, perhaps beyond the number of parameters SQLite takes
        return f"{column} IN (SELECT value FROM json_each(?))", [_json(value)]
    if op == "contains":
        return f"instr({column}, ?) > 0", [value]
    if op == "icontains":
        return f"holdfast_icontains({column}, ?)", [cast(str, value).casefold()]
    return on_column(column, op, value)


def _json(value: Json) -> str:
    return msgspec.json.encode(value).decode()


def register_functions(connection: sqlite3.Connection) -> None:
    """Adds the functions that compiled filters call; once per connection."""
    for function in (holdfast_metadata, holdfast_categories, holdfast_icontains):
        arguments = function.__code__.co_argcount
        connection.create_function(function.__name__, arguments, function, deterministic=True)


def holdfast_metadata(metadata: str | None, key: str, op: str, operand: str) -> bool:
    """One comparison with one key of the metadata, an object as JSON."""
    value = None if metadata is None else msgspec.json.decode(metadata).get(key)
    return _test(op, operand)(value)


def holdfast_categories(categories: str | None, op: str, operand: str) -> bool:
    """One comparison with the categories, a list as JSON; none of them is a missing value."""
    listed = None if categories is None else msgspec.json.decode(categories)
    return _test(op, operand)(listed or None)


def holdfast_icontains(value: str | None, folded: str) -> bool:
    """Whether a text contains another, given in folded case, after folding its own."""
    return value is not None and folded in value.casefold()


@lru_cache(maxsize=256)
def _test(op: str, operand: str) -> ValueTest:
    return value_test(cast(Op, op), msgspec.json.decode(operand))
