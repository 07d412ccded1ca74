"""Faults planted in the reference store, about one for each sentence of `ports`: each is caught.

A contract that a broken store fulfils would promise nothing; nor would a sentence no fault breaks.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from types import ModuleType
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from holdfast.backends.memory.records import MemoryRecords
from holdfast.backends.memory.records import Store as Shared
from holdfast.clock import Ids, ManualClock, seeded_ids
from holdfast.testing.contracts.jobs import JobsContract
from holdfast.testing.contracts.records import RecordsContract
from holdfast.testing.contracts.values import SPACE
from holdfast.testing.machines import RecordsMachine
from holdfast.testing.replica import Store
from tests.contract import planted_reads, planted_usage, planted_writes
from tests.contract.planted_reads import Broken
from tests.contract.planted_writes import Faulty

BrokenStore = type[MemoryRecords]


def classes(module: ModuleType, base: type) -> list[type[Any]]:
    """The faults of a module."""
    found = [each for each in vars(module).values() if inspect.isclass(each)]
    named = {base, *base.__mro__, *(other for each in found for other in each.__bases__)}
    return [each for each in found if issubclass(each, base) and each not in named]


def broken_stores() -> dict[str, BrokenStore]:
    """Every fault as a kind of store."""
    reads = [*classes(planted_reads, Broken), *classes(planted_usage, Broken)]
    writes = [*classes(planted_writes, Faulty), *classes(planted_usage, Faulty)]
    stores = {each.__name__: each for each in reads}
    for fault in writes:
        stores[fault.__name__] = type(fault.__name__, (MemoryRecords,), {"transaction": fault})
    return stores


FAULTS = broken_stores()
CONTRACTS = (RecordsContract, JobsContract)


def sentences() -> Iterator[tuple[type, str]]:
    """The tests of the contracts."""
    for contract in CONTRACTS:
        for name, _ in inspect.getmembers(contract, inspect.iscoroutinefunction):
            if name.startswith("test_"):
                yield contract, name


async def holds(contract: type, name: str, kind: BrokenStore, ids: Ids) -> bool:
    """Whether a kind of store keeps one sentence."""
    shared = Shared()

    def make() -> Store:
        return kind(shared, ids)

    test: Callable[..., Any] = getattr(contract(), name)
    wanted = inspect.signature(test).parameters
    given: dict[str, Any] = {"make": make} if "make" in wanted else {}
    try:
        if "store" in wanted:
            given["store"] = make()
            await given["store"].open(SPACE)
        await test(**given)
    except (Exception, pytest.fail.Exception):  # noqa: BLE001  (any failure is a failure)
        return False
    return True


@cache
def seen() -> dict[str, set[str]]:
    """Filled by the tests: of each fault, the sentences it breaks."""
    return {}


async def broken_by(kind: BrokenStore) -> set[str]:
    """The sentences a kind of store does not keep."""
    ids = seeded_ids(ManualClock(), seed=3)
    return {name for contract, name in sentences() if not await holds(contract, name, kind, ids)}


async def test_the_reference_breaks_no_sentence() -> None:
    assert await broken_by(MemoryRecords) == set()
    assert len(list(sentences())) > 80
    assert len(FAULTS) > 80


@pytest.mark.parametrize("name", FAULTS)
async def test_a_planted_fault_is_caught(name: str) -> None:
    seen()[name] = await broken_by(FAULTS[name])
    assert seen()[name], "no sentence of the contract is broken"


async def test_every_sentence_has_been_seen_to_fail() -> None:
    for name, kind in FAULTS.items():
        if name not in seen():
            seen()[name] = await broken_by(kind)
    caught = set().union(*seen().values())
    assert {name for _, name in sentences()} - caught == set()


@pytest.mark.parametrize(
    "name",
    ["KeepsTheIdentity", "EndsTurnsInUse", "ForgetsRemovals", "SparesGenerations", "OldestFirst"],
)
def test_the_machine_catches_planted_faults(name: str) -> None:
    class Planted(RecordsMachine):
        def make(self) -> Store:
            return FAULTS[name](self._tables, self.ids)

        def teardown(self) -> None:
            with suppress(Exception):
                super().teardown()

    with pytest.raises(AssertionError):
        run_state_machine_as_test(
            Planted,
            settings=settings(
                max_examples=60, stateful_step_count=25, phases=[Phase.generate], print_blob=False
            ),
        )
