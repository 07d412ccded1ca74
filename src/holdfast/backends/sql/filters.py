"""Filters as SQL: a WHERE expression over `memories AS m`, values only ever as parameters.

Comparisons of columns are plain SQL, so that indexes serve them. What an engine cannot express
exactly it asks of the reference itself; `Leaves` tells how.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, assert_never

from holdfast.filters import And, Compare, Everything, Filter, Not, Nothing, Op, Or

Fragment = tuple[str, list[Any]]

Leaf = Callable[[Compare], Fragment]
"""A comparison other than `ne` and `nin`, as an expression and its parameters."""

TEXT_FIELDS = (
    *("id", "user_id", "agent_id", "app_id", "run_id", "actor_id"),
    *("role", "kind", "text", "expires_on"),
)
NUMBER_FIELDS = ("event_at", "created_at", "updated_at", "listed")

_COMPARISONS = {"eq": "=", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


def compile_tree(tree: Filter, leaf: Leaf) -> Fragment:
    """The filter as an expression for WHERE, and its parameters in order.

    It is true for exactly the rows whose memory `holdfast.filters.matches`; for the others it is
    false or NULL.
    """
    match tree:
        case Everything():
            return "TRUE", []
        case Nothing():
            return "FALSE", []
        case Not(child):
            expression, params = compile_tree(child, leaf)
            return f"({expression}) IS NOT TRUE", params
        case And(children):
            return _joined("AND", [compile_tree(child, leaf) for child in children])
        case Or(children):
            return _joined("OR", [compile_tree(child, leaf) for child in children])
        case Compare(field, "ne" | "nin" as op, value):
            positive: Op = "eq" if op == "ne" else "in"
            return compile_tree(Not(Compare(field, positive, value)), leaf)
        case Compare():
            return leaf(tree)
    assert_never(tree)


def _joined(word: str, parts: Sequence[Fragment]) -> Fragment:
    """The parts as a balanced tree: SQLite refuses expressions nested a thousand deep."""
    if not parts:
        return ("TRUE" if word == "AND" else "FALSE"), []
    if len(parts) == 1:
        return parts[0]
    middle = len(parts) // 2
    left, left_params = _joined(word, parts[:middle])
    right, right_params = _joined(word, parts[middle:])
    return f"({left} {word} {right})", left_params + right_params


def on_column(column: str, op: Op, value: Any) -> Fragment:
    """A comparison of a column with a value of its own type, as every engine writes it."""
    if op == "*":
        return f"{column} IS NOT NULL", []
    if op == "in" and not value:
        return "FALSE", []
    if op == "in":
        # one parameter a value, so that the planner knows how many there are
        return f"{column} IN ({', '.join('?' * len(value))})", list(value)
    return f"{column} {_COMPARISONS[op]} ?", [value]
