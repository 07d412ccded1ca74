"""The contract of `ports.Directory`, sentence by sentence, for one that a record store keeps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from holdfast.directory import (
    KINDS,
    Account,
    ApiKey,
    Delivery,
    Held,
    Member,
    Row,
    Session,
    Webhook,
    Where,
)
from holdfast.errors import ConflictError, NotFoundError, ValidationError
from holdfast.filters import And, Compare
from holdfast.ports import Directory, EditMemory, PutRows, RemoveMemories, Reset, TakeRow
from holdfast.testing.contracts.fixtures import StoreFixtures
from holdfast.testing.contracts.rows import sample
from holdfast.testing.contracts.values import BLUE, NOW, RED, SPACE, commit, put
from holdfast.testing.hostile import STORABLE
from holdfast.testing.replica import Store

Of = Callable[[Store], Directory]
"""The directory that belongs to a store."""


class _Fixtures(StoreFixtures):
    @pytest.fixture
    def of(self) -> Of:
        """How a store's directory is got; for authors to override if it is not `.directory`."""
        return lambda store: store.directory

    @pytest.fixture
    def directory(self, store: Store, of: Of) -> Directory:
        """The directory of `store`."""
        return of(store)


def members(*emails: str, **changes: Any) -> list[Member]:
    """Members with these addresses."""
    return [sample(Member, email=email, **changes) for email in emails]


def _is(row: Row) -> Where:
    """The condition that a row of an otherwise empty table fulfils."""
    return Where(row.key[0], getattr(row, row.key[0]))


async def emails(directory: Directory, *where: Where, **how: Any) -> list[str]:
    """The addresses of members, in the order told."""
    return [row.email for row in await directory.select(Member, *where, **how)]


class RowsContract(_Fixtures):
    """`insert`, `select`, `count`."""

    async def test_rows_of_every_kind_come_back_whole(self, directory: Directory) -> None:
        rows = [sample(kind) for kind in KINDS]
        await directory.insert(*rows)
        for kind, row in zip(KINDS, rows, strict=True):
            assert await directory.select(kind) == [row]
        for kind, row in zip(KINDS, rows, strict=True):
            given = dict.fromkeys(_OPTIONAL.intersection(kind.__struct_fields__))
            if given:
                await directory.update(kind, _is(row), values=given)
            assert await directory.select(kind) == [replace(row, **given)]

    async def test_texts_of_any_kind_come_back_whole(self, directory: Directory) -> None:
        texts = [text for text in STORABLE if text]
        await directory.insert(*(sample(Member, email=text) for text in texts))
        assert set(await emails(directory)) == set(texts)
        for text in texts:
            assert await emails(directory, Where("email", text)) == [text]

    async def test_all_rows_are_stored_or_none(self, directory: Directory) -> None:
        await directory.insert(*members("a"))
        with pytest.raises(ConflictError):
            await directory.insert(sample(ApiKey), *members("b", "a"))
        assert await emails(directory) == ["a"]
        assert await directory.select(ApiKey) == []

    async def test_a_taken_key_or_address_is_a_conflict(self, directory: Directory) -> None:
        await directory.insert(sample(Account), *members("a"))
        for row in (
            sample(Account, email="other@example.com"),
            sample(Account, id="other"),
            *members("a", role="READER"),
        ):
            with pytest.raises(ConflictError):
                await directory.insert(row)
        await directory.insert(*members("a", project="blue"), sample(Account, id="b", email="b@b"))
        assert await directory.count(Member) == await directory.count(Account) == 2

    async def test_every_condition_must_be_fulfilled(self, directory: Directory) -> None:
        rows = [
            sample(Session, id=f"s{n}", expires_at=NOW + n, account="xy"[n % 2]) for n in range(6)
        ]
        await directory.insert(*rows)
        for where, wanted in (
            ((), "012345"),
            ((Where("account", "x"),), "024"),
            ((Where("account", "x"), Where("expires_at", NOW + 1, "gt")), "24"),
            ((Where("expires_at", NOW + 1, "lte"),), "01"),
            ((Where("id", ("s1", "s5", "s9"), "in"),), "15"),
            ((Where("id", (), "in"),), ""),
            ((Where("id", "s1"), Where("account", "x")), ""),
        ):
            found = await directory.select(Session, *where)
            assert "".join(row.id[1] for row in found) == wanted
            assert await directory.count(Session, *where) == len(wanted)

    async def test_what_is_not_set_is_found_as_none_only(self, directory: Directory) -> None:
        unset = {"revoked_at": None, "users": None}
        await directory.insert(sample(ApiKey, id="a", **unset), sample(ApiKey, id="b", users=()))
        assert [k.id for k in await directory.select(ApiKey, Where("revoked_at", None))] == ["a"]
        assert [k.id for k in await directory.select(ApiKey, Where("users", None))] == ["a"]
        for op in ("lte", "gt"):
            found = await directory.select(ApiKey, Where("revoked_at", 9e12 * (op == "lte"), op))
            assert [key.id for key in found] == ["b"]

    async def test_rows_come_by_key_or_by_a_field_first(self, directory: Directory) -> None:
        for row in (*members("c", "a", created_at=2.0), *members("b", created_at=1.0)):
            await directory.insert(row)
        assert await emails(directory) == ["a", "b", "c"]
        assert await emails(directory, newest_first=True) == ["c", "b", "a"]
        assert await emails(directory, order="created_at") == ["b", "a", "c"]
        assert await emails(directory, order="created_at", newest_first=True) == ["c", "a", "b"]

    async def test_offset_and_size_cut_a_page_out(self, directory: Directory) -> None:
        await directory.insert(*members(*"abcde"))
        assert await emails(directory, offset=1, size=2) == ["b", "c"]
        assert await emails(directory, offset=3) == ["d", "e"]
        assert await emails(directory, size=0) == await emails(directory, offset=9) == []

    async def test_a_field_that_is_none_is_refused(self, directory: Directory) -> None:
        wrong, right = Where("1=1; --", "x"), Where("email", "a")
        with pytest.raises(ValidationError):
            await directory.select(Member, wrong)
        with pytest.raises(ValidationError):
            await directory.select(Member, order="email, role")
        with pytest.raises(ValidationError):
            await directory.count(Member, wrong)
        with pytest.raises(ValidationError):
            await directory.update(Member, right, values={"no = 1 --": 1})
        with pytest.raises(ValidationError):
            await directory.delete(Member, wrong)


_OPTIONAL = frozenset({
    "agents", "answer", "apps", "change_no", "completed_at", "description", "error", "feedback",
    "reason", "result", "revoked_at", "runs", "users",
})  # fmt: skip
"""Fields that may be None in every kind of row that has them."""


class ChangeRowsContract(_Fixtures):
    """`update`, `delete`."""

    async def test_an_update_sets_fields_of_the_rows_meant(self, directory: Directory) -> None:
        await directory.insert(*members("a", "b"), *members("a", project="blue"))
        mine = (Where("project", "red"), Where("email", "a"))
        assert await directory.update(Member, *mine, values={"role": "READER"}) == 1
        found = {(m.project, m.email): m for m in await directory.select(Member)}
        assert found["red", "a"] == members("a", role="READER")[0]
        assert found["red", "b"].role == found["blue", "a"].role == "OWNER"
        where = Where("role", "OWNER")
        assert await directory.update(Member, where, values={"created_at": 1.0}) == 2
        assert await directory.update(Member, Where("email", "?"), values={"role": "OWNER"}) == 0

    async def test_of_two_who_change_on_a_condition_one_does(self, directory: Directory) -> None:
        await directory.insert(sample(Webhook, fed=1))
        where = (Where("id", "hook"), Where("fed", 1))
        calls = [directory.update(Webhook, *where, values={"fed": n}) for n in range(2, 12)]
        assert sorted(await asyncio.gather(*calls)) == [0] * 9 + [1]

    async def test_rows_to_insert_come_with_a_change_only(self, directory: Directory) -> None:
        await directory.insert(sample(Webhook, fed=1))
        for fed, wanted in ((1, 1), (1, 0)):
            where, new = (Where("id", "hook"), Where("fed", fed)), sample(Delivery, id=f"d{wanted}")
            assert (
                await directory.update(Webhook, *where, values={"fed": 2}, insert=[new]) == wanted
            )
        assert [row.id for row in await directory.select(Delivery)] == ["d1"]

    async def test_a_change_that_conflicts_changes_nothing(self, directory: Directory) -> None:
        await directory.insert(sample(Account), sample(Account, id="b", email="b"), *members("a"))
        taken = {"email": "b", "name": "New"}
        with pytest.raises(ConflictError):
            await directory.update(Account, Where("id", "acc"), values=taken)
        with pytest.raises(ConflictError):
            await directory.update(
                Account, Where("id", "acc"), values={"name": "New"}, insert=members("n", "a")
            )
        assert (await directory.select(Account, Where("id", "acc"))) == [sample(Account)]
        assert await emails(directory) == ["a"]

    async def test_a_deletion_takes_the_rows_meant(self, directory: Directory) -> None:
        await directory.insert(*members("a", "b"), *members("a", project="blue"))
        assert await directory.delete(Member, Where("project", "red"), Where("email", "a")) == 1
        assert await directory.count(Member) == 2
        assert await directory.delete(Member, Where("project", "red")) == 1
        assert await directory.delete(Member, Where("project", "red")) == 0
        assert await emails(directory) == ["a"]

    async def test_without_a_condition_nothing_is_changed(self, directory: Directory) -> None:
        await directory.insert(*members("a"))
        with pytest.raises(ValidationError):
            await directory.update(Member, values={"role": "READER"})
        with pytest.raises(ValidationError):
            await directory.delete(Member)
        assert await directory.select(Member) == members("a")


class StampContract(_Fixtures):
    """`stamp`."""

    async def test_the_stamp_changes_with_every_write_through_any_handle(
        self, make: Any, of: Of
    ) -> None:
        one, other = make(), make()
        for store in (one, other):
            await store.open(SPACE)
        mine, theirs = of(one), of(other)
        seen = [await mine.stamp()]
        for write in (
            lambda: theirs.insert(*members("a")),
            lambda: theirs.update(Member, Where("email", "a"), values={"role": "READER"}),
            lambda: commit(other, PutRows(rows=tuple(members("b")))),
            lambda: theirs.delete(Member, Where("email", "a")),
        ):
            await write()
            seen.append(await mine.stamp())
            assert seen[-1] == await theirs.stamp()
        assert len(set(seen)) == 5
        assert await emails(mine) == ["b"]
        for store in (one, other):
            await store.close()

    async def test_the_stamp_tells_of_stamped_rows_only(
        self, store: Store, directory: Directory
    ) -> None:
        await directory.insert(*members("a"))
        before = await directory.stamp()
        for kind in KINDS:
            if not kind.stamped:
                await directory.insert(sample(kind))
                await directory.delete(kind, _is(sample(kind)))
        await commit(store, put("m", "tea"), PutRows(rows=(sample(Delivery),)))
        assert await directory.stamp() == before


class FeedContract(_Fixtures):
    """`changes`, `last_change`."""

    async def test_changes_of_all_projects_come_in_order(
        self, store: Store, directory: Directory
    ) -> None:
        assert await directory.last_change() == 0
        assert await directory.changes(0, 10) == []
        await commit(store, put("a", "tea", categories=("drinks",)), put("t", "raw", listed=False))
        await commit(store, put("b", "milk"), project=BLUE)
        await commit(store, EditMemory(memory_id="a", at=NOW, text="coffee"))
        await commit(store, RemoveMemories(filter=Compare("id", "eq", "a"), at=NOW))
        found = await directory.changes(0, 10)
        assert [(c.project, c.memory_id, c.event, c.text) for c in found] == [
            (RED, "a", "ADD", "tea"),
            (RED, "t", "ADD", "raw"),
            (BLUE, "b", "ADD", "milk"),
            (RED, "a", "UPDATE", "coffee"),
            (RED, "a", "DELETE", None),
        ]
        assert [change.listed for change in found] == [True, False, True, True, True]
        numbers = [change.no for change in found]
        assert numbers == sorted(set(numbers))
        assert numbers[0] > 0
        assert await directory.last_change() == numbers[-1]

    async def test_a_change_tells_the_categories_there_are(
        self, store: Store, directory: Directory
    ) -> None:
        await commit(store, put("a", "tea", categories=("drinks", "hot")), put("b", "milk"))
        found = await directory.changes(0, 9)
        assert [change.categories for change in found] == [("drinks", "hot"), ()]

    async def test_changes_are_told_from_a_number_on(
        self, store: Store, directory: Directory
    ) -> None:
        await commit(store, *(put(f"m{n}", f"text {n}") for n in range(5)))
        numbers = [change.no for change in await directory.changes(0, 9)]
        for place, number in enumerate(numbers):
            found = [change.no for change in await directory.changes(number, 2)]
            assert found == numbers[place + 1 : place + 3]

    async def test_no_number_is_given_twice(self, store: Store, directory: Directory) -> None:
        """Not even after those who had it are gone."""
        await commit(store, put("a", "tea"), put("b", "milk"))
        last = await directory.last_change()
        await commit(store, Reset())
        await commit(store, put("c", "water"))
        assert [change.memory_id for change in await directory.changes(last, 9)] == ["c"]


class CommitRowsContract(_Fixtures):
    """What commits do to the directory: `PutRows`, `TakeRow`, `Reset`, `RemoveMemories`."""

    async def test_rows_are_stored_with_the_rest_of_a_commit(
        self, store: Store, directory: Directory
    ) -> None:
        result = await commit(store, PutRows(rows=(sample(Delivery), *members("a"))), put("m", "x"))
        assert result == [None, "m"]
        assert await directory.select(Delivery) == [sample(Delivery)]
        with pytest.raises(ConflictError):
            await commit(store, put("n", "y"), PutRows(rows=(*members("b"), sample(Delivery))))
        assert await store.fetch(RED, ["n"]) == []
        assert await emails(directory) == ["a"]

    async def test_a_reset_takes_what_is_about_memories_and_leaves_who_may_do_what(
        self, store: Store, directory: Directory
    ) -> None:
        rows = [sample(kind) for kind in KINDS]
        theirs = [_in_blue(row) for row in rows if "project" in row.__struct_fields__]
        await directory.insert(*rows, *theirs)
        await commit(store, Reset())
        gone = {"deliveries", "feedback", "exports", "held"}
        for row in rows:
            kind = type(row)
            left = await directory.select(kind)
            assert (row in left) == (kind.table not in gone), kind.table
        for row in theirs:
            assert row in await directory.select(type(row)), row.table

    async def test_a_row_is_taken_once_and_with_the_rest_of_its_commit(
        self, store: Store, directory: Directory
    ) -> None:
        theirs = sample(Held, id="theirs", project="blue")
        await directory.insert(sample(Held), sample(Held, id="other"), theirs, sample(Webhook))
        take = TakeRow(kind=Held, id="held")
        assert await commit(store, take, put("m", "tea")) == [None, "m"]
        assert [held.id for held in await directory.select(Held)] == ["other", "theirs"]
        for absent in (take, TakeRow(kind=Held, id="theirs"), TakeRow(kind=Held, id="hook")):
            with pytest.raises(NotFoundError):
                await commit(store, put("n", "milk"), absent)
        assert await store.fetch(RED, ["n"]) == []
        assert await directory.count(Held) == 2
        assert await directory.count(Webhook) == 1

    async def test_taking_a_row_that_decides_who_may_do_what_is_stamped(
        self, store: Store, directory: Directory
    ) -> None:
        await directory.insert(sample(ApiKey), sample(Held))
        before = await directory.stamp()
        await commit(store, TakeRow(kind=Held, id="held"))
        assert await directory.stamp() == before
        await commit(store, TakeRow(kind=ApiKey, id="0a1b2c3d4e5f"))
        assert await directory.stamp() != before

    async def test_held_adds_go_with_all_that_their_entities_have(
        self, store: Store, directory: Directory
    ) -> None:
        """Not with some of it, nor by ids, nor if the history is kept."""
        anns = sample(Held, id="anns", agent_id=None, app_id=None, run_id=None)
        rows = (sample(Held), anns, sample(Held, id="bobs", user_id="bob"))
        theirs = sample(Held, id="theirs", project="blue")
        await directory.insert(*rows, theirs)
        await commit(store, put("m", "tea", user_id="ann"))
        ann = Compare("user_id", "eq", "ann")
        for some in (And((ann, Compare("kind", "eq", "fact"))), Compare("id", "eq", "m")):
            await commit(store, RemoveMemories(filter=some, at=NOW, erase_history=True))
        await commit(store, RemoveMemories(filter=ann, at=NOW))
        assert await directory.count(Held) == 4
        both = And((ann, Compare("run_id", "eq", "r;--")))
        await commit(store, RemoveMemories(filter=both, at=NOW, erase_history=True))
        assert [held.id for held in await directory.select(Held)] == ["anns", "bobs", "theirs"]
        await commit(store, RemoveMemories(filter=ann, at=NOW, erase_history=True))
        assert [held.id for held in await directory.select(Held)] == ["bobs", "theirs"]

    async def test_feedback_and_exports_go_with_the_memories_they_are_about(
        self, store: Store, directory: Directory
    ) -> None:
        kinds = [kind for kind in KINDS if kind.table in ("feedback", "exports")]
        await commit(store, put("m1", "tea"), put("m3", "milk"))
        await commit(store, put("m1", "tea"), project=BLUE)
        rows = [sample(kind) for kind in kinds]
        await directory.insert(*rows, *map(_in_blue, rows))
        await commit(store, RemoveMemories(filter=Compare("id", "eq", "m3"), at=NOW))
        assert [await directory.count(kind) for kind in kinds] == [2, 2]
        await commit(store, RemoveMemories(filter=Compare("id", "eq", "m1"), at=NOW))
        for kind, row in zip(kinds, rows, strict=True):
            assert await directory.select(kind) == [_in_blue(row)]


def _in_blue(row: Any) -> Any:
    """The same row of another project."""
    other = {"project": "blue"} if "project" in row.key else {"project": "blue", "id": "other"}
    return replace(row, **other)


class DirectoryContract(
    RowsContract, ChangeRowsContract, StampContract, FeedContract, CommitRowsContract
):
    """Inherit this, override the fixture `make`, and run it with pytest-asyncio in auto mode."""
