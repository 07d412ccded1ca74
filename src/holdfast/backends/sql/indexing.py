"""`ports.IndexSource` on the record database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import chain
from operator import itemgetter
from typing import TYPE_CHECKING, Any, cast

from holdfast.backends.sql.changes import FLOOR_OF, FLOOR_OF_ALL
from holdfast.backends.sql.deltas import told_by_turns
from holdfast.backends.sql.dialect import Connection, Cursor
from holdfast.backends.sql.queries import (
    ENTRY_COLUMNS,
    JOIN_VECTOR,
    chunks,
    entries_from,
    marks,
)
from holdfast.backends.sql.rows import MEMORY_COLUMNS, MEMORY_WIDTH, entity_condition, only
from holdfast.backends.sql.spaces import ACTIVE_SPACE, EPOCH, ask_current, current_from
from holdfast.backends.sql.vectors import vectors_from
from holdfast.core.points import point_of
from holdfast.model import ANY, Entity, Project
from holdfast.ports import Changes, Excerpt, Point, Standing, build_number, held_number

if TYPE_CHECKING:
    from holdfast.backends.sql.records import SqlRecords

_AROUND = 3
"""Neighbours that come with a memory, on each side."""

_NUMBER = "SELECT value FROM counters WHERE name = ?"

_STANDING = """
SELECT 0, name, value, 0 FROM counters WHERE name IN (?, ?, ?, ?, ?)
UNION ALL SELECT 1, '', {now}
"""
_ONE_ENTITY = "generation, memories FROM entities WHERE project = ? AND kind = ? AND id = ?"
_ALL_OF_A_KIND = (
    "coalesce(max(generation), 0), CAST(coalesce(sum(memories), 0) AS BIGINT) "
    "FROM entities WHERE project = ? AND kind = ?"
)

_POINT_COLUMNS = "m.id, m.user_id, m.agent_id, m.app_id, m.run_id, m.terms, e.space_no, e.vector"

_JOIN_SPACE = (
    "LEFT JOIN embeddings e ON e.memory_no = m.no "
    f"AND e.space_no = coalesce(CAST(? AS BIGINT), {ACTIVE_SPACE})"
)

_TOLD_BY = """
SELECT b.memory_no FROM memories t CROSS JOIN sources a CROSS JOIN sources b
WHERE {turns} AND t.listed = 0 AND t.kind = 'turn'
AND a.memory_no = t.no AND b.message_no = a.message_no
"""

_CHANGED_PROJECTS = """
SELECT n.project, max(o.generation) FROM outbox o JOIN entities n ON n.no = o.entity_no
WHERE o.generation > ? GROUP BY n.project
"""

_CHANGES = """
SELECT o.generation, o.memory_id FROM outbox o JOIN entities n ON n.no = o.entity_no
WHERE n.project = ? AND o.generation > ? ORDER BY o.generation LIMIT ?
"""

_CHANGES_OF_ONE = """
SELECT DISTINCT o.memory_id FROM outbox o JOIN entities n ON n.no = o.entity_no
WHERE n.project = ? AND o.generation = ?
"""


class SqlIndexing:
    """What an external index asks of the records in the same database."""

    def __init__(self, records: SqlRecords) -> None:
        self._records = records
        self._builds: dict[str, int] = {}

    async def standing(self, project: Project, entity: Entity, index: str) -> Standing:
        while True:
            known = self._builds.get(index, 0)
            work = partial(standing, project=project, entity=entity, index=index, build=known)
            found = await self._records.glance(project, work)
            if found.build == known:
                return found
            self._builds[index] = found.build

    async def excerpt(
        self, project: Project, entity: Entity, ids: Sequence[str], latest: int
    ) -> Excerpt:
        work = partial(excerpt, project=project, entity=entity, ids=ids, latest=latest)
        return await self._records.read_copy(project, work)

    async def dated(
        self, project: Project, entity: Entity, spans: Sequence[tuple[float, float]], limit: int
    ) -> list[str]:
        work = lambda c: dated(c, project, entity, spans, limit)  # noqa: E731
        return await self._records.read_copy(project, work, brief=True)

    async def touched(self, since: int) -> tuple[Mapping[Project, int], int]:
        return await self._records.read(None, lambda c: touched(c, since))

    async def sizes(self) -> Mapping[Project, int]:
        sql = "SELECT project, count(*) FROM memories GROUP BY project"
        work = lambda c: {Project(name): count for name, count in c.execute(sql)}  # noqa: E731
        return await self._records.read(None, work, brief=True)

    async def changes(self, project: Project, since: int, size: int) -> Changes:
        return await self._records.read(project, lambda c: changes(c, project, since, size))

    async def points(
        self, project: Project, ids: Sequence[str], space_no: int | None = None
    ) -> list[Point]:
        return await self._records.read(project, lambda c: points(c, project, space_no, ids))

    async def point_page(
        self, project: Project, after: str | None, size: int, space_no: int | None = None
    ) -> list[Point]:
        work = lambda c: point_page(c, project, space_no, after, size)  # noqa: E731
        return await self._records.read(project, work, brief=True)

    async def number(self, name: str) -> int | None:
        work = lambda c: cast("int | None", only(c, _NUMBER, (name,)))  # noqa: E731
        return await self._records.read(None, work, brief=True)

    async def numbers(self, prefix: str) -> Mapping[str, int]:
        return await self._records.read(None, lambda c: numbers(c, prefix), brief=True)

    async def move(self, name: str, expected: int | None, value: int | None) -> bool:
        return await self._records.write(None, lambda c: move(c, name, expected, value))


def standing(
    connection: Connection, *, project: Project, entity: Entity, index: str, build: int
) -> Standing:
    """How an entity and an index stand, in one statement. What `held` says is of the build that
    was expected, so that the answer is one only if `build` is the same."""
    names = (
        build_number(index),
        held_number(index, build, project),
        FLOOR_OF + project,
        FLOOR_OF_ALL,
        EPOCH,
    )
    values: tuple[str, ...] = (project, entity.kind)
    now = _ALL_OF_A_KIND
    if entity.id != ANY:
        now, values = _ONE_ENTITY, (*values, entity.id)
    rows = connection.execute(_STANDING.format(now=now), (*names, *values))
    found: dict[tuple[int, str], tuple[int, int]] = {
        (side, name): (value, memories) for side, name, value, memories in rows
    }
    numbers_ = [found.get((0, name), (None, 0))[0] for name in names]
    generation, memories = found.get((1, ""), (0, 0))
    held, floor = numbers_[1], max(numbers_[2] or 0, numbers_[3] or 0)
    return Standing(
        generation=generation,
        memories=memories,
        build=numbers_[0] or 0,
        held=-1 if held is None or held < floor else held,
        epoch=numbers_[4] or 0,
    )


def _floor(connection: Connection, project: Project) -> int:
    """The last generation of the project of which it is not known what it changed."""
    floors = [only(connection, _NUMBER, (name,)) for name in (FLOOR_OF + project, FLOOR_OF_ALL)]
    return max(floor or 0 for floor in floors)


def excerpt(
    connection: Connection,
    *,
    project: Project,
    entity: Entity,
    ids: Sequence[str],
    latest: int,
) -> Excerpt:
    """Some memories of an entity with their neighbours and the latest ones."""
    spaces = ask_current(connection)
    condition, values = entity_condition(entity)
    among, named = connection.dialect.among("i.id", ids)
    # by UNIQUE (project, id), and not by walking through all that the entity has
    those = f"m.no IN (SELECT i.no FROM memories i WHERE i.project = ? AND {among})"
    near = connection.execute(
        f"SELECT m.no, {', '.join(_neighbours(entity))} FROM memories m "
        f"WHERE m.project = ? AND {condition} AND {those}",
        (project, *values, project, *named),
    )
    last = connection.execute(
        f"SELECT m.no FROM memories m WHERE m.project = ? AND {condition} "
        "ORDER BY m.no DESC LIMIT ?",
        (project, *values, latest),
    )
    now = current_from(spaces)
    wanted = sorted({no for row in chain(near, last) for no in row if no is not None})
    answers = _ask_rows(connection, project, entity, wanted)
    told = told_by_turns(connection, wanted)
    connection.dialect.asks_no_more(connection)
    rows = sorted(chain(*answers), key=itemgetter(MEMORY_WIDTH))
    memories, entries = entries_from(connection, project, rows, now.dimensions)
    return Excerpt(
        entries=entries,
        memories=memories,
        told=tuple(told),
        epoch=now.epoch,
        dimensions=now.dimensions,
    )


def _neighbours(entity: Entity) -> list[str]:
    """Columns: numbers of the memories inserted before and after one of the same entity; each is
    a seek in the index memories_by_<kind>."""
    column = f"{entity.kind}_id"
    near = f"FROM memories p WHERE p.project = m.project AND p.{column} = m.{column} AND p.no"
    return [
        f"(SELECT p.no {near} {side} LIMIT 1 OFFSET {step})"
        for side in ("< m.no ORDER BY p.no DESC", "> m.no ORDER BY p.no")
        for step in range(_AROUND)
    ]


def _ask_rows(
    connection: Connection, project: Project, entity: Entity, numbers: Sequence[int]
) -> list[Cursor]:
    """Ask for an entity's memories with these numbers, and for others of its that unlisted turns
    among them have told."""
    condition, values = entity_condition(entity)
    select = (
        f"SELECT {MEMORY_COLUMNS}, {ENTRY_COLUMNS} FROM memories m {JOIN_VECTOR} "
        f"WHERE m.project = ? AND {condition} AND "
    )
    among, those = connection.dialect.among("m.no", numbers)
    turns, _ = connection.dialect.among("t.no", numbers)
    facts = f"m.listed = 1 AND NOT ({among}) AND m.no IN ({_TOLD_BY.format(turns=turns)})"
    return [
        connection.execute(select + among, (project, *values, *those)),
        connection.execute(select + facts, (project, *values, *those, *those)),
    ]


def dated(
    connection: Connection,
    project: Project,
    entity: Entity,
    spans: Sequence[tuple[float, float]],
    limit: int,
) -> list[str]:
    """Ids of an entity's memories of some times, the last inserted first."""
    if not spans:
        return []
    condition, values = entity_condition(entity)
    times = " OR ".join("(m.event_at >= ? AND m.event_at < ?)" for _ in spans)
    rows = connection.execute(
        f"SELECT m.id FROM memories m WHERE m.project = ? AND {condition} AND ({times}) "
        "ORDER BY m.no DESC LIMIT ?",
        (project, *values, *(moment for span in spans for moment in span), limit),
    )
    return [id_ for (id_,) in rows]


def touched(connection: Connection, since: int) -> tuple[Mapping[Project, int], int]:
    """Projects that changed after a generation, those that were emptied among them."""
    found = {Project(name): last for name, last in connection.execute(_CHANGED_PROJECTS, (since,))}
    for name, floor in numbers(connection, FLOOR_OF).items():
        if floor > since:
            project = Project(name.removeprefix(FLOOR_OF))
            found[project] = max(floor, found.get(project, 0))
    everything = only(connection, _NUMBER, (FLOOR_OF_ALL,)) or 0
    if everything > since:
        for (name,) in connection.execute("SELECT DISTINCT project FROM entities"):
            found[Project(name)] = max(everything, found.get(Project(name), 0))
    last = only(connection, "SELECT max(generation) FROM outbox", ()) or 0
    return found, max(last, since, *found.values())


def changes(connection: Connection, project: Project, since: int, size: int) -> Changes:
    """The first changes of a project after a generation; never half a generation."""
    floor = _floor(connection, project)
    if since < floor:
        last = connection.execute(
            "SELECT max(generation) FROM entities WHERE project = ?", (project,)
        ).fetchone()[0]
        return Changes(upto=max(floor, last or 0), lost=True)
    rows = connection.execute(_CHANGES, (project, since, size + 1)).fetchall()
    if len(rows) <= size:
        ids = tuple(dict.fromkeys(id_ for _, id_ in rows))
        return Changes(ids=ids, upto=rows[-1][0] if rows else since)
    cut = rows[-1][0]
    whole = [row for row in rows if row[0] < cut]
    if whole:
        ids = tuple(dict.fromkeys(id_ for _, id_ in whole))
        return Changes(ids=ids, upto=whole[-1][0], more=True)
    rows = connection.execute(_CHANGES_OF_ONE, (project, cut)).fetchall()
    return Changes(ids=tuple(id_ for (id_,) in rows), upto=cut, more=True)


def points(
    connection: Connection, project: Project, space_no: int | None, ids: Sequence[str]
) -> list[Point]:
    """The points of memories that exist."""
    return points_from(connection, project, ask_points(connection, project, space_no, ids))


def ask_points(
    connection: Connection, project: Project, space_no: int | None, ids: Sequence[str]
) -> list[Cursor]:
    """Ask for the points of memories; `points_from` looks at the answers."""
    return [
        connection.execute(
            f"SELECT {_POINT_COLUMNS} FROM memories m {_JOIN_SPACE} "
            f"WHERE m.project = ? AND m.id IN ({marks(chunk)})",
            (space_no, project, *chunk),
        )
        for chunk in chunks(ids)
    ]


def points_from(connection: Connection, project: Project, answers: Sequence[Cursor]) -> list[Point]:
    """The points in answers to `ask_points`."""
    return _points(connection, project, [row for answer in answers for row in answer])


def point_page(
    connection: Connection,
    project: Project,
    space_no: int | None,
    after: str | None,
    size: int,
) -> list[Point]:
    """The next points of a project in order of their ids, by UNIQUE (project, id)."""
    beyond, values = ("", ()) if after is None else ("AND m.id > ? ", (after,))
    rows = connection.execute(
        f"SELECT {_POINT_COLUMNS} FROM memories m {_JOIN_SPACE} "
        f"WHERE m.project = ? {beyond}ORDER BY m.id LIMIT ?",
        (space_no, project, *values, size),
    )
    return _points(connection, project, rows.fetchall())


def _points(connection: Connection, project: Project, rows: Sequence[Any]) -> list[Point]:
    """The points in rows of _POINT_COLUMNS."""
    stored = ((row[0], row[1:5], row[6], row[7]) for row in rows)
    vectors = vectors_from(connection, project, stored)
    return [
        point_of(row[0], row[1:5], vector, row[5])
        for row, vector in zip(rows, vectors, strict=True)
    ]


def numbers(connection: Connection, prefix: str) -> Mapping[str, int]:
    """The named numbers whose names begin so; a prefix ends with a sign below "\\x7f"."""
    rows = connection.execute(
        "SELECT name, value FROM counters WHERE name >= ? AND name < ?",
        (prefix, prefix[:-1] + chr(ord(prefix[-1]) + 1)),
    )
    return dict(rows.fetchall())


def move(connection: Connection, name: str, expected: int | None, value: int | None) -> bool:
    """Change a named number if it is what was expected."""
    if expected is None and value is None:
        return only(connection, _NUMBER, (name,)) is None
    if value is None:
        sql = "DELETE FROM counters WHERE name = ? AND value = ? RETURNING name"
        return connection.execute(sql, (name, expected)).fetchone() is not None
    return connection.execute(*moving(name, expected, value)).fetchone() is not None


def moving(name: str, expected: int | None, value: int) -> tuple[str, tuple[Any, ...]]:
    """The statement that changes a named number if it is what was expected, and its parameters."""
    if expected is None:
        sql = "INSERT INTO counters (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING"
        return f"{sql} RETURNING name", (name, value)
    sql = "UPDATE counters SET value = ? WHERE name = ? AND value = ?"
    return f"{sql} RETURNING name", (value, name, expected)
