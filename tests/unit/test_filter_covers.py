"""Where a search has to look: the entities a filter stays within."""

from __future__ import annotations

import time

import pytest

from holdfast.errors import FilterError
from holdfast.filters import (
    And,
    Compare,
    Cover,
    Everything,
    Not,
    Nothing,
    Or,
    covering_entities,
    entity_choices,
    parse_filter,
    within,
)
from holdfast.model import Entity, Json

A = Compare("user_id", "eq", "a")


def covers(raw: Json) -> tuple[Cover, ...]:
    return entity_choices(parse_filter(raw, require_entity=True))


def cover(*names: str) -> Cover:
    pairs = (name.split(":") for name in names)
    return tuple(Entity(kind, id) for kind, id in pairs)  # type: ignore[arg-type]


COVERS: list[tuple[Json, list[Cover]]] = [
    ({"user_id": "a"}, [cover("user:a")]),
    ({"user_id": ["a", "b"]}, [cover("user:a", "user:b")]),
    ({"user_id": "*"}, [cover("user:*")]),
    ({"user_id": []}, [()]),
    ({"session_id": "r"}, [cover("run:r")]),
    (
        {"app_id": "p", "agent_id": "g", "user_id": "a", "run_id": "r"},
        [cover("run:r"), cover("user:a"), cover("agent:g"), cover("app:p")],
    ),
    ({"run_id": "*", "app_id": "p"}, [cover("app:p"), cover("run:*")]),
    ({"run_id": ["r", "s"], "app_id": "p"}, [cover("app:p"), cover("run:r", "run:s")]),
    ({"OR": [{"user_id": "a"}, {"agent_id": "b"}]}, [cover("user:a", "agent:b")]),
    ({"OR": [{"user_id": "a"}, {"user_id": "a", "k": 1}]}, [cover("user:a")]),
    (
        {"OR": [{"user_id": "a", "run_id": "r"}, {"user_id": "a", "run_id": "s"}]},
        [
            cover("user:a"),
            cover("run:r", "run:s"),
            cover("run:r", "user:a"),
            cover("user:a", "run:s"),
        ],
    ),
    ({"user_id": "a", "NOT": [{"agent_id": "b"}]}, [cover("user:a")]),
    ({"user_id": "a", "OR": [{"k": 1}, {"k": 2}]}, [cover("user:a")]),
]


@pytest.mark.parametrize(("raw", "expected"), COVERS)
def test_covers(raw: Json, expected: list[Cover]) -> None:
    assert covers(raw) == tuple(expected)
    assert covering_entities(parse_filter(raw, require_entity=False)) == expected[0]


@pytest.mark.parametrize(
    "raw",
    [
        None,
        {},
        {"k": "user_id"},
        {"metadata": {"user_id": "a"}},
        {"actor_id": "a"},
        {"id": "m"},
        {"user_id": {"ne": "a"}},
        {"user_id": {"nin": ["a"]}},
        {"user_id": {"contains": "a"}},
        {"user_id": {"gte": "a"}},
        {"NOT": [{"user_id": "a"}]},
        {"NOT": {"user_id": "a"}},
        {"NOT": [{"NOT": [{"user_id": "a"}]}]},
        {"OR": [{"user_id": "a"}, {"k": 1}]},
        {"OR": [{"user_id": "a"}, {"NOT": [{"user_id": "b"}]}]},
        {"AND": [{"OR": [{"user_id": "a"}, {"k": 1}]}, {"k": 2}]},
    ],
)
def test_filters_that_name_no_entity_are_refused(raw: Json) -> None:
    message = "at least one of user_id, agent_id, app_id, run_id must be named positively"
    with pytest.raises(FilterError, match=message):
        parse_filter(raw, require_entity=True)
    with pytest.raises(FilterError):
        covering_entities(parse_filter(raw, require_entity=False))


def test_a_misspelt_entity_is_pointed_at() -> None:
    with pytest.raises(FilterError, match=r"did you mean user_id\?"):
        parse_filter({"userId": "a"}, require_entity=True)
    with pytest.raises(FilterError, match=r"positively\."):
        parse_filter({"colour": "red"}, require_entity=True)


def test_covers_of_wide_filters_stay_cheap() -> None:
    users = [[f"u{i}-{j}" for j in range(40)] for i in range(50)]
    raw = {"OR": [{"user_id": names, "run_id": names} for names in users]}
    started = time.perf_counter()
    choices = covers(raw)
    assert time.perf_counter() - started < 5.0  # measured: 0.05 s
    assert len(choices[0]) == 2_000


def test_what_is_left_within_an_entity() -> None:
    alice = Entity("user", "a")
    red = Compare("metadata.colour", "eq", "red")
    assert within(A, alice) == Everything()
    assert within(A, Entity("user", "z")) == Nothing()
    assert within(A, Entity("run", "a")) == A
    assert within(And((A, red)), alice) == red
    assert within(Or((A, red)), alice) == Everything()
    assert within(And((Not(A), red)), alice) == Nothing()
    assert within(Compare("user_id", "*"), Entity("user", "*")) == Everything()
    for tree in (A, Compare("user_id", "ne", "a"), Compare("user_id", "in", ("a", "b"))):
        assert within(tree, Entity("user", "*")) == tree
