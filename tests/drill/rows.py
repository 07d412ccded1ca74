"""Two stores row by row: every value of every archived table."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

from holdfast.clock import SystemClock
from holdfast.config import Config
from holdfast.ports.archiving import Row, Snapshot
from holdfast.registry import make_archiving

RENEWED = ("numbers", "counters")
"""Of which a restored store has its own."""


async def differences(one: Config, other: Config) -> tuple[Mapping[str, int], list[str]]:
    """How many rows each table has that is equal in both, and which tables are not."""
    first, second = make_archiving(one, SystemClock()), make_archiving(other, SystemClock())
    equal: dict[str, int] = {}
    differ: list[str] = []
    try:
        async with first.snapshot() as before, second.snapshot() as after:
            for table in await before.tables():
                if table.name in RENEWED:
                    continue
                rows, same = await _compared(before, after, table.name)
                if same:
                    equal[table.name] = rows
                else:
                    differ.append(table.name)
    finally:
        await first.close()
        await second.close()
    return equal, differ


async def _compared(before: Snapshot, after: Snapshot, table: str) -> tuple[int, bool]:
    """Row by row; memory stays flat."""
    rows, mine, theirs = 0, _rows(before, table), _rows(after, table)
    columns = [
        next(one.columns for one in await each.tables() if one.name == table)
        for each in (before, after)
    ]
    places = [columns[1].index(column) for column in columns[0]]
    while (row := await anext(mine, None)) is not None:
        found = await anext(theirs, None)
        if found is None or list(row) != [found[place] for place in places]:
            return rows, False
        rows += 1
    return rows, await anext(theirs, None) is None


async def _rows(snapshot: Snapshot, table: str) -> AsyncIterator[Row]:
    async for some in snapshot.rows(table):
        for row in some:
            yield row
