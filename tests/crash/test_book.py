"""The killer's own bookkeeping tells every way in which a store can differ."""

from __future__ import annotations

import pytest

from tests.crash.book import Book, Held, Kept, LostError
from tests.crash.orders import Begun, Done, Work

A, B, C = Kept("a", None), Kept("b", {"x": 1}), Kept("c", None)


def _book(*under_way: Work) -> Book:
    book = Book()
    book.hear(Begun(work=Work(number=1, user="u", verb="add", texts=("a",))))
    book.hear(Done(user="u", number=1, ids=("1",)))
    for work in under_way:
        book.hear(Begun(work=work))
    return book


def _work(verb: str, **details: object) -> Work:
    return Work(number=2, user="u", verb=verb, **details)


@pytest.mark.parametrize(
    ("under_way", "found"),
    [
        ([], {"1": A}),
        ([_work("add", texts=("b",), metadata={"x": 1})], {"1": A}),
        ([_work("add", texts=("b",), metadata={"x": 1})], {"1": A, "2": B}),
        ([_work("update", memory_id="1", texts=("c",))], {"1": A}),
        ([_work("update", memory_id="1", texts=("c",))], {"1": C}),
        ([_work("delete", memory_id="1")], {}),
        ([_work("delete_all")], {}),
    ],
)
def test_whole_or_absent_is_right(under_way: list[Work], found: Held) -> None:
    book = _book(*under_way)
    book.settle({"u": found})
    assert book.held["u"] == found
    book.settle({"u": found})


@pytest.mark.parametrize(
    ("under_way", "found"),
    [
        ([], {}),
        ([], {"1": C}),
        ([], {"1": A, "2": A}),
        ([], {"2": A}),
        ([_work("add", texts=("b", "c"), metadata={"x": 1})], {"1": A, "2": B}),
        ([_work("add", texts=("b",))], {"1": A, "2": B}),
        ([_work("add", texts=("b",))], {"2": Kept("b", None)}),
        ([_work("update", memory_id="1", texts=("c",))], {}),
        ([_work("update", memory_id="1", texts=("c",))], {"1": B}),
        ([_work("delete", memory_id="1")], {"1": A, "2": A}),
    ],
)
def test_anything_else_is_a_loss(under_way: list[Work], found: Held) -> None:
    with pytest.raises(LostError):
        _book(*under_way).settle({"u": found})


def test_one_key_answers_with_one_set_of_ids() -> None:
    again = _work("add", texts=("b",), key="k")
    book = _book(again)
    book.settle({"u": {"1": A, "2": Kept("b", None)}})
    assert book.retries == [again]
    book.hear(Begun(work=again))
    with pytest.raises(LostError, match="first"):
        book.hear(Done(user="u", number=2, ids=("3",)))
