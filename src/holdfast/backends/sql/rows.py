"""Rows of the tables to and from the values of `model`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

import msgspec

from holdfast.backends.sql.dialect import Connection
from holdfast.backends.sql.sealed_metadata import open_metadata, seal_metadata
from holdfast.backends.sql.sealing import ERASED, Text, job_ids, opened, plain, sealed
from holdfast.model import (
    Entity,
    HistoryEvent,
    Job,
    Json,
    Memory,
    Origin,
    Project,
    Scope,
    Source,
    Turn,
)
from holdfast.ports import PutMemory

MEMORY_COLUMNS = (
    "m.id, m.text, m.hash, m.kind, m.user_id, m.agent_id, m.app_id, m.run_id, m.actor_id, m.role, "
    "m.metadata, m.categories, m.listed, m.event_at, m.valid_from, m.valid_to, m.superseded_by, "
    "m.expires_on, m.created_at, m.updated_at, m.version, m.immutable"
)

MEMORY_WIDTH = len(MEMORY_COLUMNS.split(","))
"""Columns of a memory: what a statement selects after them begins here."""

INSERT_MEMORY = """
INSERT INTO memories (
  no, id, project, identity, kind, text, hash, user_id, agent_id, app_id, run_id, actor_id, role,
  metadata, categories, listed, event_at, valid_from, valid_to, superseded_by, expires_on,
  created_at, updated_at, version, terms, flags, words, speaker, immutable
) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)
ON CONFLICT DO NOTHING
"""

INSERT_MESSAGE = """
INSERT INTO messages (
  no, id, project, user_id, agent_id, app_id, run_id, role, actor_id, text, event_at
)
VALUES (?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT (project, id) DO NOTHING
"""

INSERT_EMBEDDING = "INSERT INTO embeddings (memory_no, space_no, vector) VALUES (?,?,?)"

INSERT_SOURCE = """
INSERT INTO sources (memory_no, message_no, quote) VALUES (?,?,?) ON CONFLICT DO NOTHING
"""

INSERT_HISTORY = """
INSERT INTO history (
  id, project, memory_id, event, old_memory, new_memory, actor_id, role, created_at, updated_at,
  user_id, agent_id, app_id, run_id, listed, origin, restored
) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)
"""

RESTORED = "restored_history"
"""The counter of the last change that came with the archive this store was restored from."""

HISTORY_TEXTS = ("old_memory", "new_memory")

HISTORY_COLUMNS = (
    "id, memory_id, event, old_memory, new_memory, created_at, updated_at, actor_id, role, "
    "user_id, agent_id, app_id, run_id, listed, origin, "
    "coalesce(restored, 0) = 1 OR "
    f"no <= coalesce((SELECT value FROM counters WHERE name = '{RESTORED}'), 0)"
)

JOB_COLUMNS = (
    "j.id, j.project, j.kind, j.state, j.scope_key, j.payload, j.attempts, j.idempotency_key, "
    "j.fingerprint, j.result, j.error, j.error_code, j.run_after, j.created_at, j.started_at, "
    "j.completed_at"
)

NO_LIMIT = 2**62
"""LIMIT of a statement that has none; SQLite's -1 is an error elsewhere."""

_json_encode = msgspec.json.Encoder().encode
_json_decode = msgspec.json.Decoder().decode
_origin_decode = msgspec.json.Decoder(list[str]).decode
_categories_decode = msgspec.json.Decoder(tuple[str, ...]).decode


def to_json(value: Json) -> str | None:
    """JSON text for a column; None stays NULL."""
    return None if value is None else _json_encode(value).decode()


def from_json(text: str | None) -> Json:
    """The value of a JSON column."""
    return None if text is None else _json_decode(text)


def memories_from(connection: Connection, project: Project, rows: Iterable[Any]) -> list[Memory]:
    """Memories from rows of MEMORY_COLUMNS (further columns are passed over), opened.

    The text of one whose subject was erased is ERASED.
    """
    rows = list(rows)
    if connection.sealer is None:
        plain(connection, [row[1] for row in rows])
        return [_memory_from(row, row[1], _metadata_from(row)) for row in rows]
    stored = [Text(row[0], row[4:8], row[1]) for row in rows]
    texts = opened(connection, project, "memories", "text", stored)
    metadata = [_metadata_from(row) for row in rows]
    open_metadata(connection, project, stored, metadata)
    return [_memory_from(*parts) for parts in zip(rows, texts, metadata, strict=True)]


def _metadata_from(row: tuple[Any, ...]) -> dict[str, Json] | None:
    return None if row[10] is None else _json_decode(row[10])


def _memory_from(row: tuple[Any, ...], text: str, metadata: Mapping[str, Json] | None) -> Memory:
    return Memory(
        id=row[0],
        text=text,
        hash=row[2],
        kind=row[3],
        user_id=row[4],
        agent_id=row[5],
        app_id=row[6],
        run_id=row[7],
        actor_id=row[8],
        role=row[9],
        metadata=metadata,
        categories=() if row[11] is None else _categories_decode(row[11]),
        listed=bool(row[12]),
        event_at=row[13],
        valid_from=row[14],
        valid_to=row[15],
        superseded_by=row[16],
        expires_on=row[17],
        created_at=row[18],
        updated_at=row[19],
        version=row[20],
        immutable=bool(row[21]),
    )


EntityIds = tuple[str | None, str | None, str | None, str | None]
"""user_id, agent_id, app_id, run_id of a memory."""


def entity_ids(memory: Memory) -> EntityIds:
    """The four identities of a memory."""
    return (memory.user_id, memory.agent_id, memory.app_id, memory.run_id)


def memory_texts(connection: Connection, rows: Sequence[tuple[Any, ...]]) -> list[str]:
    """Texts of memories of any projects, opened: from rows of project, id, text, identities."""
    texts: list[str] = []
    for project, group in groupby(rows, key=itemgetter(0)):
        stored = [Text(row[1], row[3:7], row[2]) for row in group]
        texts += opened(connection, project, "memories", "text", stored)
    return texts


def memory_text(connection: Connection, project: Project, memory: Memory, text: str) -> str:
    """A text of this memory as it is stored."""
    at = Text(memory.id, entity_ids(memory), text)
    return sealed(connection, project, "memories", "text", at) or ""


def metadata_json(
    connection: Connection, project: Project, memory: Memory, metadata: Mapping[str, Json] | None
) -> str | None:
    """Metadata of this memory as it is stored."""
    whose = Text(memory.id, entity_ids(memory), None)
    return to_json(seal_metadata(connection, project, whose, metadata))


def memory_values(connection: Connection, project: Project, op: PutMemory) -> tuple[Any, ...]:
    """The parameters of INSERT_MEMORY after the number."""
    memory, terms = op.memory, op.terms
    return (
        memory.id,
        project,
        op.identity,
        memory.kind,
        memory_text(connection, project, memory, memory.text),
        memory.hash,
        memory.user_id,
        memory.agent_id,
        memory.app_id,
        memory.run_id,
        memory.actor_id,
        memory.role,
        metadata_json(connection, project, memory, memory.metadata),
        to_json(memory.categories or None),
        int(memory.listed),
        memory.event_at,
        memory.valid_from,
        memory.valid_to,
        memory.superseded_by,
        memory.expires_on,
        memory.created_at,
        memory.updated_at,
        memory.version,
        terms.terms,
        terms.flags,
        terms.words,
        terms.speaker,
        int(memory.immutable) or None,
    )


def message_values(
    connection: Connection, project: Project, scope: Scope, turn: Turn
) -> tuple[Any, ...]:
    """The parameters of INSERT_MESSAGE after the number."""
    ids = (scope.user_id, scope.agent_id, scope.app_id, scope.run_id)
    text = sealed(connection, project, "messages", "text", Text(turn.id, ids, turn.text))
    return (turn.id, project, *ids, turn.role, turn.actor_id, text, turn.event_at)


def quote_value(
    connection: Connection, put: PutMemory, project: Project, source: Source, memory_id: str
) -> str:
    """The quote of a source as it is stored; what there is none of is not sealed."""
    at = Text(f"{memory_id} {source.turn_id}", entity_ids(put.memory), source.quote or None)
    return sealed(connection, project, "sources", "quote", at) or ""


def job_text(
    connection: Connection,
    job_id: str,
    project: Project,
    scope_key: str,
    field: str,
    text: str | None,
) -> str | None:
    """The payload or the result of a job, JSON, as it is stored."""
    at = Text(job_id, job_ids(scope_key), text)
    stored: str | None = sealed(connection, project, "jobs", field, at)
    return stored


def jobs_from(connection: Connection, rows: Iterable[Any]) -> list[Job]:
    """Jobs of one project from rows of JOB_COLUMNS, opened."""
    rows = list(rows)
    if connection.sealer is None or not rows:
        plain(connection, [text for row in rows for text in (row[5], row[9])])
        return [_job_from(row, row[5], row[9]) for row in rows]
    texts = []
    for field, column in (("payload", 5), ("result", 9)):
        stored = [Text(row[0], job_ids(row[4]), row[column]) for row in rows]
        texts.append(opened(connection, rows[0][1], "jobs", field, stored))
    return [
        _job_from(row, *told)
        for row, *told in zip(rows, *texts, strict=True)
        if not any(text is ERASED for text in told)
    ]


def _job_from(row: tuple[Any, ...], payload: str, result: str | None) -> Job:
    return Job(
        id=row[0],
        project=Project(row[1]),
        kind=row[2],
        state=row[3],
        scope_key=row[4],
        payload=_json_decode(payload),
        attempts=row[6],
        idempotency_key=row[7],
        fingerprint=row[8],
        result=from_json(result),
        error=row[10],
        error_code=row[11],
        run_after=row[12],
        created_at=row[13],
        started_at=row[14],
        completed_at=row[15],
    )


def event_values(connection: Connection, project: Project, event: HistoryEvent) -> tuple[Any, ...]:
    """The parameters of INSERT_HISTORY for an event of before."""
    ids = (event.user_id, event.agent_id, event.app_id, event.run_id)
    stored = (
        sealed(connection, project, "history", field, Text(event.id, ids, text))
        for field, text in zip(HISTORY_TEXTS, (event.old_memory, event.new_memory), strict=True)
    )
    return (
        event.id,
        project,
        event.memory_id,
        event.event,
        *stored,
        event.actor_id,
        event.role,
        event.created_at,
        event.updated_at,
        *ids,
        int(event.listed),
        origin_value(event.origin),
        int(event.restored) or None,
    )


def history_values(
    connection: Connection,
    project: Project,
    event: str,
    memory: Memory,
    texts: tuple[str | None, str | None],
    at: float | None,
    id_: str,
    origin: Origin | None,
) -> tuple[Any, ...]:
    """The parameters of INSERT_HISTORY; `texts` are the old and the new one."""
    ids = entity_ids(memory)
    old, new = (
        sealed(connection, project, "history", field, Text(id_, ids, text))
        for field, text in zip(HISTORY_TEXTS, texts, strict=True)
    )
    return (
        id_,
        project,
        memory.id,
        event,
        old,
        new,
        memory.actor_id,
        memory.role,
        memory.created_at,
        at,
        *ids,
        int(memory.listed),
        origin_value(origin),
        None,
    )


def origin_value(origin: Origin | None) -> str | None:
    """An origin as it is stored: its fields in order as JSON, without the empty ones at the end."""
    if origin is None:
        return None
    fields = list(msgspec.structs.astuple(origin))
    while not fields[-1]:
        fields.pop()
    return _json_encode(fields).decode()


def origin_from(stored: str | None) -> Origin | None:
    """The origin from a column."""
    return None if stored is None else Origin(*_origin_decode(stored))  # type: ignore[arg-type]


def history_from(
    connection: Connection, project: Project, rows: Iterable[Any]
) -> list[HistoryEvent]:
    """History events from rows of HISTORY_COLUMNS, opened."""
    rows = list(rows)
    if connection.sealer is None:
        plain(connection, [text for row in rows for text in row[3:5]])
        return [_event_from(row, row[3], row[4]) for row in rows]
    texts = [
        opened(
            connection, project, "history", field, [Text(r[0], r[9:13], r[column]) for r in rows]
        )
        for column, field in enumerate(HISTORY_TEXTS, 3)
    ]
    return [
        _event_from(row, *told)
        for row, *told in zip(rows, *texts, strict=True)
        if not any(text is ERASED for text in told)
    ]


def _event_from(row: tuple[Any, ...], old: str | None, new: str | None) -> HistoryEvent:
    return HistoryEvent(
        id=row[0],
        memory_id=row[1],
        event=row[2],
        old_memory=old,
        new_memory=new,
        created_at=row[5],
        updated_at=row[6],
        is_deleted=row[2] == "DELETE",
        actor_id=row[7],
        role=row[8],
        user_id=row[9],
        agent_id=row[10],
        app_id=row[11],
        run_id=row[12],
        listed=bool(row[13]),
        origin=origin_from(row[14]),
        restored=bool(row[15]),
    )


def entity_condition(entity: Entity) -> tuple[str, tuple[str, ...]]:
    """SQL that is true for the entity's memories; answered by the index memories_by_<kind>."""
    column = {"user": "m.user_id", "agent": "m.agent_id", "app": "m.app_id", "run": "m.run_id"}
    if entity.id == "*":
        return f"{column[entity.kind]} IS NOT NULL", ()
    return f"{column[entity.kind]} = ?", (entity.id,)


def only(connection: Connection, sql: str, parameters: tuple[Any, ...]) -> Any:
    """The first column of the first row, or None."""
    row = connection.execute(sql, parameters).fetchone()
    return None if row is None else row[0]


def payload_json(payload: Mapping[str, Json]) -> str:
    """A job's payload as JSON text."""
    return _json_encode(payload).decode()


def owners_of(connection: Connection, entities: Sequence[int]) -> list[tuple[int, Project]]:
    """The project of each of these entities, by their numbers, as far as the transaction sees."""
    found: list[tuple[int, Project]] = []
    for start in range(0, len(entities), 500):
        some = entities[start : start + 500]
        sql = f"SELECT no, project FROM entities WHERE no IN ({','.join('?' * len(some))})"
        found += [(no, Project(project)) for no, project in connection.execute(sql, some)]
    return found
