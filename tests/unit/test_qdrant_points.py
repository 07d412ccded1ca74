"""Memories as Qdrant's points: ids, payloads, sparse vectors."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.backends.qdrant import points
from holdfast.model import Entity, Project
from holdfast.ports import Point

NAMES = st.sampled_from(["", "1", "1:", ":1", "1:1", "2:1:", "a", "1:a", "aa", "a:a", "2"])


@given(NAMES, NAMES, NAMES, NAMES)
def test_projects_and_names_never_meet(one: str, first: str, two: str, second: str) -> None:
    same = (one, first) == (two, second)
    ids = points.point_id(Project(one), first), points.point_id(Project(two), second)
    keys = points.entity_key(Project(one), first), points.entity_key(Project(two), second)
    assert (ids[0] == ids[1]) == same
    assert (keys[0] == keys[1]) == same


def test_ids_stay_what_they_are() -> None:
    """Golden: another id would leave all stored points behind."""
    assert points.point_id(Project("default"), "m1") == GOLDEN
    assert points.entity_key(Project("default"), "alice") == "7:default:alice"


GOLDEN = "9e82387f-0d2c-5245-97ff-36b61dfa1e12"


def test_a_word_weighs_by_how_often_it_is_said_and_among_how_many() -> None:
    terms = np.array([7, 7, 7, 9], "<u8")
    made = points.sparse(terms, 8.0)
    norm = 0.9 * (0.25 + 0.75 * 4 / 8)
    assert made.indices == [7, 9]
    assert made.values == pytest.approx([3 / (3 + norm), 1 / (1 + norm)])


@given(st.lists(st.integers(0, 2**64 - 1), max_size=30))
def test_a_word_is_found_by_the_index_it_was_stored_with(terms: list[int]) -> None:
    made = points.sparse(np.array(terms, "<u8"), 100.0)
    assert made.indices == sorted(set(made.indices))
    assert all(0 <= index < 2**32 for index in made.indices)
    for word in points.words([[term] for term in terms]):
        assert set(word) <= set(made.indices)
    (all_of_them,) = points.words([terms])
    assert list(all_of_them) == made.indices


def test_different_words_rarely_meet() -> None:
    words = np.random.default_rng(1).integers(0, 2**64, 200_000, dtype=np.uint64)
    met = len(words) - len(np.unique(points.folded(words)))
    assert met < 20  # 4.7 are expected


def test_zeros_have_no_direction_and_silence_no_words() -> None:
    zeros = Point(id="a", entities=(), vector=struct.pack("<4f", *[0.0] * 4), terms=b"", mark=3)
    made = points.structure(Project("p"), zeros, 4, 100.0)
    assert made.vector == {}
    assert made.payload == {"id": "a", "mark": 3, "project": "p"}


def test_a_point_names_each_of_its_entities_with_its_project() -> None:
    point = Point(
        id="a", entities=(Entity("user", "u"), Entity("run", "*r")), vector=None, terms=b"", mark=0
    )
    made = points.structure(Project("p"), point, 4, 100.0)
    assert made.payload is not None
    assert made.payload["user"] == "1:p:u"
    assert made.payload["run"] == "1:p:*r"
    assert "agent" not in made.payload


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 400)), max_size=12))
def test_batches_hold_the_last_of_each_id_once(drawn: list[tuple[str, int]]) -> None:
    given_ = [
        Point(id=id_, entities=(), vector=None, terms=bytes(8 * size), mark=n)
        for n, (id_, size) in enumerate(drawn)
    ]
    found = list(points.batches(given_, 8_192))
    flat = [point for group in found for point in group]
    assert {p.id: p.mark for p in flat} == {p.id: p.mark for p in given_}
    assert len(flat) == len({p.id for p in given_})
    assert all(found)
