"""What `usage` tells of the ledger."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from holdfast.model import Cost, Project, Scope, Usage
from holdfast.ports import PutSpared, PutUsage, Reset, UsageGroup, UsageQuery, UsageSum
from holdfast.testing.contracts.fixtures import StoreFixtures
from holdfast.testing.contracts.values import BLUE, RED, commit
from holdfast.testing.replica import Store

DAY = 86_400.0
MIDNIGHT = 1_700_006_400.0
"""2023-11-15 in UTC."""


def call(
    at: float = MIDNIGHT,
    *,
    nano: int | None = 10,
    model: str = "tests:small",
    operation: str = "add",
    user: str | None = "ann",
    key: str | None = None,
) -> PutUsage:
    """A row of 100 tokens of input, 60 cached, 5 put into the cache, and 7 of output."""
    usage = Usage(
        model=model, input_tokens=100, cached_tokens=60, cache_write_tokens=5, output_tokens=7
    )
    return PutUsage(
        usage=usage,
        operation=operation,
        scope=Scope(user_id=user, agent_id="guide", app_id="app", run_id="run"),
        at=at,
        key_id=key,
        cost=None if nano is None else Cost(nano_usd=nano, version="v1"),
    )


def asked(
    *by: UsageGroup,
    since: float = MIDNIGHT,
    before: float = MIDNIGHT + 9 * DAY,
    where: Sequence[tuple[UsageGroup, str]] = (),
) -> UsageQuery:
    """A question about nine days."""
    return UsageQuery(since=since, before=before, by=by, where=tuple(where))


async def groups(
    store: Store, query: UsageQuery, project: Project | None = RED
) -> dict[tuple[str | None, ...], tuple[int, int, int]]:
    """Calls, cost and unpriced calls of each group."""
    found = await store.usage(project, query)
    told = {one.group: (one.calls, one.nano_usd, one.unpriced) for one in found}
    assert len(told) == len(found)
    return told


class UsageContract(StoreFixtures):
    """`usage`: sums over the ledger."""

    async def test_everything_is_summed(self, store: Store) -> None:
        nothing = UsageSum()
        assert await store.usage(RED, asked()) == [nothing]
        assert await store.usage(RED, asked("user")) == []
        await commit(store, call(), call(nano=2**40), call(nano=None))
        [total] = await store.usage(RED, asked())
        assert total == UsageSum(
            calls=3,
            input_tokens=300,
            cached_tokens=180,
            cache_write_tokens=15,
            output_tokens=21,
            nano_usd=10 + 2**40,
            unpriced=1,
        )

    async def test_what_was_saved_is_summed_and_is_no_call(self, store: Store) -> None:
        spared = PutSpared(
            model="tests:small", operation="search", at=MIDNIGHT, calls=3, tokens=40, nano_usd=5
        )
        unpriced = replace(spared, calls=0, tokens=2, nano_usd=None)
        await commit(store, spared, replace(call(), saved_nano_usd=4), unpriced)
        [total] = await store.usage(RED, asked())
        assert (total.calls, total.nano_usd, total.unpriced) == (1, 10, 0)
        assert (total.saved_nano_usd, total.input_tokens) == (4, 100)
        told = (total.spared_calls, total.spared_tokens, total.spared_nano_usd)
        assert told == (3, 42, 5)
        found = await store.usage(RED, asked("user", "operation", "model", "key"))
        assert {one.group: (one.calls, one.spared_calls) for one in found} == {
            ("ann", "add", "tests:small", None): (1, 0),
            (None, "search", "tests:small", None): (0, 3),
        }
        assert await groups(store, asked("day", where=[("operation", "search")])) == {
            ("2023-11-15",): (0, 0, 0)
        }
        await commit(store, spared, project=BLUE)
        assert (await store.usage(BLUE, asked()))[0].spared_calls == 3
        assert (await store.usage(RED, asked()))[0].spared_calls == 3

    async def test_calls_are_grouped_by_what_they_share(self, store: Store) -> None:
        rows = [
            call(),
            call(operation="search", user=None, key="k1"),
            call(model="tests:large", nano=None, key="k1"),
        ]
        await commit(store, *rows)
        assert await groups(store, asked("operation")) == {
            ("add",): (2, 10, 1),
            ("search",): (1, 10, 0),
        }
        assert await groups(store, asked("key", "model")) == {
            (None, "tests:small"): (1, 10, 0),
            ("k1", "tests:small"): (1, 10, 0),
            ("k1", "tests:large"): (1, 0, 1),
        }
        assert await groups(store, asked("user")) == {("ann",): (2, 10, 1), (None,): (1, 10, 0)}
        every = await groups(store, asked("agent", "app", "run", "project"))
        assert every == {("guide", "app", "run", RED): (3, 20, 1)}

    async def test_a_day_is_of_utc(self, store: Store) -> None:
        await commit(store, call(MIDNIGHT), call(MIDNIGHT + DAY - 0.25), call(MIDNIGHT + DAY))
        assert await groups(store, asked("day")) == {
            ("2023-11-15",): (2, 20, 0),
            ("2023-11-16",): (1, 10, 0),
        }

    async def test_only_calls_of_the_time_and_the_values_asked_for(self, store: Store) -> None:
        await commit(
            store,
            call(MIDNIGHT - 1, nano=1),
            call(MIDNIGHT, nano=2),
            call(MIDNIGHT + 5, user="bob", key="k", nano=4),
            call(MIDNIGHT + 9 * DAY, nano=8),
        )
        assert await groups(store, asked()) == {(): (2, 6, 0)}
        bob: list[tuple[UsageGroup, str]] = [("user", "bob"), ("key", "k"), ("agent", "guide")]
        assert await groups(store, asked(where=bob)) == {(): (1, 4, 0)}
        assert await groups(store, asked("user", where=[("user", "nobody")])) == {}
        assert await groups(store, asked(where=[("model", "x")])) == {(): (0, 0, 0)}

    async def test_a_project_knows_its_own_calls(self, store: Store) -> None:
        await commit(store, call(nano=1))
        await commit(store, call(nano=2), project=BLUE)
        assert await groups(store, asked()) == {(): (1, 1, 0)}
        every = await groups(store, asked("project"), None)
        assert every == {(RED,): (1, 1, 0), (BLUE,): (1, 2, 0)}
        await commit(store, Reset(), project=BLUE)
        assert await groups(store, asked("project"), None) == {(RED,): (1, 1, 0)}
