"""Batches of an import: complete, in order, and named alike whenever they are made again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core import batches as module
from holdfast.core.batches import BATCH_CHARS, BATCH_RECORDS, batches
from holdfast.core.transcripts import Record
from holdfast.errors import ValidationError
from holdfast.model import Scope

ADA = Scope(user_id="ada")

pool = st.builds(
    Record,
    text=st.sampled_from(["yes", "no", "ok"]),
    at=st.sampled_from([None, 1.0, 2.0]),
    scope=st.sampled_from([ADA, Scope(user_id="bob"), Scope(run_id="r1")]),
    metadata=st.sampled_from([None, {"a": 1}]),
)


@given(st.lists(pool, max_size=40))
def test_every_record_is_in_one_batch_and_keys_repeat_exactly(records: list[Record]) -> None:
    made = list(batches(records))
    told = Counter(map(repr, records))
    assert Counter(repr(record) for batch in made for record in batch.records) == told
    assert [batch.key for batch in batches(records)] == [batch.key for batch in made]
    assert len({batch.key for batch in made}) == len(made)
    for batch in made:
        assert {(r.scope, str(r.metadata), r.at is not None) for r in batch.records} == {
            (batch.scope, str(batch.records[0].metadata), batch.dated)
        }


@given(st.lists(pool, max_size=40))
def test_undated_records_keep_the_order_of_the_file(records: list[Record]) -> None:
    told = [record for record in records if record.at is None]
    made = [record for batch in batches(records) for record in batch.records if record.at is None]
    assert made == told


def test_a_file_that_alternates_between_users_makes_few_batches() -> None:
    records = [
        Record(text=str(n), at=float(n), scope=Scope(user_id=f"u{n % 5}")) for n in range(50)
    ]
    assert [len(batch.records) for batch in batches(records)] == [10] * 5


def test_no_more_groups_are_open_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OPEN_GROUPS", 2)
    taken = []

    def records() -> Iterator[Record]:
        for user in "abcd":
            taken.append(user)
            yield Record(text="x", at=1.0, scope=Scope(user_id=user))

    first = next(iter(batches(records())))
    assert (first.scope.user_id, taken) == ("a", ["a", "b", "c"])


def test_a_batch_is_bounded_in_records_and_characters() -> None:
    many = [Record(text="x", scope=ADA)] * (BATCH_RECORDS + 1)
    assert [len(batch.records) for batch in batches(many)] == [BATCH_RECORDS, 1]
    long = [Record(text="x" * (BATCH_CHARS // 2 + 1), scope=ADA)] * 2
    assert [len(batch.records) for batch in batches(long)] == [1, 1]


def test_options_fill_in_what_a_record_does_not_name_and_replace_nothing() -> None:
    records = [Record(text="a", scope=ADA), Record(text="b")]
    made = list(batches(records, Scope(user_id="bob", agent_id="bot")))
    assert [batch.scope.user_id for batch in made] == ["ada", "bob"]
    assert {batch.scope.agent_id for batch in made} == {"bot"}


def test_a_record_that_belongs_to_nobody_is_an_error_that_names_the_option() -> None:
    with pytest.raises(ValidationError, match="--user"):
        list(batches([Record(text="a")]))


def test_the_key_depends_on_whose_memories_and_what_and_when() -> None:
    base = Record(text="a", at=1.0, scope=ADA)
    others = [
        Record(text="b", at=1.0, scope=ADA),
        Record(text="a", at=2.0, scope=ADA),
        Record(text="a", at=1.0, scope=Scope(user_id="bob")),
        Record(text="a", at=1.0, scope=ADA, metadata={"k": 1}),
        Record(text="a", at=1.0, scope=ADA, name="ann"),
        Record(text="a", at=1.0, scope=ADA, role="assistant"),
    ]
    keys = {next(iter(batches([record]))).key for record in [base, *others]}
    assert len(keys) == len(others) + 1


def test_what_is_immutable_is_added_by_itself_and_other_keys_stay() -> None:
    records = [Record(text="a", scope=ADA), Record(text="b", scope=ADA, immutable=True)]
    plain, kept = batches(records)
    assert ("immutable" in plain.arguments(), kept.arguments()["immutable"]) == (False, True)
    [same] = batches([Record(text="b", scope=ADA)])
    assert same.key != kept.key


def test_arguments_are_those_of_add() -> None:
    record = Record(
        text="a", name="ann", at=1.5, scope=ADA, metadata={"k": 1}, categories=("c",),
        expires_on="2030-01-01",
    )  # fmt: skip
    (batch,) = batches([record])
    assert batch.dated
    assert batch.arguments() == {
        "messages": [{"role": "user", "content": "a", "name": "ann", "timestamp": 1.5}],
        "user_id": "ada",
        "agent_id": None,
        "app_id": None,
        "run_id": None,
        "metadata": {"k": 1},
        "categories": ["c"],
        "expiration_date": "2030-01-01",
    }
