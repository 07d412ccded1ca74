"""The working set of an entity: order, neighbours, postings, and growing it."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from holdfast.core.postings import Postings
from holdfast.core.text import analyze
from holdfast.core.view import EntityView, Entry, Traits

WORDS = [
    "red",
    "blue",
    "green",
    "boat",
    "house",
    "?",
    "Müller",
    "2023",
    "das",
    "ist",
    "nicht",
    "猫が",
]


def entry(seq: int, words: str = "red boat", **changes: Any) -> Entry:
    actor = changes.pop("actor", None)
    found = analyze(words, actor=actor, role=None)
    values: dict[str, Any] = {
        "id": f"m{seq}",
        "seq": seq,
        "terms": found.terms,
        "flags": found.flags,
        "words": found.words,
        "speaker": found.speaker,
        "event_time": float(seq),
        "session": "s",
    }
    return Entry(**{**values, **changes})


def vector(*values: float) -> bytes:
    return np.array(values, dtype="<f4").tobytes()


@st.composite
def entries(draw: st.DrawFn) -> list[Entry]:
    made = []
    at = 0.0
    for seq in range(draw(st.integers(0, 9))):
        at += draw(st.sampled_from([0.0, 1.0, 20_000.0]))
        made.append(
            entry(
                seq,
                " ".join(draw(st.lists(st.sampled_from(WORDS), max_size=5))),
                actor=draw(st.sampled_from([None, "Ann", "Bo Li"])),
                event_time=at,
                role=draw(st.sampled_from([None, "user", "assistant", "tool"])),
                kind=draw(st.sampled_from(["turn", "turn", "fact", "summary"])),
                session=draw(st.sampled_from([None, "a", "b"])),
                valid_to=draw(st.sampled_from([None, 5.0])),
                vector=draw(st.sampled_from([None, vector(1, 0), vector(0, 1)])),
            )
        )
    return made


def assert_same(one: Any, other: Any) -> None:
    """Every field of two views is the same, arrays in type and content."""
    assert type(one) is type(other)
    if dataclasses.is_dataclass(one):
        for field in dataclasses.fields(one):
            if field.compare:
                assert_same(getattr(one, field.name), getattr(other, field.name))
    elif isinstance(one, np.ndarray):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    else:
        assert one == other


@settings(max_examples=300)
@given(entries(), st.data())
def test_extending_is_building(made: list[Entry], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(made)))
    grown = EntityView.build(made[:cut], 2).extended(made[cut:])
    assert_same(grown, EntityView.build(made, 2))


@settings(max_examples=300)
@given(entries(), entries(), st.data())
def test_changing_is_building(made: list[Entry], other: list[Entry], data: st.DataObject) -> None:
    """Rows leave, rows are replaced by others of the same id or insertion, rows come anywhere."""
    seqs = data.draw(st.permutations(range(12)))
    places = dict(zip(range(12), seqs, strict=True))
    later = [structs.replace(one, id=f"m{places[one.seq]}", seq=places[one.seq]) for one in other]
    removed = data.draw(st.sets(st.sampled_from([f"m{n}" for n in range(14)])))
    gone = removed | {one.id for one in later}
    before = EntityView.build(made, 2)
    vectors = before.columns.vectors.copy()
    changed = before.changed(removed, later)
    assert_same(changed, EntityView.build([e for e in made if e.id not in gone] + later, 2))
    assert_same(before, EntityView.build(made, 2))
    np.testing.assert_array_equal(before.columns.vectors, vectors)


@given(entries(), entries())
def test_views_extended_from_the_same_one_do_not_disturb_each_other(
    first: list[Entry], second: list[Entry]
) -> None:
    base = [entry(n, vector=vector(1, 1)) for n in range(20)]
    view = EntityView.build(base, 2)
    after = [
        [structs.replace(one, seq=20 + one.seq, event_time=100.0 + one.event_time) for one in more]
        for more in (first, second)
    ]
    grown = [view.extended(more) for more in after]
    again = [
        one.extended(more)
        for one, more in zip(grown, reversed(after), strict=True)
        if not more or one.accepts(more[0])
    ]
    assert_same(view, EntityView.build(base, 2))
    for one, more in zip(grown, after, strict=True):
        assert_same(one, EntityView.build(base + more, 2))
    assert all(len(one) >= 20 for one in again)


def test_growing_copies_no_vectors_while_there_is_room() -> None:
    view = EntityView.build([entry(n, vector=vector(1, 1)) for n in range(100)], 2)
    grown = view.extended([entry(100, vector=vector(0, 1))])
    assert np.shares_memory(view.columns.vectors, grown.columns.vectors)
    beside = view.extended([entry(100, vector=vector(1, 0))])
    assert not np.shares_memory(view.columns.vectors, beside.columns.vectors)
    assert grown.columns.vectors[100].tolist() == [0, 1]
    assert beside.columns.vectors[100].tolist() == [1, 0]
    for number in range(101, 130):
        grown = grown.extended([entry(number, vector=vector(0, 1))])
    assert not np.shares_memory(view.columns.vectors, grown.columns.vectors)
    assert_same(
        grown.columns.vectors[[0, 99, 100, 129]],
        np.array([[1, 1], [1, 1], [0, 1], [0, 1]], np.float32),
    )


def test_rows_of_a_view_are_not_written_to() -> None:
    view = EntityView.build([entry(0, vector=vector(0, 1))], 2)
    for one in (view, view.extended([entry(1)]), view.changed(["m0"], [])):
        assert not one.columns.vectors.flags.writeable


@given(entries(), st.randoms(use_true_random=False))
def test_the_order_of_entries_does_not_matter(made: list[Entry], random: Any) -> None:
    mixed = list(made)
    random.shuffle(mixed)
    assert_same(EntityView.build(mixed, 2), EntityView.build(made, 2))


@given(entries())
def test_postings_say_what_rows_hold(made: list[Entry]) -> None:
    view = EntityView.build(made, 2)
    postings = view.postings
    rows: list[list[int]] = [[] for _ in made]
    for number, term in enumerate(postings.vocabulary.tolist()):
        part = slice(postings.offsets[number], postings.offsets[number + 1])
        assert np.all(np.diff(postings.rows[part]) > 0)
        for row, count in zip(postings.rows[part], postings.counts[part], strict=True):
            rows[row].extend([term] * count)
    assert rows == [sorted(np.frombuffer(e.terms, dtype="<u8").tolist()) for e in made]
    assert np.all(np.diff(postings.vocabulary.astype(object)) > 0)


def test_finding_terms() -> None:
    postings = Postings.build(np.array([7, 9, 7], np.uint64), np.array([2, 1], np.int32))
    starts, ends = postings.find(np.array([9, 8, 7, 0, 2**64 - 1], dtype=np.uint64))
    assert [(s, e) for s, e in zip(starts, ends, strict=True) if e > s] == [(2, 3), (0, 2)]


def test_rows_are_in_conversation_order() -> None:
    view = EntityView.build(
        [entry(2, event_time=5.0), entry(1, event_time=5.0), entry(3, event_time=1.0)], 2
    )
    assert view.ids == ("m3", "m1", "m2")


def test_neighbours_stay_in_the_session_and_pass_over_facts() -> None:
    made = [
        entry(0),
        entry(1),
        entry(2, kind="fact"),
        entry(3),
        entry(4, session="t"),
    ]
    view = EntityView.build(made, 2)
    none = len(made)
    assert view.previous.tolist() == [none, 0, 2, 1, none]
    assert view.before_previous.tolist() == [none, none, 2, 0, none]
    assert view.next.tolist() == [1, 3, 2, none, none]


def test_sessions_are_given_or_told_by_a_pause() -> None:
    times = [0.0, 60.0, 60.0 + 4 * 3600, 60.0 + 4 * 3600]
    made = [entry(i, session=None, event_time=at) for i, at in enumerate(times)]
    assert EntityView.build(made, 2).segment.tolist() == [0, 0, 1, 1]
    made = [entry(i, session="ab"[i // 2], event_time=at) for i, at in enumerate(times)]
    assert EntityView.build(made, 2).segment.tolist() == [0, 0, 1, 1]
    made = [entry(i, session="a", event_time=at) for i, at in enumerate(times)]
    assert EntityView.build(made, 2).segment.tolist() == [0, 0, 0, 0]


def test_missing_vectors_are_zeros_and_wrong_ones_refused() -> None:
    view = EntityView.build([entry(0, vector=vector(0, 1)), entry(1)], 2)
    assert view.columns.vectors.tolist() == [[0, 1], [0, 0]]
    assert view.columns.vectors.flags.c_contiguous
    with pytest.raises(ValueError, match="3 dimensions"):
        EntityView.build([entry(0, vector=vector(0, 1))], 3)


def test_only_later_entries_extend() -> None:
    view = EntityView.build([entry(5)], 2)
    assert view.accepts(entry(6))
    assert not view.accepts(entry(4))
    with pytest.raises(ValueError, match="sort after"):
        view.extended([entry(4)])
    assert view.extended([]) is view


def test_calendar_and_names() -> None:
    at = 1_689_120_000.0  # 12 July 2023
    view = EntityView.build(
        [entry(0, actor="Bo Li", event_time=at), entry(1, event_time=-1e300)], 2
    )
    assert (view.month[-1], view.day[-1]) == (7, 12)
    bearers = set(view.name_terms.values())
    assert bearers == {(view.columns.speaker[-1],)}
    assert len(view.name_terms) == 2


def test_an_empty_view() -> None:
    view = EntityView.build([], 256)
    assert (len(view), view.dimensions, view.has_assistant) == (0, 256, False)
    assert view.columns.vectors.shape == (0, 256)


def test_bytes_count_every_array() -> None:
    view = EntityView.build([entry(i, vector=vector(0, 1)) for i in range(50)], 2)
    named = sum(getattr(view.columns, n).nbytes for n in ("vectors", "seq", "event_time", "flags"))
    traits = sum(getattr(view.traits, n).nbytes for n in Traits.__slots__)
    assert view.nbytes > named + traits + view.postings.rows.nbytes
