"""Filters that look into texts, where no engine can: texts are sealed.

They are asked in two steps: a wider filter finds candidates, the reference decides on their opened
texts. Memories are listed and deleted within entities, so that candidates are few.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from holdfast.backends.sql.dialect import Connection
from holdfast.backends.sql.rows import MEMORY_COLUMNS, memories_from
from holdfast.filters import METADATA, And, Compare, Everything, Filter, Not, Nothing, Or, matches
from holdfast.model import Project

_SEALED: Final = frozenset({"text"})


def condition_of(
    connection: Connection, project: Project, tree: Filter
) -> tuple[str, Sequence[Any]]:
    """`Dialect.condition`, whether texts are sealed or not. Raises KeyNeeded."""
    dialect = connection.dialect
    sealer = connection.sealer
    fields = _SEALED if sealer is None else _SEALED | {METADATA + key for key in sealer.sensitive}
    if sealer is None or not _reads(tree, fields):
        return dialect.condition(connection, project, tree)
    condition, parameters = dialect.condition(connection, project, _widened(tree, fields))
    rows = connection.execute(
        f"SELECT {MEMORY_COLUMNS} FROM memories m WHERE m.project = ? AND ({condition})",
        (project, *parameters),
    ).fetchall()
    found = [one.id for one in memories_from(connection, project, rows) if matches(tree, one)]
    return dialect.condition(connection, project, Compare("id", "in", tuple(found)))


def _reads(tree: Filter, fields: frozenset[str]) -> bool:
    """Whether a filter looks into sealed fields."""
    match tree:
        case Not(child):
            return _reads(child, fields)
        case And(children) | Or(children):
            return any(_reads(child, fields) for child in children)
        case Compare():
            return tree.field in fields
    return False


def _widened(tree: Filter, fields: frozenset[str], *, positive: bool = True) -> Filter:
    """A filter that asks nothing of sealed fields, and is true wherever this one is (inside of a
    negation: false)."""
    match tree:
        case Not(child):
            return Not(_widened(child, fields, positive=not positive))
        case And(children):
            return And(tuple(_widened(child, fields, positive=positive) for child in children))
        case Or(children):
            return Or(tuple(_widened(child, fields, positive=positive) for child in children))
        case Compare() if tree.field in fields:
            return Everything() if positive else Nothing()
    return tree
