"""Room in budgets: held for all or for none, settled, and never given twice."""

from __future__ import annotations

import asyncio

from holdfast.directory import Spending, Where
from holdfast.model import Project
from holdfast.ports import Hold, HoldBudget, SettleBudget
from holdfast.testing.contracts.fixtures import StoreFixtures
from holdfast.testing.contracts.values import BLUE, NOW, RED, SPACE, Make, commit
from holdfast.testing.replica import Store


def hold(amount: int, limit: int | None = 100, budget: str = "b", subject: str = "ann") -> Hold:
    """Room in a budget of 100."""
    return Hold(budget=budget, subject=subject, since=NOW, amount=amount, limit=limit)


async def held(store: Store, *holds: Hold, project: Project = RED) -> list[int]:
    """What each had before."""
    [before] = await commit(store, HoldBudget(holds=holds), project=project)
    found: list[int] = before
    return found


async def spending(
    store: Store, budget: str = "b", project: Project = RED
) -> dict[str, tuple[int, int]]:
    """What each subject has spent and held."""
    where = Where("project", project), Where("budget", budget)
    rows = await store.directory.select(Spending, *where)
    return {row.subject: (row.spent, row.held) for row in rows if row.spent or row.held}


class BudgetContract(StoreFixtures):
    """`HoldBudget` and `SettleBudget`."""

    async def test_room_is_held_while_there_is_some(self, store: Store) -> None:
        assert await held(store, hold(60)) == [0]
        assert await held(store, hold(41)) == [60]
        assert await spending(store) == {"ann": (0, 60)}
        assert await held(store, hold(40)) == [60]
        assert await held(store, hold(1)) == [100]
        assert await held(store, hold(5, None)) == [100], "held in any case"
        assert await spending(store) == {"ann": (0, 105)}

    async def test_room_is_held_in_all_or_in_none(self, store: Store) -> None:
        holds = hold(10, budget="a"), hold(10, 9, "z"), hold(10, None, "c")
        assert await held(store, *holds) == [0, 0, 0]
        for budget in "azc":
            assert await spending(store, budget) == {}
        assert await held(store, *holds[::2]) == [0, 0]
        assert await held(store, hold(1, budget="c"), hold(1, budget="a")) == [10, 10]

    async def test_what_was_held_becomes_what_was_spent(self, store: Store) -> None:
        await held(store, hold(60), hold(60, budget="c", subject=""))
        end = SettleBudget(holds=(hold(60), hold(60, budget="c", subject="")), spent=(20, 61))
        assert await commit(store, end) == [None]
        assert await spending(store) == {"ann": (20, 0)}
        assert await spending(store, "c") == {"": (61, 0)}
        assert await held(store, hold(80), hold(80, subject="bob")) == [20, 0]
        assert await spending(store) == {"ann": (20, 80), "bob": (0, 80)}

    async def test_a_budget_that_was_removed_is_passed_over(self, store: Store) -> None:
        await held(store, hold(60))
        await store.directory.delete(Spending, Where("budget", "b"))
        await commit(store, SettleBudget(holds=(hold(60),), spent=(20,)))
        assert await spending(store) == {}

    async def test_projects_have_budgets_of_their_own(self, store: Store) -> None:
        await held(store, hold(60))
        assert await held(store, hold(60), project=BLUE) == [0]
        await commit(store, SettleBudget(holds=(hold(60),), spent=(1,)), project=BLUE)
        assert await spending(store) == {"ann": (0, 60)}
        assert await spending(store, project=BLUE) == {"ann": (1, 0)}

    async def test_many_at_once_never_hold_more_than_there_is(
        self, make: Make, store: Store
    ) -> None:
        other = make()
        await other.open(SPACE)
        wanted = (hold(7), hold(7, 60, "c"))
        before = await asyncio.gather(
            *(held(handle, *wanted) for handle in (store, other) for _ in range(15))
        )
        good = [each for each in before if each[0] + 7 <= 100 and each[1] + 7 <= 60]
        assert len(good) == 60 // 7
        assert await spending(store, "c") == await spending(other) == {"ann": (0, 56)}
        await other.close()
