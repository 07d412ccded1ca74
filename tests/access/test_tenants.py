"""No tenant ever learns anything of another: random operations by many, against a model."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from holdfast.admin import AsyncAdmin
from holdfast.backends.index.embedded import EmbeddedIndex
from holdfast.backends.sql import queries
from holdfast.backends.sqlite.records import SqliteRecords
from holdfast.errors import HoldfastError
from holdfast.model import DEFAULT_PROJECT
from tests.access.campaign import Campaign
from tests.access.tenants import Leak

OPERATIONS = int(os.environ.get("HOLDFAST_TENANT_OPERATIONS", "100000"))
"""The promise is 100,000 in CI."""

Plant = Callable[[pytest.MonkeyPatch], None]


@pytest.fixture
async def deployment(tmp_path: Path) -> AsyncIterator[AsyncAdmin]:
    async with AsyncAdmin({"path": str(tmp_path / "store"), "workers": 0}) as opened:
        yield opened


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("half", [1, 2])
async def test_no_tenant_learns_anything_of_another(half: int, deployment: AsyncAdmin) -> None:
    """In two halves, which two cores do side by side."""
    campaign = Campaign(deployment, seed=half)
    await campaign.begin()
    await campaign.run(OPERATIONS // 2)
    assert campaign.done.total() >= OPERATIONS // 2
    assert min(campaign.done.values()) > OPERATIONS / 4_000, "a kind of call was hardly made"


# ------------------------------------------------------------------------------ faults


def fence_dropped(*names: str) -> Plant:
    """The verb forgets whom it works for."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        for name in names:
            patch.setattr(f"holdfast.engine.{name}.fenced", lambda fence, wanted: wanted)
            if name == "search":
                patch.setattr(f"holdfast.engine.{name}.covers_inside", lambda fence, covers: covers)
                patch.setattr(
                    "holdfast.backends.index.working_set.inside", lambda warm, fence, entity: warm
                )

    return plant


def all_inside(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("holdfast.engine.read.inside", lambda fence, scope: True)


def deletes_anything(patch: pytest.MonkeyPatch) -> None:
    """What is to be deleted is looked up within the fence first, and deleted within it."""

    async def all_of(parts: Any, ids: Any) -> Any:
        return await parts.records.fetch(parts.project, ids)

    fence_dropped("delete")(patch)
    patch.setattr("holdfast.engine.delete.inside_of", all_of)


def anybody_writes(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("holdfast.engine.add.check_inside", lambda fence, scope: None)


def replaced(owner: Any, name: str, spoil: Callable[..., Any]) -> Plant:
    """A method of the store that forgets the project: its first argument becomes another."""
    honest = getattr(owner, name)

    def plant(patch: pytest.MonkeyPatch) -> None:
        def wrong(self: Any, project: Any, *rest: Any) -> Any:
            return honest(self, spoil(project), *rest)

        patch.setattr(owner, name, wrong)

    return plant


def elsewhere(_project: object) -> object:
    return DEFAULT_PROJECT


def told_apart(patch: pytest.MonkeyPatch) -> None:
    """The error for what belongs to others is another one."""
    honest = queries.fetch

    def fetch(connection: Any, project: Any, ids: Any) -> Any:
        found = honest(connection, project, ids)
        if not found and ids:
            row = connection.execute("SELECT 1 FROM memories WHERE id = ?", (ids[0],)).fetchone()
            if row is not None:
                raise HoldfastError("It belongs to somebody else.")
        return found

    patch.setattr(queries, "fetch", fetch)


def warm_for_everybody(patch: pytest.MonkeyPatch) -> None:
    """Working sets are kept by entity alone."""
    honest = EmbeddedIndex._current
    known: dict[Any, Any] = {}

    async def current(self: Any, project: Any, entity: Any, state: Any = None) -> Any:
        return await honest(self, known.setdefault(entity, project), entity, state)

    patch.setattr(EmbeddedIndex, "_current", current)


FAULTS: dict[str, Plant] = {
    "fence dropped in search": fence_dropped("search"),
    "fence dropped in listings": fence_dropped("read"),
    "fence dropped in deletions": deletes_anything,
    "fence dropped by id": all_inside,
    "fence dropped in add": anybody_writes,
    "project dropped in fetch": replaced(SqliteRecords, "fetch", elsewhere),
    "project dropped in page": replaced(SqliteRecords, "page", elsewhere),
    "project dropped in history": replaced(SqliteRecords, "history", elsewhere),
    "project dropped in entities": replaced(SqliteRecords, "entities", elsewhere),
    "project dropped in stats": replaced(SqliteRecords, "stats", elsewhere),
    "project dropped in job": replaced(SqliteRecords, "job", elsewhere),
    "project dropped in jobs": replaced(SqliteRecords, "jobs", elsewhere),
    "project dropped in the index": warm_for_everybody,
    "others are told apart from nobody": told_apart,
}


@pytest.mark.parametrize("name", FAULTS)
async def test_a_planted_fault_is_a_leak(
    name: str, deployment: AsyncAdmin, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = Campaign(deployment, seed=2, filters=120)
    await campaign.begin()
    await campaign.run(500)
    FAULTS[name](monkeypatch)
    kind = HoldfastError if FAULTS[name] is told_apart else Leak
    with pytest.raises(kind):
        await campaign.run(campaign.done.total() + 4_000)
