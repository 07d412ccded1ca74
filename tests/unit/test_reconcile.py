"""What happens to extracted facts: added, ending older memories, or known already."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.extract import ExtractedFact, Extraction
from holdfast.core.reconcile import (
    ENDS_NOTHING,
    KNOWN,
    SAID_TWICE,
    Decision,
    plan,
)
from holdfast.model import Memory, Scope

SAID = 1_000_000.0
ALICE = Scope(user_id="alice")


def memory(memory_id: str, text: str, **more: Any) -> Memory:
    fields: dict[str, Any] = {
        "hash": "", "kind": "fact", "user_id": "alice", "event_at": 500.0, "valid_from": 500.0,
        "created_at": 500.0, "updated_at": 500.0,
    }  # fmt: skip
    return Memory(id=memory_id, text=text, **(fields | more))


def fact(text: str, *replaces: str, event_at: float = SAID, said_at: float = SAID) -> ExtractedFact:
    return ExtractedFact(
        text=text, turn=0, turn_id="t", role="user", actor_id=None, quote="q",
        said_at=said_at, event_at=event_at, replaces=replaces,
    )  # fmt: skip


def decide(*facts: ExtractedFact, nearby: tuple[Memory, ...] = ()) -> tuple[Decision, ...]:
    return plan(Extraction(facts=facts), nearby, scope=ALICE)


PARIS = memory("m1", "Alice lives in Paris.")


def test_a_new_fact_is_added() -> None:
    (one,) = decide(fact("Alice likes tea."), nearby=(PARIS,))
    assert (one.event, one.supersedes, one.duplicate_of) == ("ADD", (), None)
    assert one.valid_from == SAID


def test_a_changed_fact_ends_the_old_one_when_it_happened() -> None:
    (one,) = decide(fact("Alice lives in Berlin.", "m1", event_at=9_000.0), nearby=(PARIS,))
    assert one.event == "UPDATE"
    assert one.supersedes == ("m1",)
    assert one.previous == "Alice lives in Paris."
    assert one.valid_from == 9_000.0


def test_an_old_memory_never_ends_before_it_began() -> None:
    began = memory("m2", "Alice lives in Rome.", valid_from=20_000.0)
    moved = fact("Alice lives in Berlin.", "m1", "m2", event_at=9_000.0)
    (one,) = decide(moved, nearby=(PARIS, began))
    assert one.supersedes == ("m1", "m2")
    assert one.valid_from == 20_000.0


def test_a_memory_without_validity_began_with_its_event() -> None:
    old = memory("m1", "Alice lives in Paris.", valid_from=None, event_at=30_000.0)
    (one,) = decide(fact("Alice lives in Berlin.", "m1", event_at=9_000.0), nearby=(old,))
    assert one.valid_from == 30_000.0


def test_an_event_to_come_holds_from_when_it_was_said() -> None:
    meeting = memory("m1", "The meeting is on 3 June.", event_at=2_000_000.0, valid_from=900.0)
    (one,) = decide(fact("The meeting is on 9 June.", "m1", event_at=3e6), nearby=(meeting,))
    assert one.event == "UPDATE"
    assert one.valid_from == SAID


def test_an_older_statement_does_not_end_a_newer_memory() -> None:
    newer = memory("m1", "Alice lives in Paris.", valid_from=SAID + 1)
    (one,) = decide(fact("Alice lives in Berlin.", "m1"), nearby=(newer,))
    assert (one.event, one.supersedes, one.reason) == ("ADD", (), ENDS_NOTHING)


@pytest.mark.parametrize(
    "old",
    [
        memory("m1", "Bob lives in Paris.", user_id="bob"),
        memory("m1", "Alice lives in Paris.", run_id="r1"),
        memory("m1", "Alice lives in Paris.", agent_id="a1"),
        memory("m1", "Alice lives in Paris.", valid_to=700.0),
        memory("m1", "Alice lives in Paris.", kind="turn", listed=False),
        memory("m1", "Alice lives in Paris.", immutable=True),
    ],
    ids=["another user", "a run", "an agent", "ended", "unlisted", "immutable"],
)
def test_only_current_memories_of_the_same_scope_are_ended(old: Memory) -> None:
    (one,) = decide(fact("Alice lives in Berlin.", "m1"), nearby=(old,))
    assert (one.event, one.supersedes, one.reason) == ("ADD", (), ENDS_NOTHING)


def test_a_memory_that_was_not_shown_cannot_be_ended() -> None:
    (one,) = decide(fact("Alice lives in Berlin.", "m9"), nearby=(PARIS,))
    assert one.supersedes == ()


@pytest.mark.parametrize(
    "text", ["Alice lives in Paris.", "alice  LIVES in Paris", "“Alice lives in Paris!”"]
)
def test_the_same_content_is_known(text: str) -> None:
    (one,) = decide(fact(text, "m1"), nearby=(PARIS,))
    assert (one.event, one.duplicate_of, one.reason) == ("NONE", "m1", KNOWN)
    assert one.supersedes == ()


def test_ended_or_foreign_memories_make_nothing_known() -> None:
    ended = memory("m1", "Alice lives in Paris.", valid_to=700.0)
    foreign = memory("m2", "Alice lives in Paris.", user_id="bob")
    raw = memory("m3", "Alice lives in Paris.", kind="turn", listed=False)
    (one,) = decide(fact("Alice lives in Paris."), nearby=(ended, foreign, raw))
    assert one.event == "ADD"


def test_a_fact_said_twice_is_added_once() -> None:
    first, second = decide(fact("Alice likes tea."), fact("ALICE likes tea"))
    assert first.event == "ADD"
    assert (second.event, second.duplicate_of, second.reason) == ("NONE", None, SAID_TWICE)


def test_one_memory_is_ended_once() -> None:
    berlin = fact("Alice lives in Berlin.", "m1")
    alone = fact("Alice lives alone.", "m1")
    first, second = decide(berlin, alone, nearby=(PARIS,))
    assert (first.event, second.event) == ("UPDATE", "ADD")
    assert second.supersedes == ()


def test_going_back_to_what_was_ended_in_the_same_answer_is_new() -> None:
    first, second = decide(
        fact("Alice lives in Berlin.", "m1"), fact("Alice lives in Paris."), nearby=(PARIS,)
    )
    assert (first.event, second.event) == ("UPDATE", "ADD")


FACTS = st.builds(
    fact,
    st.sampled_from(["a", "A.", "b", "c"]),
    event_at=st.sampled_from([0.0, 600.0, SAID, 2 * SAID]),
).flatmap(
    lambda one: st.lists(st.sampled_from(["m1", "m2", "m3"]), max_size=3).map(
        lambda ids: fact(one.text, *dict.fromkeys(ids), event_at=one.event_at)
    )
)
MEMORIES = st.tuples(
    *(
        st.builds(
            memory,
            st.just(f"m{i}"),
            st.sampled_from(["a", "b", "x"]),
            user_id=st.sampled_from(["alice", "bob"]),
            valid_from=st.sampled_from([None, 500.0, SAID + 5]),
            valid_to=st.sampled_from([None, None, 800.0]),
            listed=st.booleans(),
        )
        for i in (1, 2, 3)
    )
)


@given(st.lists(FACTS, max_size=5), MEMORIES)
def test_rules_that_always_hold(facts: list[ExtractedFact], nearby: tuple[Memory, ...]) -> None:
    decisions = decide(*facts, nearby=nearby)
    assert [one.fact for one in decisions] == facts
    ended = [memory_id for one in decisions for memory_id in one.supersedes]
    assert len(ended) == len(set(ended))
    by_id = {one.id: one for one in nearby}
    for one in decisions:
        assert (one.event == "UPDATE") == bool(one.supersedes)
        assert one.event != "NONE" or not one.supersedes
        for memory_id in one.supersedes:
            old = by_id[memory_id]
            assert old.scope == ALICE
            assert old.listed
            assert old.valid_to is None
            assert one.valid_from >= (old.valid_from or old.event_at)
