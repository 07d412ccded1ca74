"""Filters select, in a real Postgres, exactly what the reference predicate does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from unittest.mock import patch

import msgspec
import psycopg
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from holdfast.backends.postgres import dialect as dialects
from holdfast.backends.postgres.dialect import PostgresDialect
from holdfast.backends.postgres.filters import widened
from holdfast.backends.postgres.session import translated
from holdfast.backends.sql.rows import MEMORY_COLUMNS
from holdfast.errors import FilterError
from holdfast.filters import Compare, Filter, Not, Op, matches, parse_filter
from holdfast.limits import FILTER_LIST_MAX
from holdfast.model import Json, Memory, Project
from support import postgres
from support.filter_strategies import NUMBERS, PARTS, TEXTS, filters, memories, written_filters

P = Project("p")
NAMES = [name.strip().removeprefix("m.") for name in MEMORY_COLUMNS.split(",")]


class Blocking:
    """`sql.dialect.Connection` on a connection that blocks."""

    dialect = PostgresDialect()
    sealer = None

    def __init__(self, raw: psycopg.Connection[Any]) -> None:
        self.raw = raw

    def execute(self, sql: str, parameters: Any = (), /) -> Any:
        named = isinstance(parameters, Mapping)
        return self.raw.cursor(binary=True).execute(
            translated(sql, named=named).encode(), parameters
        )

    def executemany(self, sql: str, rows: Sequence[Sequence[Any]], /) -> None:
        self.raw.cursor().executemany(translated(sql, named=False).encode(), rows)


@pytest.fixture(scope="module")
def table() -> Iterator[Blocking]:
    with postgres.database() as url, psycopg.connect(url, autocommit=True) as raw:
        columns = ", ".join(NAMES)
        raw.execute(
            f"CREATE TEMP TABLE memories AS SELECT no, project, {columns} FROM memories".encode()
        )
        yield Blocking(raw)


def _row(no: int, memory: Memory) -> list[Json]:
    fields = msgspec.structs.asdict(memory)
    fields["categories"] = msgspec.json.encode(memory.categories).decode()
    for flag in ("listed", "immutable"):
        fields[flag] = int(fields[flag])
    if memory.metadata is not None:
        fields["metadata"] = msgspec.json.encode(memory.metadata).decode()
    return [no, P, *(fields[name] for name in NAMES)]


def _store(table: Blocking, stored: Sequence[Memory]) -> None:
    table.execute("DELETE FROM memories")
    marks = ", ".join("?" * (len(NAMES) + 2))
    table.executemany(f"INSERT INTO memories VALUES ({marks})", list(map(_row, range(99), stored)))


def _selected(table: Blocking, tree: Filter) -> list[int]:
    condition, parameters = table.dialect.condition(table, P, tree)
    rows = table.execute(f"SELECT no FROM memories m WHERE {condition} ORDER BY no", parameters)
    return [no for (no,) in rows]


def _expected(stored: Sequence[Memory], tree: Filter) -> list[int]:
    return [no for no, memory in enumerate(stored) if matches(tree, memory)]


some_memories = st.lists(memories(), min_size=1, max_size=6)


@settings(max_examples=80)
@given(stored=some_memories, trees=st.lists(filters, min_size=1, max_size=3))
def test_sql_selects_what_the_predicate_matches(
    table: Blocking, stored: list[Memory], trees: list[Filter]
) -> None:
    _store(table, stored)
    for tree in trees:
        assert _selected(table, tree) == _expected(stored, tree)


@settings(max_examples=60)
@given(stored=some_memories, raw=written_filters)
def test_sql_selects_what_a_written_filter_means(
    table: Blocking, stored: list[Memory], raw: dict[str, Json]
) -> None:
    try:
        tree = parse_filter(raw, require_entity=False)
    except FilterError:
        return
    _store(table, stored)
    assert _selected(table, tree) == _expected(stored, tree)


ONE_VALUE_OPS: tuple[Op, ...] = ("eq", "ne", "gt", "gte", "lt", "lte", "contains", "icontains")


@pytest.mark.parametrize("op", ONE_VALUE_OPS)
def test_every_pair_of_text_and_operand(table: Blocking, op: Op) -> None:
    stored = [_stored(text) for text in (*TEXTS, *PARTS)]
    _store(table, stored)
    for operand in (*TEXTS, *PARTS):
        tree = Compare("text", op, operand)
        assert _selected(table, tree) == _expected(stored, tree), operand


@pytest.mark.parametrize("op", ["eq", "ne", "gt", "gte", "lt", "lte"])
def test_every_pair_of_time_and_operand(table: Blocking, op: Op) -> None:
    numbers = [*NUMBERS, 2**53 + 1, 10**400, True, "x"]
    stored = [_stored("", at=float(number)) for number in NUMBERS if abs(number) < 1e300]
    _store(table, stored)
    for operand in numbers:
        for tree in (Compare("event_at", op, operand), Compare("listed", op, operand)):
            assert _selected(table, tree) == _expected(stored, tree), operand


def _stored(text: str, at: float = 0.0) -> Memory:
    times = {"event_at": at, "created_at": 0.0, "updated_at": 0.0}
    return Memory(id="m", text=text, hash="", kind="fact", **times)


def test_the_comparison_finds_a_planted_fault(table: Blocking) -> None:
    """A wider filter that forgets negations is too narrow."""

    def faulty(tree: Filter) -> Filter:
        return Not(widened(tree.child)) if isinstance(tree, Not) else widened(tree)

    @settings(max_examples=500, phases=[Phase.generate], database=None)
    @given(stored=some_memories, tree=filters)
    def compare(stored: list[Memory], tree: Filter) -> None:
        _store(table, stored)
        assert _selected(table, tree) == _expected(stored, tree)

    with (
        patch.object(dialects, "widened", faulty),
        pytest.raises((AssertionError, ExceptionGroup)),
    ):
        compare()


def test_a_list_longer_than_callers_may_write(table: Blocking) -> None:
    ids = tuple(str(no) for no in range(100 * FILTER_LIST_MAX))
    stored = [_stored("x")]
    _store(table, stored)
    assert _selected(table, Compare("id", "in", (*ids, "m"))) == [0]
    assert _selected(table, Compare("id", "in", ids)) == []
    assert _selected(table, Compare("event_at", "in", tuple(range(250)))) == [0]
