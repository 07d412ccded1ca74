"""The contract of `ports.audit.Trail`, and of what writes it, sentence by sentence."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from holdfast.core.audit import Check, mac_of_head, mac_of_row, subject_mark, unmasked
from holdfast.directory import Member, Where
from holdfast.errors import ConflictError, ValidationError
from holdfast.filters import Compare
from holdfast.model import Project
from holdfast.ports import Directory, EditMemory, PutAudit, RemoveMemories, Reset
from holdfast.ports.audit import Trail
from holdfast.testing.contracts.fixtures import StoreFixtures
from holdfast.testing.contracts.rows import sample
from holdfast.testing.contracts.values import BLUE, NOW, RED, SPACE, Make, commit, put
from holdfast.testing.replica import Store
from holdfast.trail import AuditRow, Fault

TrailOf = Callable[[Store], Trail]
DirectoryOf = Callable[[Store], Directory]


def told(action: str = "search", project: str = RED, **fields: Any) -> AuditRow:
    """A row that is not in a chain yet."""
    given: dict[str, Any] = {
        "project": project,
        "at": NOW,
        "action": action,
        "sort": "read",
        "outcome": "ok",
        "principal": "k1",
        "principal_kind": "key",
        "via": "http",
        **fields,
    }
    return AuditRow(**given)


WHOLE = told(
    "update",
    at=NOW + 0.1,
    sort="write",
    outcome="failed",
    code="CONFLICT",
    principal="日本 '9'",
    principal_kind="token",
    via="mcp",
    address="2001:db8::1",
    request_id="r-1",
    user_id="alice",
    agent_id="*",
    app_id="",
    run_id="r;--",
    target="m1",
    count=2**40,
)
"""A row with every field set."""


def audit(*actions: str, project: str = RED, **fields: Any) -> PutAudit:
    """Rows of these actions."""
    return PutAudit(rows=tuple(told(action, project, **fields) for action in actions))


async def rows(trail: Trail, project: Project = RED, *where: Where, **how: Any) -> list[AuditRow]:
    """The rows of a project."""
    return list(await trail.rows(project, *where, **{"size": 100, **how}))


REST = (("app", ""), ("run", "r;--"))


async def names(trail: Trail, *named: tuple[str, str]) -> dict[str, str]:
    """The names behind marks, of some kinds and ids."""
    key = (await trail.keys())["store"]
    return {subject_mark(key, RED, kind, name): name for kind, name in named}


async def actions(trail: Trail, *where: Where, **how: Any) -> list[str]:
    """The actions of the rows of a project, as they are told."""
    return [row.action for row in await rows(trail, RED, *where, **how)]


async def checked(trail: Trail, project: Project = RED) -> Fault | None:
    """What is wrong with the chain of a project."""
    [chain] = await trail.chains(project)
    check = Check(chain.head, await trail.keys())
    found: Sequence[AuditRow] = await rows(trail, project, after=chain.head.base_no)
    assert chain.last_no == chain.head.no
    return check.begin() or check.page(found) or check.end()


class _Fixtures(StoreFixtures):
    @pytest.fixture
    def trail_of(self) -> TrailOf:
        """How a store's audit is got; for authors to override if it is not `.trail`."""
        return lambda store: store.trail  # type: ignore[attr-defined]

    @pytest.fixture
    def of(self) -> DirectoryOf:
        """How a store's directory is got; for authors to override if it is not `.directory`."""
        return lambda store: store.directory

    @pytest.fixture
    def trail(self, store: Store, trail_of: TrailOf) -> Trail:
        """The audit of `store`."""
        return trail_of(store)

    @pytest.fixture
    def directory(self, store: Store, of: DirectoryOf) -> Directory:
        """The directory of `store`."""
        return of(store)


class AuditContract(_Fixtures):
    """Inherit this, override the fixture `make`, and run it with pytest-asyncio in auto mode."""

    async def test_a_row_comes_back_whole(self, store: Store, trail: Trail) -> None:
        await commit(store, PutAudit(rows=(WHOLE,)))
        [row] = unmasked(await rows(trail), await names(trail, ("user", "alice"), *REST))
        own = ("no", "keyed", "previous", "hash")
        for name in AuditRow.__struct_fields__:
            if name not in own:
                assert getattr(row, name) == getattr(WHOLE, name), name
        [stored] = await rows(trail)
        key = (await trail.keys())[row.keyed]
        assert (row.no, row.previous, row.hash) == (1, "", mac_of_row(key, stored))

    async def test_those_it_is_about_are_not_named(self, store: Store, trail: Trail) -> None:
        await commit(store, PutAudit(rows=(WHOLE,)), audit("b", user_id="bob"))
        found = await rows(trail)
        key = (await trail.keys())["store"]
        assert found[0].user_id == subject_mark(key, RED, "user", "alice")
        assert (found[0].agent_id, found[0].run_id) == ("*", subject_mark(key, RED, "run", "r;--"))
        assert found[1].user_id not in (None, "bob", found[0].user_id)
        assert await checked(trail) is None

    async def test_rows_are_numbered_and_linked_in_their_order(
        self, store: Store, trail: Trail
    ) -> None:
        await commit(store, audit("a", "b"))
        await commit(store, audit("c"))
        found = await rows(trail)
        assert [(row.no, row.action) for row in found] == [(1, "a"), (2, "b"), (3, "c")]
        assert [row.previous for row in found] == ["", found[0].hash, found[1].hash]
        assert await checked(trail) is None

    async def test_each_project_has_its_own_chain(self, store: Store, trail: Trail) -> None:
        await commit(store, audit("a"))
        await commit(store, audit("x", "y", project=BLUE), project=BLUE)
        assert await actions(trail) == ["a"]
        chains = await trail.chains()
        assert [(each.head.project, each.head.no) for each in chains] == [(BLUE, 2), (RED, 1)]
        assert [each.head.project for each in await trail.chains(RED)] == [RED]
        assert list(await trail.chains(Project("green"))) == []
        assert [await checked(trail, each) for each in (RED, BLUE)] == [None, None]

    async def test_the_head_is_signed(self, store: Store, trail: Trail) -> None:
        await commit(store, audit("a", "b"))
        [(head, last)] = await trail.chains(RED)
        found = await rows(trail)
        assert (head.no, head.hash, head.base_no, last) == (2, found[1].hash, 0, 2)
        keys = await trail.keys()
        assert head.mac == mac_of_head(keys[head.keyed], head)
        assert head.keyed == found[0].keyed == [*keys][-1]

    async def test_the_key_is_a_secret_that_every_handle_has(
        self, make: Make, trail_of: TrailOf
    ) -> None:
        one, other = make(), make()
        for handle in (one, other):
            await handle.open(SPACE)
        await commit(one, audit("a"))
        await commit(other, audit("b"))
        keys = await trail_of(one).keys()
        assert keys == await trail_of(other).keys()
        assert all(len(key) >= 16 and len(set(key)) > 4 for key in keys.values())
        assert await checked(trail_of(other)) is None
        for handle in (one, other):
            await handle.close()

    async def test_a_row_stands_with_its_commit_or_not_at_all(
        self, store: Store, trail: Trail
    ) -> None:
        await commit(store, put("m", "tea"), audit("a"))
        with pytest.raises(ConflictError):
            await commit(store, audit("b"), put("m", "coffee", identity=b"another"))
        assert await actions(trail) == ["a"]
        await commit(store, audit("c"))
        assert [row.no for row in await rows(trail)] == [1, 2]

    async def test_the_result_of_a_row_is_none(self, store: Store) -> None:
        assert await commit(store, audit("a"), put("m", "tea")) == [None, "m"]

    async def test_a_row_of_another_project_is_refused(self, store: Store, trail: Trail) -> None:
        with pytest.raises(ValidationError):
            await commit(store, put("m", "tea"), audit("a", project=BLUE))
        assert list(await trail.chains()) == []
        assert await store.fetch(RED, ["m"]) == []

    async def test_a_row_without_a_count_gets_that_of_its_commit(
        self, store: Store, trail: Trail
    ) -> None:
        await commit(store, audit("add"), put("m", "tea"), put("n", "milk"))
        await commit(store, audit("given", count=7), put("o", "juice"))
        await commit(store, EditMemory(memory_id="m", at=NOW), audit("edit"))
        await commit(store, EditMemory(memory_id="none", at=NOW), audit("missed"))
        gone = RemoveMemories(filter=Compare("user_id", "eq", "alice"), at=NOW)
        await commit(store, gone, audit("remove"))
        await commit(store, audit("nothing"))
        counts = {row.action: row.count for row in await rows(trail)}
        assert counts == {
            "add": 2, "given": 7, "edit": 1, "missed": 0, "remove": 3, "nothing": 0
        }  # fmt: skip

    async def test_commits_at_once_leave_one_chain(self, store: Store, trail: Trail) -> None:
        calls = [commit(store, put(f"m{n}", f"tea {n}"), audit(f"a{n}")) for n in range(20)]
        await asyncio.gather(*calls)
        assert [row.no for row in await rows(trail)] == [*range(1, 21)]
        assert await checked(trail) is None

    async def test_a_reset_leaves_the_audit(self, store: Store, trail: Trail) -> None:
        await commit(store, put("m", "tea"), audit("a"))
        await commit(store, Reset(), audit("reset"))
        assert await actions(trail) == ["a", "reset"]
        assert await checked(trail) is None

    async def test_rows_are_told_by_number_and_condition(self, store: Store, trail: Trail) -> None:
        await commit(store, audit("a", "b", user_id="ann"), audit("c", user_id="*", at=NOW + 9))
        await commit(store, audit("d", outcome="denied", code="FORBIDDEN"))
        assert await actions(trail, after=1) == ["b", "c", "d"]
        assert await actions(trail, upto=2) == ["a", "b"]
        assert await actions(trail, after=1, upto=3) == ["b", "c"]
        assert await actions(trail, newest_first=True) == ["d", "c", "b", "a"]
        assert await actions(trail, newest_first=True, size=2) == ["d", "c"]
        assert await actions(trail, size=2) == ["a", "b"]
        [ann] = await names(trail, ("user", "ann"))
        assert await actions(trail, Where("user_id", (ann, "*"), "in")) == ["a", "b", "c"]
        assert await actions(trail, Where("user_id", ann), Where("action", "b")) == ["b"]
        assert await actions(trail, Where("at", NOW, "gt")) == ["c"]
        assert await actions(trail, Where("code", None)) == ["a", "b", "c"]
        with pytest.raises(ValidationError):
            await actions(trail, Where("no = 1 --", 1))

    async def test_pruning_moves_the_beginning(self, store: Store, trail: Trail) -> None:
        await commit(store, audit(*"abcdef"))
        hashes = [row.hash for row in await rows(trail)]
        assert await trail.prune(RED, 3, 2) == 2
        assert await trail.prune(RED, 3, 2) == 1
        assert await trail.prune(RED, 3, 2) == 0
        assert await actions(trail) == ["d", "e", "f"]
        [(head, _)] = await trail.chains(RED)
        assert (head.base_no, head.base_hash, head.no) == (3, hashes[2], 6)
        assert await checked(trail) is None
        await commit(store, audit("g"))
        assert await checked(trail) is None
        assert [row.no for row in await rows(trail)] == [4, 5, 6, 7]

    async def test_the_last_row_stays(self, store: Store, trail: Trail) -> None:
        await commit(store, audit(*"abc"))
        await commit(store, audit("x", project=BLUE), project=BLUE)
        assert await trail.prune(RED, 10**6, 100) == 2
        assert await actions(trail) == ["c"]
        assert [row.action for row in await rows(trail, BLUE)] == ["x"]
        assert await checked(trail) is None
        assert await trail.prune(Project("green"), 5, 5) == 0

    async def test_new_rows_of_the_directory_take_a_row_along(
        self, directory: Directory, trail: Trail
    ) -> None:
        members = [sample(Member, email=email) for email in ("a", "b")]
        await directory.insert(*members, told("set"), told("other", BLUE, count=9))
        with pytest.raises(ConflictError):
            await directory.insert(told("again"), members[0])
        [row] = await rows(trail)
        assert (row.action, row.count) == ("set", 2)
        [other] = await rows(trail, BLUE)
        assert (other.action, other.count) == ("other", 9)
        assert await checked(trail) is None

    async def test_changes_of_the_directory_take_a_row_along(
        self, directory: Directory, trail: Trail
    ) -> None:
        await directory.insert(*(sample(Member, email=email) for email in "abc"))
        mine, nobody = Where("email", ("a", "b"), "in"), Where("email", "?")
        values = {"role": "READER"}
        await directory.update(Member, mine, values=values, insert=[told("change")])
        await directory.update(Member, nobody, values=values, insert=[told("missed")])
        await directory.delete(Member, nobody, insert=[told("gone")])
        await directory.delete(Member, mine, insert=[told("delete"), sample(Member, email="d")])
        assert [(row.action, row.count) for row in await rows(trail)] == [
            ("change", 2), ("delete", 2)
        ]  # fmt: skip
        assert sorted(row.email for row in await directory.select(Member)) == ["c", "d"]
        assert await checked(trail) is None

    async def test_the_audit_outlives_the_handle(self, make: Make, trail_of: TrailOf) -> None:
        first = make()
        await first.open(SPACE)
        await commit(first, audit("a"))
        await first.close()
        second = make()
        await second.open(SPACE)
        await commit(second, audit("b"))
        assert await actions(trail_of(second)) == ["a", "b"]
        assert await checked(trail_of(second)) is None
        await second.close()
