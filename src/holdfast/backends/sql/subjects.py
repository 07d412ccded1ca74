"""`ports.Subjects` on the record database: a subject's rows found beside the writers, then deleted
by their numbers, some at a time.

Messages, history, jobs and usage have no index by subject: it would cost every write, and is asked
for once in a subject's life. So their numbers are read in one scan, in a snapshot.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from holdfast.backends.sql import directory
from holdfast.backends.sql.dialect import Connection
from holdfast.backends.sql.queries import chunks, marks
from holdfast.backends.sql.rows import (
    HISTORY_COLUMNS,
    JOB_COLUMNS,
    history_from,
    jobs_from,
    only,
)
from holdfast.backends.sql.sealing import Text, opened
from holdfast.core.erasure import names
from holdfast.directory import Erasure
from holdfast.model import Entity, Json, Project
from holdfast.ports.subjects import Aged, Copy, Telling

if TYPE_CHECKING:
    from holdfast.backends.sql.records import SqlRecords

_PAGE: Final = 500
_NAMELESS: Final = re.compile(r"erased:[0-9a-f]{32}:[0-9]+")

_SOURCES_OF: Final = "SELECT count(*) FROM sources s JOIN memories m ON m.no = s.memory_no"
_VECTORS_OF: Final = "SELECT count(*) FROM embeddings e JOIN memories m ON m.no = e.memory_no"

DESTROYED: Final = "keys_destroyed"
"""The counter of the times that data keys were destroyed: processes that hold some look again."""


_OLD: Final[Mapping[Aged, str]] = {
    "facts": "memories WHERE project = ? AND created_at <= ? AND kind = 'fact'",
    "turns": "memories WHERE project = ? AND created_at <= ? AND kind = 'turn'",
    "summaries": "memories WHERE project = ? AND created_at <= ? AND kind = 'summary'",
    "expired": "memories WHERE project = ? AND expires_on < ?",
    "history": "history WHERE project = ? AND coalesce(updated_at, created_at) <= ? "
    "AND NOT EXISTS (SELECT 1 FROM memories m "
    "WHERE m.project = history.project AND m.id = history.memory_id)",
    "jobs": "jobs WHERE project = ? AND completed_at <= ? AND state IN ('SUCCEEDED', 'FAILED')",
    "usage": "usage WHERE project = ? AND at <= ?",
}
"""Tables and conditions of what is old, for a project and a time."""


class Found(NamedTuple):
    """The numbers of some rows of a subject, and where to go on."""

    numbers: Sequence[int]
    after: int
    done: bool


class SqlSubjects:
    """What the store keeps of one subject."""

    def __init__(self, records: SqlRecords) -> None:
        self._records = records

    async def begin(self, erasure: Erasure) -> None:
        # alone: whoever writes has ended, or sees that it is being erased
        await self._records.write(None, lambda c: directory.insert(c, [erasure]), alone=True)

    async def inventory(self, project: Project, entity: Entity) -> Mapping[str, int]:
        return await self._records.read(project, lambda c: _inventory(c, project, entity))

    async def memory_ids(self, project: Project, entity: Entity) -> Sequence[str]:
        return await self._records.read(project, lambda c: _memory_ids(c, project, entity))

    async def erase(self, project: Project, entity: Entity, copy: Copy) -> int:
        count, after, done = 0, 0, False
        while not done:
            look = partial(_numbers, project=project, entity=entity, copy=copy, after=after)
            numbers, after, done = await self._records.read(project, look)
            if numbers:
                work = partial(_ERASERS[copy], project=project, entity=entity, numbers=numbers)
                count += await self._records.write(project, work)
        return count

    async def forget(self, project: Project, entity: Entity, mark: str) -> None:
        await self._records.write(None, lambda c: _forget(c, project, entity, mark))

    async def rows(
        self, project: Project, entity: Entity, copy: Telling
    ) -> AsyncIterator[Mapping[str, Json]]:
        after, done = 0, False
        while not done:
            if copy == "sources":
                look = partial(_sources, project=project, entity=entity, after=after)
            else:
                look = partial(_rows, project=project, entity=entity, copy=copy, after=after)
            rows, after, done = await self._records.read(project, look)
            for row in rows:
                yield row

    async def named(self, project: Project | None) -> Sequence[tuple[Project, Entity, float]]:
        return await self._records.read(project, lambda c: _named(c, project))

    async def older(self, project: Project, what: Aged, before: float) -> int:
        values = (project, _moment(what, before))
        sql = f"SELECT count(*) FROM {_OLD[what]}"
        return int(await self._records.read(project, lambda c: only(c, sql, values)))

    async def expire(self, project: Project, what: Aged, before: float) -> int:
        if what not in ("history", "jobs", "usage"):
            return 0
        values = (project, _moment(what, before))
        some = f"SELECT no FROM {_OLD[what]} ORDER BY no LIMIT {_PAGE}"
        sql = f"DELETE FROM {what} WHERE no IN ({some})"
        count, done = 0, _PAGE
        while done == _PAGE:
            done = await self._records.write(project, lambda c: c.execute(sql, values).rowcount)
            count += done
        return count

    async def scrub(self) -> None:
        await self._records.scrub()


def _moment(what: Aged, before: float) -> float | str:
    if what != "expired":
        return before
    return datetime.fromtimestamp(before, UTC).date().isoformat()


def _column(entity: Entity) -> str:
    return {"user": "user_id", "agent": "agent_id", "app": "app_id", "run": "run_id"}[entity.kind]


def _inventory(connection: Connection, project: Project, entity: Entity) -> dict[str, int]:
    mine = f"m.project = ? AND m.{_column(entity)} = ?"
    name = (project, entity.kind, entity.id)

    def count(sql: str, *values: Any) -> int:
        return int(only(connection, sql, values))

    return {
        "memories": count(f"SELECT count(*) FROM memories m WHERE {mine}", project, entity.id),
        "embeddings": count(f"{_VECTORS_OF} WHERE {mine}", project, entity.id),
        "sources": count(f"{_SOURCES_OF} WHERE {mine}", project, entity.id),
        "messages": count(f"SELECT count(*) FROM messages m WHERE {mine}", project, entity.id),
        "history": count(f"SELECT count(*) FROM history m WHERE {mine}", project, entity.id),
        "jobs": len(_jobs(connection, project, entity, 0, None)),
        "usage": count(f"SELECT count(*) FROM usage m WHERE {mine}", project, entity.id),
        "entities": count(
            "SELECT count(*) FROM entities WHERE project = ? AND kind = ? AND id = ?", *name
        ),
        "subject_keys": count(
            "SELECT count(*) FROM subject_keys WHERE project = ? AND kind = ? AND id = ?", *name
        ),
    }


def _memory_ids(connection: Connection, project: Project, entity: Entity) -> list[str]:
    column = _column(entity)
    rows = connection.execute(
        f"SELECT id FROM memories WHERE project = ? AND {column} = ? "
        f"UNION SELECT memory_id FROM history WHERE project = ? AND {column} = ?",
        (project, entity.id, project, entity.id),
    )
    return [row[0] for row in rows.fetchall()]


def _numbers(
    connection: Connection, project: Project, entity: Entity, copy: Copy, after: int
) -> Found:
    """The next rows of a copy that are the subject's, by number."""
    if copy == "jobs":
        numbers = _jobs(connection, project, entity, after, _PAGE)
    else:
        rows = connection.execute(
            f"SELECT no FROM {copy} WHERE project = ? AND {_column(entity)} = ? AND no > ? "
            "ORDER BY no LIMIT ?",
            (project, entity.id, after, _PAGE),
        )
        numbers = [row[0] for row in rows.fetchall()]
    return Found(numbers, numbers[-1] if numbers else after, len(numbers) < _PAGE)


def _jobs(
    connection: Connection, project: Project, entity: Entity, after: int, size: int | None
) -> list[int]:
    """Numbers of jobs whose scope names the subject."""
    like = msgspec.json.encode(entity.id).decode()
    for sign in "\\%_":
        like = like.replace(sign, f"\\{sign}")
    found: list[int] = []
    rows = connection.execute(
        "SELECT no, scope_key FROM jobs WHERE project = ? AND no > ? "
        "AND scope_key LIKE ? ESCAPE '\\' ORDER BY no",
        (project, after, f"%{like}%"),
    )
    for no, scope_key in rows:
        if names(scope_key, entity):
            found.append(no)
            if len(found) == size:
                break
    return found


# A number of a row that was deleted meanwhile may be another's by now: whose it is, is asked again.


def _erase_messages(
    connection: Connection, project: Project, entity: Entity, numbers: Sequence[int]
) -> int:
    mine = f"project = ? AND {_column(entity)} = ? AND no IN ({marks(numbers)})"
    values = (project, entity.id, *numbers)
    some = f"SELECT no FROM messages WHERE {mine}"
    connection.execute(f"DELETE FROM sources WHERE message_no IN ({some})", values)
    return connection.execute(f"DELETE FROM messages WHERE {mine}", values).rowcount


def _erase_history(
    connection: Connection, project: Project, entity: Entity, numbers: Sequence[int]
) -> int:
    # rows of long ago do not tell whose they are, but others of the same memory do
    some = (
        f"SELECT memory_id FROM history WHERE project = ? AND {_column(entity)} = ? "
        f"AND no IN ({marks(numbers)})"
    )
    return connection.execute(
        f"DELETE FROM history WHERE project = ? AND memory_id IN ({some})",
        (project, project, entity.id, *numbers),
    ).rowcount


def _erase_jobs(
    connection: Connection, project: Project, entity: Entity, numbers: Sequence[int]
) -> int:
    rows = connection.execute(
        f"SELECT no, scope_key FROM jobs WHERE project = ? AND no IN ({marks(numbers)})",
        (project, *numbers),
    ).fetchall()
    mine = [no for no, scope_key in rows if names(scope_key, entity)]
    if not mine:
        return 0
    sql = f"DELETE FROM jobs WHERE project = ? AND no IN ({marks(mine)})"
    return connection.execute(sql, (project, *mine)).rowcount


def _erase_usage(
    connection: Connection, project: Project, entity: Entity, numbers: Sequence[int]
) -> int:
    column = _column(entity)
    run = ", run_id = NULL" if entity.kind == "user" else ""
    return connection.execute(
        f"UPDATE usage SET {column} = NULL, job_id = NULL{run} "
        f"WHERE project = ? AND {column} = ? AND no IN ({marks(numbers)})",
        (project, entity.id, *numbers),
    ).rowcount


_ERASERS: Final[Mapping[Copy, Callable[..., int]]] = {
    "messages": _erase_messages,
    "history": _erase_history,
    "jobs": _erase_jobs,
    "usage": _erase_usage,
}


def _forget(connection: Connection, project: Project, entity: Entity, mark: str) -> None:
    name = (project, entity.kind, entity.id)
    unname = "UPDATE entities SET id = ? || CAST(no AS TEXT) WHERE project = ? AND kind = ?"
    prefix = f"erased:{mark}:"
    connection.execute(f"{unname} AND id = ?", (prefix, *name))
    if entity.kind == "user":
        connection.execute(
            f"{unname} AND memories = 0 AND id IN (SELECT run_id FROM history "
            "WHERE project = ? AND user_id = ? AND run_id IS NOT NULL)",
            (prefix, project, "run", project, entity.id),
        )
    destroyed = connection.execute(
        "UPDATE subject_keys SET wrapped = NULL, id = ? WHERE project = ? AND kind = ? AND id = ?",
        (mark, *name),
    ).rowcount
    if destroyed:
        connection.execute(
            "INSERT INTO counters (name, value) VALUES (?, 1) "
            "ON CONFLICT (name) DO UPDATE SET value = counters.value + 1",
            (DESTROYED,),
        )


def _named(connection: Connection, project: Project | None) -> list[tuple[Project, Entity, float]]:
    where, values = ("", ()) if project is None else ("WHERE project = ?", (project,))
    rows = connection.execute(
        f"SELECT project, kind, id, created_at FROM entities {where} ORDER BY project, kind, id",
        values,
    )
    return [
        (Project(owner), Entity(kind, id_), created_at)
        for owner, kind, id_, created_at in rows.fetchall()
        if not _NAMELESS.fullmatch(id_)
    ]


# ------------------------------------------------------------------ rows for people

_MESSAGE = (
    "id", "role", "actor_id", "text", "event_at", "user_id", "agent_id", "app_id", "run_id",
)  # fmt: skip
_USAGE = (
    "at", "operation", "model", "input_tokens", "cached_tokens", "output_tokens", "user_id",
    "agent_id", "app_id", "run_id", "job_id",
)  # fmt: skip
_OF_JOB = (
    "id", "kind", "state", "payload", "result", "error", "error_code", "attempts", "created_at",
    "started_at", "completed_at",
)  # fmt: skip


def _rows(
    connection: Connection, project: Project, entity: Entity, copy: Copy, after: int
) -> tuple[list[dict[str, Json]], int, bool]:
    numbers, last, done = _numbers(connection, project, entity, copy, after)
    found: list[dict[str, Json]] = []
    for chunk in chunks(numbers):
        where = f"project = ? AND no IN ({marks(chunk)}) ORDER BY no"
        found += _READERS[copy](connection, project, where, (project, *chunk))
    return found, last, done


def _sources(
    connection: Connection, project: Project, entity: Entity, after: int
) -> tuple[list[dict[str, Json]], int, bool]:
    """The sources of the next memories of the subject, some memories at a time."""
    rows = connection.execute(
        f"SELECT no FROM memories WHERE project = ? AND {_column(entity)} = ? AND no > ? "
        "ORDER BY no LIMIT ?",
        (project, entity.id, after, _PAGE),
    )
    numbers = [row[0] for row in rows.fetchall()]
    if not numbers:
        return [], after, True
    found = connection.execute(
        "SELECT m.id, t.id, s.quote, m.user_id, m.agent_id, m.app_id, m.run_id "
        "FROM sources s JOIN memories m ON m.no = s.memory_no "
        "JOIN messages t ON t.no = s.message_no "
        f"WHERE s.memory_no IN ({marks(numbers)}) ORDER BY s.memory_no, s.message_no",
        tuple(numbers),
    ).fetchall()
    stored = [Text(f"{row[0]} {row[1]}", row[3:], row[2] or None) for row in found]
    quotes = opened(connection, project, "sources", "quote", stored)
    told = [
        {"memory_id": row[0], "turn_id": row[1], "quote": quote or ""}
        for row, quote in zip(found, quotes, strict=True)
    ]
    return told, numbers[-1], len(numbers) < _PAGE


def _messages(
    connection: Connection, project: Project, where: str, values: Sequence[Any]
) -> list[dict[str, Json]]:
    sql = f"SELECT {', '.join(_MESSAGE)} FROM messages WHERE {where}"
    rows = connection.execute(sql, values).fetchall()
    texts = opened(
        connection, project, "messages", "text", [Text(row[0], row[5:], row[3]) for row in rows]
    )
    return [
        {**dict(zip(_MESSAGE, row, strict=True)), "text": text}
        for row, text in zip(rows, texts, strict=True)
    ]


def _history(
    connection: Connection, project: Project, where: str, values: Sequence[Any]
) -> list[dict[str, Json]]:
    rows = connection.execute(f"SELECT {HISTORY_COLUMNS} FROM history WHERE {where}", values)
    return [msgspec.structs.asdict(one) for one in history_from(connection, project, rows)]


def _told_jobs(
    connection: Connection, _project: Project, where: str, values: Sequence[Any]
) -> list[dict[str, Json]]:
    rows = connection.execute(f"SELECT {JOB_COLUMNS} FROM jobs j WHERE {where}", values)
    return [{name: getattr(one, name) for name in _OF_JOB} for one in jobs_from(connection, rows)]


def _usage(
    connection: Connection, _project: Project, where: str, values: Sequence[Any]
) -> list[dict[str, Json]]:
    rows = connection.execute(f"SELECT {', '.join(_USAGE)} FROM usage WHERE {where}", values)
    return [dict(zip(_USAGE, row, strict=True)) for row in rows.fetchall()]


_READERS: Final[Mapping[Copy, Callable[..., list[dict[str, Json]]]]] = {
    "messages": _messages,
    "history": _history,
    "jobs": _told_jobs,
    "usage": _usage,
}
