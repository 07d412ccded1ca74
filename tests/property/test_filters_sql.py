"""Compiled filters select, in a real SQLite database, exactly what the reference predicate does."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from importlib.resources import files
from unittest.mock import patch

import msgspec
import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from holdfast.backends.sqlite import filters as sqlite_filters
from holdfast.backends.sqlite.filters import compile_sql, register_functions
from holdfast.errors import FilterError
from holdfast.filters import (
    And,
    Compare,
    Everything,
    Filter,
    Not,
    Nothing,
    Op,
    Or,
    entity_choices,
    matches,
    parse_filter,
    within,
)
from holdfast.model import ANY, Entity, Json, Memory
from support.filter_strategies import (
    NUMBERS,
    PARTS,
    TEXTS,
    any_json,
    filters,
    memories,
    written_filters,
)
from support.thorough import often

_COLUMNS = (
    "id TEXT, user_id TEXT, agent_id TEXT, app_id TEXT, run_id TEXT, actor_id TEXT, role TEXT, "
    "kind TEXT, text TEXT, expires_on TEXT, categories TEXT, metadata TEXT, listed INTEGER, "
    "event_at FLOAT, created_at FLOAT, updated_at FLOAT"
)
_NAMES = [column.split()[0] for column in _COLUMNS.split(", ")]


@pytest.fixture(scope="module")
def table() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:")) as connection:
        register_functions(connection)
        connection.execute(f"CREATE TABLE memories (no INTEGER PRIMARY KEY, {_COLUMNS})")
        yield connection


def _row(no: int, memory: Memory) -> list[Json]:
    fields = msgspec.structs.asdict(memory)
    fields["categories"] = msgspec.json.encode(memory.categories).decode()
    if memory.metadata is not None:
        fields["metadata"] = msgspec.json.encode(memory.metadata).decode()
    return [no, *(fields[name] for name in _NAMES)]


def _selected(table: sqlite3.Connection, stored: list[Memory], tree: Filter) -> list[int]:
    table.execute("DELETE FROM memories")
    marks = ", ".join("?" * (len(_NAMES) + 1))
    table.executemany(f"INSERT INTO memories VALUES ({marks})", map(_row, range(99), stored))
    condition, parameters = compile_sql(tree)
    rows = table.execute(f"SELECT no FROM memories m WHERE {condition} ORDER BY no", parameters)
    return [no for (no,) in rows]


def _expected(stored: list[Memory], tree: Filter) -> list[int]:
    return [no for no, memory in enumerate(stored) if matches(tree, memory)]


some_memories = st.lists(memories(), min_size=1, max_size=6)


@settings(max_examples=often(300, 800))
@given(stored=some_memories, tree=filters)
def test_sql_selects_what_the_predicate_matches(
    table: sqlite3.Connection, stored: list[Memory], tree: Filter
) -> None:
    assert _selected(table, stored, tree) == _expected(stored, tree)


@settings(max_examples=often(150, 300))
@given(stored=some_memories, raw=written_filters)
def test_sql_selects_what_a_written_filter_means(
    table: sqlite3.Connection, stored: list[Memory], raw: dict[str, Json]
) -> None:
    try:
        tree = parse_filter(raw, require_entity=False)
    except FilterError:
        return
    assert _selected(table, stored, tree) == _expected(stored, tree)


SCALARS = [*TEXTS, *PARTS, *NUMBERS, True, False]
ONE_VALUE_OPS: tuple[Op, ...] = ("eq", "ne", "gt", "gte", "lt", "lte", "contains", "icontains")


@pytest.mark.parametrize("op", ONE_VALUE_OPS)
def test_every_pair_of_text_and_operand(table: sqlite3.Connection, op: Op) -> None:
    stored = [_stored(text) for text in (*TEXTS, *PARTS)]
    for operand in (*TEXTS, *PARTS):
        tree = Compare("text", op, operand)
        assert _selected(table, stored, tree) == _expected(stored, tree), operand


@pytest.mark.parametrize("op", ONE_VALUE_OPS)
def test_every_pair_of_metadata_and_operand(table: sqlite3.Connection, op: Op) -> None:
    stored = [_stored("", k=value) for value in (*SCALARS, None, [], [0.3, "ß"], {"k": 1})]
    for operand in SCALARS:
        if op == "icontains" and not isinstance(operand, str):
            continue
        tree = Compare("metadata.k", op, operand)
        assert _selected(table, stored, tree) == _expected(stored, tree), operand


def _stored(text: str, **metadata: Json) -> Memory:
    times = dict.fromkeys(("event_at", "created_at", "updated_at"), 0.0)
    return Memory(id="m", text=text, hash="", kind="fact", metadata=metadata, **times)


def test_the_comparison_finds_a_planted_fault(table: sqlite3.Connection) -> None:
    """Without "IS NOT TRUE", rows whose value is NULL drop out of negations."""

    def faulty(tree: Filter) -> tuple[str, list[Json]]:
        condition, parameters = sqlite_filters.compile_sql(tree)
        return condition.replace("IS NOT TRUE", "= 0"), parameters

    @settings(max_examples=1_500, phases=[Phase.generate], database=None)
    @given(stored=some_memories, tree=filters)
    def compare(stored: list[Memory], tree: Filter) -> None:
        assert _selected(table, stored, tree) == _expected(stored, tree)

    with patch(f"{__name__}.compile_sql", faulty), pytest.raises((AssertionError, ExceptionGroup)):
        compare()


# --- the reference itself, against a second reading of its documentation --------------------------


def _spelled_out(tree: Filter, memory: Memory) -> bool:
    match tree:
        case Everything() | Nothing():
            return isinstance(tree, Everything)
        case Not(child):
            return not _spelled_out(child, memory)
        case And(children):
            return False not in [_spelled_out(child, memory) for child in children]
        case Or(children):
            return True in [_spelled_out(child, memory) for child in children]
        case Compare(field, op, operand):
            value = _value(field, memory)
            if op in ("ne", "nin"):
                return not _holds("eq" if op == "ne" else "in", value, operand)
            return _holds(op, value, operand)


def _value(field: str, memory: Memory) -> Json:
    if field.startswith("metadata."):
        return (memory.metadata or {}).get(field[len("metadata.") :])
    value = getattr(memory, field)
    return list(value) or None if field == "categories" else value


def _holds(op: str, value: Json, operand: Json) -> bool:
    if op == "*":
        return value is not None
    if isinstance(value, list):
        op = {"contains": "eq", "icontains": "same folded"}.get(op, op)
        return True in [_holds(op, each, operand) for each in value if not isinstance(each, list)]
    if op == "in":
        return True in [_holds("eq", value, each) for each in operand]
    if _type(value) is None or _type(value) != _type(operand):
        return False
    if op == "eq":
        return bool(value == operand)
    if op in ("gt", "gte", "lt", "lte"):
        order = (value > operand) - (value < operand)
        return order in {"gt": (1,), "gte": (0, 1), "lt": (-1,), "lte": (-1, 0)}[op]
    if _type(value) != "text":
        return False
    if op == "contains":
        return value.find(operand) >= 0
    if op == "same folded":
        return bool(value.casefold() == operand.casefold())
    return value.casefold().find(operand.casefold()) >= 0


def _type(value: Json) -> str | None:
    names = {str: "text", bool: "flag", int: "number", float: "number"}
    return names.get(type(value))


@settings(max_examples=often(300, 800))
@given(memory=memories(), tree=filters)
def test_the_predicate_means_what_is_documented(memory: Memory, tree: Filter) -> None:
    assert matches(tree, memory) == _spelled_out(tree, memory)


# --- covers ---------------------------------------------------------------------------------------


@settings(max_examples=often(200, 500))
@given(memory=memories(), raw=written_filters)
def test_what_matches_belongs_to_every_cover(memory: Memory, raw: dict[str, Json]) -> None:
    try:
        tree = parse_filter(raw, require_entity=True)
    except FilterError:
        return
    choices = entity_choices(tree)
    assert choices
    if matches(tree, memory):
        held = {(each.kind, each.id) for each in memory.scope.entities()}
        held |= {(kind, ANY) for kind, _ in held}
        for cover in choices:
            assert held & {(each.kind, each.id) for each in cover}


@settings(max_examples=often(200, 500))
@given(memory=memories(), tree=filters)
def test_within_an_entity_the_rest_decides(memory: Memory, tree: Filter) -> None:
    for entity in memory.scope.entities():
        assert matches(within(tree, entity), memory) == matches(tree, memory)
        assert matches(within(tree, Entity(entity.kind, ANY)), memory) == matches(tree, memory)


@settings(max_examples=often(200, 500))
@given(raw=any_json)
@example({"NOT": []})
@example({"user_id": {"in": "abc"}})
@example({"created_at": float("nan")})
@example({"k": "\ud800"})
def test_whatever_is_written_is_read_or_refused(raw: Json) -> None:
    try:
        tree = parse_filter(raw, require_entity=False)
    except FilterError:
        return
    compile_sql(tree)


# --- indexes --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def schema() -> Iterator[sqlite3.Connection]:
    """The real tables, with the statistics of one project of many users and agents."""
    with closing(sqlite3.connect(":memory:")) as connection:
        register_functions(connection)
        folder = files(sqlite_filters.__package__)
        connection.executescript((folder / "schema.sql").read_text("utf-8"))
        connection.executemany(
            "INSERT INTO memories (id, project, identity, user_id, agent_id, run_id, kind, text, "
            "hash, listed, event_at, created_at, updated_at, version, terms, flags, words, "
            "speaker) VALUES (?1, 'p', ?1, 'u' || (?1 % 400), 'g' || (?1 % 400), 'r' || (?1 / 5), "
            "'turn', 'x', 'h', 1, 0, 0, 0, 1, x'', 0, 0, 0)",
            [(no,) for no in range(4_000)],
        )
        connection.execute("ANALYZE")
        yield connection


@pytest.mark.parametrize(
    ("raw", "index"),
    [
        ({"user_id": "a"}, "memories_by_user (project=? AND user_id=?)"),
        ({"user_id": ["a", "b"]}, "memories_by_user (project=? AND user_id=?)"),
        ({"run_id": "r", "metadata": {"k": 1}}, "memories_by_run (project=? AND run_id=?)"),
        ({"memory_ids": ["a", "b"]}, "(project=? AND id=?)"),
        ({"OR": [{"user_id": "a"}, {"agent_id": "b"}]}, "MULTI-INDEX OR"),
        ({"agent_id": "b", "text": {"contains": "x"}}, "memories_by_agent (project=? AND agent"),
    ],
)
def test_entities_are_found_by_index(
    schema: sqlite3.Connection, raw: dict[str, Json], index: str
) -> None:
    condition, parameters = compile_sql(parse_filter(raw, require_entity=False))
    plan = schema.execute(
        f"EXPLAIN QUERY PLAN SELECT m.hash FROM memories m WHERE m.project = ? AND ({condition})",
        ["p", *parameters],
    )
    details = " / ".join(row[3] for row in plan)
    assert index in details
    assert "SCAN m" not in details


def test_a_list_longer_than_callers_may_write(schema: sqlite3.Connection) -> None:
    ids = Compare("id", "in", tuple(str(no) for no in range(0, 80_000, 2)))
    condition, parameters = compile_sql(ids)
    count = f"SELECT count(*) FROM memories m WHERE {condition}"
    assert schema.execute(count, parameters).fetchone() == (2_000,)


def test_the_widest_filter_is_within_what_sqlite_takes(schema: sqlite3.Connection) -> None:
    clauses = [{"OR": [{f"k{i}": i}, {"created_at": {"gt": i}}]} for i in range(63)]
    ids = {"user_id": [f"u{i}" for i in range(1_000)]}
    raw = {"AND": [ids, {"OR": clauses}, {"NOT": [{"run_id": "x"}]}]}
    condition, parameters = compile_sql(parse_filter(raw, require_entity=True))
    count = "SELECT count(*) FROM memories m WHERE"
    assert schema.execute(f"{count} {condition}", parameters).fetchone() == (0,)
    moments = {"user_id": "a", "created_at": list(range(250))}
    condition, parameters = compile_sql(parse_filter(moments, require_entity=True))
    assert schema.execute(f"{count} {condition}", parameters).fetchone() == (0,)
