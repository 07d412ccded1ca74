"""`ports.IndexSource` on the tables of the reference store: obviously right, and slow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from holdfast.backends.memory.rows import Row
from holdfast.backends.memory.tables import raw
from holdfast.core.points import point_of
from holdfast.core.view import Entry
from holdfast.core.visibility import expiry_instant
from holdfast.model import Entity, Project
from holdfast.ports import Changes, Excerpt, Point, Standing, build_number, held_number

if TYPE_CHECKING:
    from holdfast.backends.memory.records import MemoryRecords

_AROUND = 3


class MemoryIndexing:
    """What an external index asks of a `MemoryRecords`."""

    def __init__(self, records: MemoryRecords) -> None:
        self._records = records

    async def standing(self, project: Project, entity: Entity, index: str) -> Standing:
        known = self._records.tables.index_numbers
        build = known.get(build_number(index), 0)
        held = known.get(held_number(index, build, project), -1)
        now = await self._records.state(project, entity)
        return Standing(
            generation=now.generation,
            memories=now.memories,
            build=build,
            held=held if held >= self._floor(project) else -1,
        )

    async def excerpt(
        self, project: Project, entity: Entity, ids: Sequence[str], latest: int
    ) -> Excerpt:
        rows = self._records.tables.holds(project, entity)
        wanted = set(range(len(rows) - min(latest, len(rows)), len(rows)))
        for place, row in enumerate(rows):
            if row.memory.id in ids:
                mine = [n for n, other in enumerate(rows) if _same(row, other, entity)]
                at = mine.index(place)
                wanted.update(mine[max(0, at - _AROUND) : at + _AROUND + 1])
        chosen = [rows[place] for place in sorted(wanted)]
        ids_ = {row.memory.id for row in chosen}
        told = tuple(
            pair for pair in told_pairs(rows, {row.no for row in chosen}) if pair[0] in ids_
        )
        facts = {fact for _, fact in told}
        chosen = [row for row in rows if row in chosen or row.memory.id in facts]
        return Excerpt(
            entries=tuple(map(entry_of, chosen)),
            memories=tuple(row.memory for row in chosen),
            told=told,
        )

    async def dated(
        self, project: Project, entity: Entity, spans: Sequence[tuple[float, float]], limit: int
    ) -> list[str]:
        rows = self._records.tables.holds(project, entity)
        found = [
            row.memory.id
            for row in rows
            if any(start <= row.memory.event_at < end for start, end in spans)
        ]
        return found[::-1][:limit]

    async def touched(self, since: int) -> tuple[Mapping[Project, int], int]:
        tables = self._records.tables
        found: dict[Project, int] = {}
        last = [(project, when.generation) for (project, _), when in tables.written.items()]
        for project, generation in [*last, *tables.reset_at.items()]:
            if generation > since:
                found[project] = max(generation, found.get(project, 0))
        return found, tables.generation

    async def sizes(self) -> Mapping[Project, int]:
        return Counter(project for project, _ in self._records.tables.rows)

    async def changes(self, project: Project, since: int, size: int) -> Changes:
        tables = self._records.tables
        floor = self._floor(project)
        if since < floor:
            own = [w.generation for (owner, _), w in tables.written.items() if owner == project]
            return Changes(upto=max(floor, *own, 0), lost=True)
        rows = [*tables.of(project), *tables.removed.get(project, ())]
        later = sorted({row.generation for row in rows if row.generation > since})
        told: dict[str, None] = {}
        for place, generation in enumerate(later):
            here = [row.memory.id for row in rows if row.generation == generation]
            if told and len(told) + len(here) > size:
                return Changes(ids=tuple(told), upto=later[place - 1], more=True)
            told.update(dict.fromkeys(here))
        return Changes(ids=tuple(told), upto=later[-1] if later else since)

    async def points(
        self, project: Project, ids: Sequence[str], space_no: int | None = None
    ) -> list[Point]:
        rows = self._records.tables.rows
        return [_point(rows[project, id_]) for id_ in ids if (project, id_) in rows]

    async def point_page(
        self, project: Project, after: str | None, size: int, space_no: int | None = None
    ) -> list[Point]:
        rows = sorted(self._records.tables.of(project), key=lambda row: row.memory.id)
        later = [row for row in rows if after is None or row.memory.id > after]
        return list(map(_point, later[:size]))

    async def number(self, name: str) -> int | None:
        return self._records.tables.index_numbers.get(name)

    async def numbers(self, prefix: str) -> Mapping[str, int]:
        known = self._records.tables.index_numbers
        return {name: value for name, value in known.items() if name.startswith(prefix)}

    async def move(self, name: str, expected: int | None, value: int | None) -> bool:
        known = self._records.tables.index_numbers
        if known.get(name) != expected:
            return False
        if value is None:
            known.pop(name, None)
        else:
            known[name] = value
        return True

    def _floor(self, project: Project) -> int:
        return self._records.tables.reset_at.get(project, 0)


def _same(row: Row, other: Row, entity: Entity) -> bool:
    """Whether two rows belong to the same entity of the kind."""
    field = f"{entity.kind}_id"
    return bool(getattr(row.memory, field) == getattr(other.memory, field))


def _point(row: Row) -> Point:
    memory = row.memory
    ids = (memory.user_id, memory.agent_id, memory.app_id, memory.run_id)
    return point_of(memory.id, ids, row.vector, row.terms.terms)


def entry_of(row: Row) -> Entry:
    """What ranking needs of a row."""
    memory = row.memory
    return Entry(
        id=memory.id,
        seq=row.no,
        terms=row.terms.terms,
        flags=row.terms.flags,
        words=row.terms.words,
        speaker=row.terms.speaker,
        role=memory.role,
        kind=memory.kind,
        session=memory.run_id,
        event_time=memory.event_at,
        valid_from=memory.valid_from,
        valid_to=memory.valid_to,
        expires_at=expiry_instant(memory.expires_on),
        vector=row.vector,
    )


def told_pairs(rows: Iterable[Row], changed: set[int]) -> tuple[tuple[str, str], ...]:
    """Unlisted turns and listed memories of the same raw turn, one of each two changed."""
    rows = list(rows)
    return tuple(
        (turn.memory.id, fact.memory.id)
        for turn in rows
        for fact in rows
        if raw(turn) and fact.memory.listed and turn.turns & fact.turns
        if turn.no in changed or fact.no in changed
    )
