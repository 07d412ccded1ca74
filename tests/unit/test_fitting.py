"""Whether a value fits a schema."""

from __future__ import annotations

import json
import time

import pytest

from holdfast.core.fitting import DEPTH_MAX, is_deep, misfit, resolved, types_of
from holdfast.model import Json

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "age": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "mood": {"enum": ["good", "bad"]},
        "kind": {"const": "person"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "home": {"$ref": "#/$defs/Home"},
        "score": {"type": ["number", "null"]},
        "all": {"allOf": [{"type": "object"}, {"required": ["a"]}]},
        "any": True,
    },
    "required": ["name"],
    "additionalProperties": False,
    "$defs": {"Home": {"type": "object", "properties": {"up": {"$ref": "#/$defs/Home"}, "n": {}}}},
}


@pytest.mark.parametrize(
    "value",
    [
        {"name": "Ann"},
        {"name": "", "age": None, "mood": "bad", "kind": "person", "tags": [], "score": 1.5},
        {"name": "Ann", "age": 7, "tags": ["a", "b"], "home": {"up": {"up": {}}}, "score": None},
        {"name": "Ann", "all": {"a": 1}, "any": [{"x": None}], "score": 3},
    ],
)
def test_it_fits(value: Json) -> None:
    assert misfit(value, PERSON) is None


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({}, "the answer"),
        ([], "the answer"),
        (None, "the answer"),
        ({"name": 7}, "the answer.name"),
        ({"name": None}, "the answer.name"),
        ({"name": "a", "age": "7"}, "the answer.age"),
        ({"name": "a", "age": True}, "the answer.age"),
        ({"name": "a", "age": 7.5}, "the answer.age"),
        ({"name": "a", "mood": "secret"}, "the answer.mood"),
        ({"name": "a", "kind": "secret"}, "the answer.kind"),
        ({"name": "a", "tags": ["a", 1]}, "the answer.tags[]"),
        ({"name": "a", "tags": "secret"}, "the answer.tags"),
        ({"name": "a", "home": {"up": {"up": 1}}}, "the answer.home.up.up"),
        ({"name": "a", "score": "secret"}, "the answer.score"),
        ({"name": "a", "all": {}}, "the answer.all"),
        ({"name": "a", "secret": 1}, "the answer"),
    ],
)
def test_it_does_not_fit(value: Json, place: str) -> None:
    fault = misfit(value, PERSON)
    assert fault is not None
    assert fault.startswith(place + " ")
    assert "secret" not in fault


def test_what_goes_in_circles_ends() -> None:
    circle = {
        "$ref": "#/$defs/A",
        "$defs": {"A": {"$ref": "#/$defs/B"}, "B": {"$ref": "#/$defs/A"}},
    }
    assert misfit({"a": 1}, circle) is None
    assert resolved(circle, circle) == {}
    grows = {"properties": {"a": {"$ref": "#"}}}
    deep = json.loads('{"a":' * 50 + "1" + "}" * 50)
    assert "too deeply" in (misfit(deep, grows) or "")
    itself: dict[str, Json] = {"allOf": [{"$ref": "#"}]}
    assert "too deeply" in (misfit({}, itself) or "")


def test_alternatives_that_multiply_end_soon() -> None:
    wild = {"anyOf": [{"$ref": "#"}, {"$ref": "#"}, {"$ref": "#"}]}
    begun = time.monotonic()
    assert "too much" in (misfit({}, wild) or "")
    assert time.monotonic() - begun < 5


def test_nesting_is_measured() -> None:
    assert not is_deep({"a": [1, "b", None, {"c": []}]})
    assert not is_deep(json.loads("[" * DEPTH_MAX + "]" * DEPTH_MAX))
    assert is_deep(json.loads("[" * (DEPTH_MAX + 1) + "]" * (DEPTH_MAX + 1)))


def test_types_are_told_with_alternatives() -> None:
    assert types_of({"type": "array"}) == {"array"}
    assert types_of({"type": ["array", "null"]}) == {"array", "null"}
    assert types_of({"anyOf": [{"type": "array"}, {"type": "null"}, 7]}) == {"array", "null"}
    assert types_of({}) == frozenset()
