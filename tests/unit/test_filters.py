"""Filters: what they mean, what is read and what is refused."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, date, datetime, timedelta, timezone
from uuid import UUID

import msgspec
import pytest

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
    compile_predicate,
    conjunction,
    disjunction,
    matches,
    negation,
    parse_filter,
    scope_filter,
)
from holdfast.limits import (
    FILTER_DEPTH_MAX,
    FILTER_LIST_MAX,
    FILTER_NODES_MAX,
    ID_CHARS_MAX,
    QUERY_CHARS_MAX,
)
from holdfast.model import Json, Memory, Scope

JAN_1 = 1_704_067_200.0  # 2024-01-01T00:00:00Z
DAY = 86_400.0

A = Compare("user_id", "eq", "a")
B = Compare("agent_id", "eq", "b")


def memory(**fields: Json) -> Memory:
    given = {"id": "m", "text": "Tea with Ann", "hash": "", "kind": "fact"}
    times = dict.fromkeys(("event_at", "created_at", "updated_at"), JAN_1)
    return Memory(**{**given, **times, **fields})


def read(raw: Json) -> Filter:
    return parse_filter(raw, require_entity=False)


def fault(raw: Json) -> str:
    with pytest.raises(FilterError) as caught:
        read(raw)
    return str(caught.value)


# --- meaning --------------------------------------------------------------------------------------

VALUES: dict[str, Json] = {
    "text": "Straße",
    "one": 1,
    "real": 1.5,
    "big": 2**53 + 1,
    "yes": True,
    "null": None,
    "empty": "",
    "none": [],
    "list": ["x", 2, True, None, ["deep"]],
    "object": {"x": 1},
    "a.b": "dotted",
}

MEANING: list[tuple[str, Op, Json, bool]] = [
    ("text", "eq", "Straße", True),
    ("text", "eq", "strasse", False),
    ("text", "contains", "traß", True),
    ("text", "contains", "TRASS", False),
    ("text", "icontains", "TRASS", True),
    ("text", "contains", "", True),
    ("text", "gt", "Strand", True),
    ("text", "gt", 1, False),
    ("text", "lte", "Straße", True),
    ("one", "eq", 1.0, True),
    ("one", "eq", True, False),
    ("one", "eq", "1", False),
    ("one", "in", (True, "1"), False),
    ("one", "in", (2, 1.0), True),
    ("one", "contains", 1, False),
    ("one", "icontains", "1", False),
    ("real", "gt", 1, True),
    ("real", "lt", 1, False),
    ("real", "gte", "1", False),
    ("big", "eq", float(2**53), False),
    ("big", "gt", 2**53, True),
    ("big", "lt", 10**30, True),
    ("yes", "eq", True, True),
    ("yes", "eq", 1, False),
    ("yes", "gte", 0, False),
    ("yes", "in", (1,), False),
    ("null", "*", None, False),
    ("null", "eq", "x", False),
    ("null", "ne", "x", True),
    ("null", "nin", ("x",), True),
    ("absent", "*", None, False),
    ("absent", "ne", "x", True),
    ("absent", "nin", ("x",), True),
    ("absent", "lt", 5, False),
    ("absent", "contains", "", False),
    ("absent", "icontains", "", False),
    ("empty", "*", None, True),
    ("none", "*", None, True),
    ("none", "eq", "x", False),
    ("none", "ne", "x", True),
    ("list", "eq", "x", True),
    ("list", "ne", "x", False),
    ("list", "nin", ("y", "x"), False),
    ("list", "in", ("y", 2), True),
    ("list", "gt", 1, True),
    ("list", "gt", 2, False),
    ("list", "eq", 1, False),
    ("list", "contains", True, True),
    ("list", "contains", "deep", False),
    ("list", "icontains", "X", True),
    ("list", "icontains", "", False),
    ("object", "*", None, True),
    ("object", "eq", "x", False),
    ("object", "contains", "x", False),
    ("a.b", "eq", "dotted", True),
    ("a", "*", None, False),
]


@pytest.mark.parametrize(("key", "op", "operand", "expected"), MEANING)
def test_comparisons_with_metadata(key: str, op: Op, operand: Json, expected: bool) -> None:
    tree = Compare(f"metadata.{key}", op, operand)
    assert matches(tree, memory(metadata=VALUES)) is expected
    assert matches(Not(tree), memory(metadata=VALUES)) is not expected


def test_a_memory_without_metadata_has_only_missing_values() -> None:
    assert not matches(Compare("metadata.k", "*"), memory())
    assert matches(Compare("metadata.k", "ne", 1), memory())


def test_comparisons_with_fields() -> None:
    ann = memory(user_id="ann", categories=("food", "Tea"), expires_on="2024-02-01", listed=False)
    for tree in [
        Compare("user_id", "*"),
        Compare("run_id", "ne", "r"),
        Compare("categories", "eq", "food"),
        Compare("categories", "icontains", "tea"),
        Compare("categories", "*"),
        Compare("expires_on", "lt", "2024-02-02"),
        Compare("listed", "eq", False),
        Compare("created_at", "gte", JAN_1),
        Compare("text", "icontains", "TEA"),
        And((Compare("kind", "in", ("fact", "turn")), Or((Nothing(), Everything())))),
        And(()),
    ]:
        assert matches(tree, ann), tree
    for tree in [Compare("run_id", "*"), Compare("categories", "contains", "foo"), Or(())]:
        assert not matches(tree, ann), tree
    assert not matches(Compare("categories", "*"), memory())
    assert matches(Compare("categories", "ne", "food"), memory())


def test_a_filter_keys_a_cache_by_its_encoding() -> None:
    flag, number = Compare("metadata.k", "eq", True), Compare("metadata.k", "eq", 1)
    assert msgspec.json.encode(flag) != msgspec.json.encode(number)
    children = (A, B)
    assert msgspec.json.encode(And(children)) != msgspec.json.encode(Or(children))


# --- putting together -----------------------------------------------------------------------------


def test_conjunction_and_disjunction_simplify() -> None:
    assert conjunction() == Everything()
    assert conjunction(A, Everything()) == A
    assert conjunction(A, And((B,)), Everything()) == And((A, B))
    assert conjunction(A, Nothing()) == Nothing()
    assert disjunction() == Nothing()
    assert disjunction(A, Or((B,)), Nothing()) == Or((A, B))
    assert disjunction(A, Everything()) == Everything()
    assert negation(negation(Everything())) == Everything()
    assert negation(A) == Not(A)


def test_a_scope_means_every_id_it_names() -> None:
    assert scope_filter(Scope(user_id="a", agent_id="b")) == And((A, B))
    assert scope_filter(Scope(user_id="*")) == Compare("user_id", "*")
    with pytest.raises(FilterError, match="positively"):
        scope_filter(Scope())


# --- reading --------------------------------------------------------------------------------------

READ: list[tuple[Json, Filter]] = [
    (None, Everything()),
    ({}, Everything()),
    ({"user_id": " a "}, A),
    ({"user_id": 7}, Compare("user_id", "eq", "7")),
    ({"user_id": "*"}, Compare("user_id", "*")),
    ({"user_id": {"eq": "*"}}, Compare("user_id", "*")),
    ({"user_id": {"*": True}}, Compare("user_id", "*")),
    ({"user_id": {"ne": "*"}}, Not(Compare("user_id", "*"))),
    ({"user_id": ["a"]}, A),
    ({"user_id": ["a", "b", "a"]}, Compare("user_id", "in", ("a", "b"))),
    ({"user_id": {"a"}}, A),
    ({"user_id": []}, Nothing()),
    ({"user_id": {"nin": []}}, Everything()),
    ({"user_id": {"nin": ["a"]}}, Compare("user_id", "ne", "a")),
    ({"user_id": ["a", "*"]}, Or((A, Compare("user_id", "*")))),
    ({"user_id": "a", "agent_id": "b"}, And((A, B))),
    ({"AND": [{"user_id": "a"}, {"agent_id": "b"}]}, And((A, B))),
    ({"OR": [{"user_id": "a"}, {"agent_id": "b"}]}, Or((A, B))),
    ({"NOT": [{"user_id": "a"}, {"agent_id": "b"}]}, Not(Or((A, B)))),
    ({"NOT": {"user_id": "a", "agent_id": "b"}}, Not(And((A, B)))),
    ({"session_id": "r"}, Compare("run_id", "eq", "r")),
    ({"memory_ids": ["m", "n"]}, Compare("id", "in", ("m", "n"))),
    ({"memory_ids": {"in": ["m", "n"]}}, Compare("id", "in", ("m", "n"))),
    ({"id": UUID(int=0)}, Compare("id", "eq", "00000000-0000-0000-0000-000000000000")),
    ({"keywords": "tea"}, Compare("text", "icontains", "tea")),
    ({"keywords": {"contains": "tea"}}, Compare("text", "contains", "tea")),
    (
        {"keywords_search": ["a", "b"]},
        Or((Compare("text", "icontains", "a"), Compare("text", "icontains", "b"))),
    ),
    ({"categories": {"contains": "x"}}, Compare("categories", "contains", "x")),
    ({"categories": ["x", "y"]}, Compare("categories", "in", ("x", "y"))),
    ({"kind": "turn"}, Compare("kind", "eq", "turn")),
    ({"listed": True}, Compare("listed", "eq", True)),
    ({"colour": "red"}, Compare("metadata.colour", "eq", "red")),
    ({"metadata.colour": "red"}, Compare("metadata.colour", "eq", "red")),
    ({"metadata": {"user_id": "x"}}, Compare("metadata.user_id", "eq", "x")),
    ({"metadata": {"AND": "x"}}, Compare("metadata.AND", "eq", "x")),
    ({"metadata": {}}, Everything()),
    ({"": 1}, Compare("metadata.", "eq", 1)),
    ({"k": {"eq": "*"}}, Compare("metadata.k", "eq", "*")),
    ({"k": "*"}, Compare("metadata.k", "*")),
    ({"k": None}, Not(Compare("metadata.k", "*"))),
    ({"k": {"ne": None}}, Compare("metadata.k", "*")),
    ({"k": {"nin": [1, True]}}, Compare("metadata.k", "nin", (1, True))),
    (
        {"k": [None, "x"]},
        Or((Compare("metadata.k", "eq", "x"), Not(Compare("metadata.k", "*")))),
    ),
    (
        {"k": {"gte": 1, "lt": 5.5}},
        And((Compare("metadata.k", "gte", 1), Compare("metadata.k", "lt", 5.5))),
    ),
    ({"expiration_date": "2024-01-01"}, Compare("expires_on", "eq", "2024-01-01")),
    (
        {"expires_on": {"lt": "2024-01-01T01:00:00+02:00"}},
        Compare("expires_on", "lt", "2023-12-31"),
    ),
]


@pytest.mark.parametrize(("raw", "tree"), READ)
def test_reading(raw: Json, tree: Filter) -> None:
    assert msgspec.json.encode(read(raw)) == msgspec.json.encode(tree)


@pytest.mark.parametrize(
    "written",
    [
        "2024-01-01T00:00:00Z",
        "2024-01-01T02:00:00+02:00",
        "2024-01-01 00:00",
        "20240101T000000",
        1_704_067_200,
        1_704_067_200.0,
        datetime(2024, 1, 1, tzinfo=UTC),
        datetime(2024, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))),
        datetime(2024, 1, 1),  # noqa: DTZ001 - a naive time is taken as UTC wherever we run
    ],
)
@pytest.mark.parametrize("op", ["eq", "gt", "gte", "lt", "lte"])
def test_a_moment(written: Json, op: Op) -> None:
    assert read({"timestamp": {op: written}}) == Compare("event_at", op, JAN_1)


@pytest.mark.parametrize("written", ["2024-01-01", date(2024, 1, 1), "20240101"])
def test_a_date_is_the_whole_day(written: Json) -> None:
    before, first, last, after = (
        memory(created_at=JAN_1 + seconds) for seconds in (-0.5, 0.0, DAY - 0.5, DAY)
    )
    inside = {
        "eq": (False, True, True, False),
        "ne": (True, False, False, True),
        "gt": (False, False, False, True),
        "gte": (False, True, True, True),
        "lt": (True, False, False, False),
        "lte": (True, True, True, False),
        "in": (False, True, True, False),
        "nin": (True, False, False, True),
    }
    for op, expected in inside.items():
        test = compile_predicate(
            read({"created_at": {op: [written] if op.endswith("in") else written}})
        )
        assert tuple(map(test, (before, first, last, after))) == expected, op


# --- refusing -------------------------------------------------------------------------------------

REFUSED: list[tuple[Json, str]] = [
    ([], "filters must be an object, not a list."),
    ("user_id", "filters must be an object, not text."),
    ({1: 2}, "a key of filters is not text but a number."),
    ({"AND": {}}, "filters.AND takes a list of conditions, not an object."),
    ({"OR": []}, "filters.OR is empty."),
    ({"NOT": {}}, "filters.NOT is empty."),
    ({"AND": [{"user_id": "a"}, {}]}, "filters.AND[1] is empty."),
    ({"AND": ["x"]}, "filters.AND[0] must be an object, not text."),
    ({"and": []}, "filters.and is no operator. Did you mean AND?"),
    ({"$or": []}, "filters['$or'] is no operator. Did you mean OR?"),
    ({"OR": [{"k": {"gle": 1}}]}, "filters.OR[0].k.gle is an unknown operator. Did you mean"),
    ({"k": {"$eq": 1}}, "filters.k['$eq'] is an unknown operator. Did you mean eq?"),
    ({"k": {"not_in": []}}, "Did you mean nin?"),
    ({"k": {}}, "filters.k names no operator. It takes eq, ne,"),
    ({"k": {"in": "abc"}}, "filters.k.in takes a list, not text."),
    ({"k": {"eq": [1]}}, "filters.k.eq takes text, a number, true or false, not a list."),
    ({"k": {"eq": {}}}, "filters.k.eq takes text, a number, true or false, not an object."),
    ({"k": {"in": [[1]]}}, "filters.k.in[0] takes text"),
    ({"k": {"gt": True}}, "filters.k.gt takes text or a number, not a boolean."),
    ({"k": {"gt": None}}, "filters.k.gt cannot compare with null."),
    ({"k": {"icontains": 1}}, "filters.k.icontains takes text, not a number."),
    ({"k": {"*": False}}, "filters.k['*'] takes only true."),
    ({"k": float("nan")}, "filters.k is not a finite number."),
    ({"k": {"lt": float("-inf")}}, "filters.k.lt is not a finite number."),
    ({"k": 10**400}, "filters.k is not a finite number."),
    ({"k": "\ud800"}, "filters.k contains half of a surrogate pair"),
    ({"k": "a\0"}, "filters.k contains NUL"),
    ({"\udcff": 1}, "a key of filters contains half of a surrogate pair"),
    ({"k": "x" * (QUERY_CHARS_MAX + 1)}, f"filters.k is longer than {QUERY_CHARS_MAX}"),
    ({"k": datetime(2024, 1, 1, tzinfo=UTC)}, "not a Python datetime."),
    ({"metadata": "x"}, "filters.metadata takes an object of keys and values, not text."),
    ({"metadata": {"k": {"like": 1}}}, "filters.metadata.k.like is an unknown operator."),
    ({"user_id": None}, "filters.user_id is null. Leave it out"),
    ({"user_id": ""}, "filters.user_id is empty."),
    ({"user_id": ["a", "  "]}, "filters.user_id[1] is empty."),
    ({"user_id": True}, "filters.user_id takes an id as text, not a boolean."),
    ({"user_id": 1.5}, "filters.user_id takes an id as text, not a number."),
    ({"user_id": 10**5000}, "filters.user_id is not a finite number."),
    ({"user_id": "x" * (ID_CHARS_MAX + 1)}, f"filters.user_id is longer than {ID_CHARS_MAX}"),
    ({"created_at": "yesterday"}, "filters.created_at is not a date. Write 2024-05-31"),
    ({"created_at": "2024-02-30"}, "filters.created_at is not a date."),
    ({"created_at": True}, "filters.created_at takes a date"),
    ({"created_at": float("inf")}, "filters.created_at is not a finite number."),
    ({"created_at": 1_704_067_200_000}, "Give seconds since 1970, not milliseconds."),
    ({"created_at": {"contains": "2024"}}, "filters.created_at.contains does not apply here."),
    ({"expires_on": "soon"}, "filters.expires_on is not a date."),
    ({"expires_on": "0001-01-01T00:00+10:00"}, "outside the years 1 to 9999"),
    ({"kind": "fakt"}, 'fact, turn, summary. For metadata under this name write {"metadata"'),
    ({"listed": "yes"}, "filters.listed takes true or false, not text."),
    ({"listed": None}, "filters.listed takes true or false, not null."),
    ({"keywords": {"eq": "x"}}, "filters.keywords.eq does not apply here."),
    ({"categories": 5}, "filters.categories takes text, not a number."),
]


@pytest.mark.parametrize(("raw", "message"), REFUSED)
def test_refusing(raw: Json, message: str) -> None:
    assert message in fault(raw)


def test_messages_do_not_repeat_long_or_secret_input() -> None:
    assert len(fault({"k" * 5_000: {"x" * 5_000: 1}})) < 400
    assert "hunter2" not in fault({"created_at": "hunter2"})


def nested(levels: int) -> Json:
    raw: Json = {"user_id": "a"}
    for level in range(levels):
        raw = {("AND", "NOT")[level % 2]: [raw]}
    return raw


def test_the_bounds() -> None:
    read(nested(FILTER_DEPTH_MAX))
    assert "nested deeper" in fault(nested(FILTER_DEPTH_MAX + 1))
    assert "nested deeper" in fault(nested(900))
    read({f"k{i}": 1 for i in range(FILTER_NODES_MAX)})
    assert "conditions" in fault({f"k{i}": 1 for i in range(FILTER_NODES_MAX + 1)})
    assert "conditions" in fault({"created_at": list(range(FILTER_NODES_MAX))})
    full = [str(i) for i in range(FILTER_LIST_MAX)]
    read({f"k{i}": full for i in range(4)})
    assert "too many values" in fault({"k": [*full, "one more"]})
    assert "in all" in fault({f"k{i}": full for i in range(5)})


# --- cost -----------------------------------------------------------------------------------------


def test_importing_filters_loads_nothing_heavy() -> None:
    heavy = "{'numpy', 'pydantic', 'sqlalchemy', 'wordllama', 'sqlite3', 'difflib'}"
    code = f"import sys, holdfast.filters; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
