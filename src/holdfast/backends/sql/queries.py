"""Reading: functions of a read connection, each one snapshot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from holdfast.backends.sql.dialect import Connection, Cursor
from holdfast.backends.sql.rows import (
    HISTORY_COLUMNS,
    JOB_COLUMNS,
    MEMORY_COLUMNS,
    MEMORY_WIDTH,
    entity_condition,
    history_from,
    jobs_from,
    memories_from,
    only,
)
from holdfast.backends.sql.sealed_filters import condition_of
from holdfast.backends.sql.sealing import ERASED, Text, opened
from holdfast.backends.sql.spaces import ACTIVE_SPACE, EPOCH_NUMBER
from holdfast.backends.sql.vectors import vectors_from
from holdfast.core.cursor import decode_cursor, encode_cursor
from holdfast.core.view import Entry
from holdfast.core.visibility import expiry_instant
from holdfast.model import (
    ANY,
    Census,
    Entity,
    EntityKind,
    EntitySummary,
    HistoryEvent,
    Job,
    JobState,
    Json,
    Memory,
    Page,
    Project,
    Source,
    Turn,
)
from holdfast.ports import EntityState, Listing, View

PARAMETERS_MAX = 500

ENTRY_COLUMNS = "m.no, m.terms, m.flags, m.words, m.speaker, e.space_no, e.vector"
JOIN_VECTOR = f"LEFT JOIN embeddings e ON e.memory_no = m.no AND e.space_no = {ACTIVE_SPACE}"


def fetch(connection: Connection, project: Project, ids: Sequence[str]) -> list[Memory]:
    """Memories by id, in the order asked for."""
    found: dict[str, Memory] = {}
    for chunk in chunks(ids):
        rows = connection.execute(
            f"SELECT {MEMORY_COLUMNS} FROM memories m WHERE m.project = ? "
            f"AND m.id IN ({marks(chunk)})",
            (project, *chunk),
        )
        found.update((one.id, one) for one in memories_from(connection, project, rows))
    return [found[id_] for id_ in ids if id_ in found and found[id_].text is not ERASED]


def turns(connection: Connection, project: Project, ids: Sequence[str]) -> list[Turn]:
    """Raw turns by id, in the order asked for."""
    found: dict[str, Turn] = {}
    for chunk in chunks(ids):
        rows = connection.execute(
            "SELECT id, role, text, actor_id, event_at, user_id, agent_id, app_id, run_id "
            "FROM messages "
            f"WHERE project = ? AND id IN ({marks(chunk)})",
            (project, *chunk),
        ).fetchall()
        stored = [Text(row[0], row[5:], row[2]) for row in rows]
        texts = opened(connection, project, "messages", "text", stored)
        for (id_, role, _, actor_id, event_at, *_ids), text in zip(rows, texts, strict=True):
            if text is ERASED:
                continue
            found[id_] = Turn(id=id_, role=role, text=text, actor_id=actor_id, event_at=event_at)
    return [found[id_] for id_ in ids if id_ in found]


def sources(connection: Connection, project: Project, memory_id: str) -> list[Source]:
    """Turns that a memory came from, by the primary keys of its links, and the quoted words."""
    rows = connection.execute(
        "SELECT t.id, x.quote, m.user_id, m.agent_id, m.app_id, m.run_id FROM memories m "
        "JOIN sources x ON x.memory_no = m.no JOIN messages t ON t.no = x.message_no "
        "WHERE m.project = ? AND m.id = ? ORDER BY t.no",
        (project, memory_id),
    ).fetchall()
    stored = [Text(f"{memory_id} {row[0]}", row[2:], row[1] or None) for row in rows]
    quotes = opened(connection, project, "sources", "quote", stored)
    pairs = zip(rows, quotes, strict=True)
    return [
        Source(turn_id=row[0], quote=quote or "") for row, quote in pairs if quote is not ERASED
    ]


def page(connection: Connection, project: Project, listing: Listing, cursor_key: bytes) -> Page:
    """One page of a listing, by number of insertion (keyset), and the exact total."""
    condition, parameters = condition_of(connection, project, listing.filter)
    seen, seen_parameters = _visible(listing.view)
    where = f"m.project = ? AND ({condition}) AND {seen}"
    values = (project, *parameters, *seen_parameters)
    total = only(connection, f"SELECT count(*) FROM memories m WHERE {where}", values)
    if listing.cursor is not None:
        where += " AND m.no > ?" if listing.oldest_first else " AND m.no < ?"
        values = (*values, decode_cursor(listing.cursor, project, cursor_key))
    order = "ASC" if listing.oldest_first else "DESC"
    rows = connection.execute(
        f"SELECT {MEMORY_COLUMNS}, m.no FROM memories m WHERE {where} "
        f"ORDER BY m.no {order} LIMIT ? OFFSET ?",
        (*values, listing.size + 1, listing.offset),
    ).fetchall()
    shown = rows[: listing.size]
    more = len(rows) > listing.size and bool(shown)
    cursor = encode_cursor(shown[-1][-1], project, cursor_key) if more else None
    memories = memories_from(connection, project, shown)
    there = tuple(memory for memory in memories if memory.text is not ERASED)
    return Page(memories=there, total=total, cursor=cursor)


def _visible(view: View) -> tuple[str, tuple[Any, ...]]:
    """The SQL form of `core.visibility.visible`."""
    parts: list[str] = ["TRUE"]
    values: list[float | str] = []
    if view.listed_only:
        parts.append("m.listed = 1")
    if view.as_of is not None:
        parts += ["m.event_at <= ?", "(m.valid_from IS NULL OR m.valid_from <= ?)"]
        values += [view.as_of] * 2
    if not view.show_superseded:
        if view.as_of is None:
            parts.append("m.valid_to IS NULL")
        else:
            parts.append("(m.valid_to IS NULL OR m.valid_to > ?)")
            values.append(view.as_of)
    if not view.show_expired:
        moment = view.now if view.as_of is None else view.as_of
        parts.append("(m.expires_on IS NULL OR m.expires_on >= ?)")
        values.append(datetime.fromtimestamp(moment, UTC).date().isoformat())
    return " AND ".join(parts), tuple(values)


def history(connection: Connection, project: Project, memory_id: str) -> list[HistoryEvent]:
    """Every change of one memory, oldest first."""
    rows = connection.execute(
        f"SELECT {HISTORY_COLUMNS} FROM history WHERE project = ? AND memory_id = ? ORDER BY no",
        (project, memory_id),
    )
    return history_from(connection, project, rows)


def entities(
    connection: Connection, project: Project, offset: int, size: int
) -> tuple[list[EntitySummary], Mapping[EntityKind, int]]:
    """One page of entities that have memories, and how many of each kind there are in all."""
    counts = connection.execute(
        "SELECT kind, count(*) FROM entities WHERE project = ? AND memories > 0 GROUP BY kind",
        (project,),
    ).fetchall()
    rows = connection.execute(
        "SELECT kind, id, created_at, updated_at FROM entities "
        "WHERE project = ? AND memories > 0 ORDER BY kind, id LIMIT ? OFFSET ?",
        (project, size, offset),
    ).fetchall()
    found = []
    for kind, id_, created_at, updated_at in rows:
        condition, values = entity_condition(Entity(kind, id_))
        count = only(
            connection,
            f"SELECT count(*) FROM memories m WHERE m.project = ? AND {condition} "
            "AND m.listed = 1 AND m.valid_to IS NULL",
            (project, *values),
        )
        summary = EntitySummary(
            kind=kind, id=id_, memories=count, created_at=created_at, updated_at=updated_at
        )
        found.append(summary)
    return found, dict(map(tuple, counts))


def state(connection: Connection, project: Project, entity: Entity) -> EntityState:
    """Generation and size of an entity; of all of its kind for the id '*'."""
    generation, memories, epoch = ask_state(connection, project, entity).fetchone()
    return EntityState(generation=generation, memories=memories, epoch=epoch)


def ask_state(connection: Connection, project: Project, entity: Entity) -> Cursor:
    """Ask for an entity's generation, size and epoch."""
    sql, values = state_of(entity)
    return connection.execute(sql.format(project="?"), (project, *values))


def state_of(entity: Entity) -> tuple[str, tuple[str, ...]]:
    """The statement of `ask_state`, with a place for the project, and its other parameters."""
    one, of = ("", ()) if entity.id == ANY else (" AND id = ?", (entity.id,))
    sql = (
        "SELECT coalesce(max(generation), 0) AS generation, "
        "CAST(coalesce(sum(memories), 0) AS BIGINT) AS memories, "
        f"{EPOCH_NUMBER} AS epoch FROM entities WHERE project = {{project}} AND kind = ?{one}"
    )
    return sql, (entity.kind, *of)


def entries_from(
    connection: Connection, project: Project, rows: Iterable[Any], dimensions: int
) -> tuple[tuple[Memory, ...], tuple[Entry, ...]]:
    """Memories and entries from rows of MEMORY_COLUMNS and ENTRY_COLUMNS.

    `dimensions`: of every vector. Raises KeyNeeded, CorruptError.
    """
    rows = list(rows)
    entries, there = [], []
    memories = memories_from(connection, project, rows)
    at = MEMORY_WIDTH + 5
    stored = ((row[0], row[4:8], row[at], row[at + 1]) for row in rows)
    vectors = vectors_from(connection, project, stored, dimensions)
    for row, memory, vector in zip(rows, memories, vectors, strict=True):
        if memory.text is ERASED:
            continue
        there.append(memory)
        no, terms, flags, words, speaker = row[MEMORY_WIDTH:at]
        entries.append(
            Entry(
                id=memory.id,
                seq=no,
                terms=terms,
                flags=flags,
                words=words,
                speaker=speaker,
                role=memory.role,
                kind=memory.kind,
                session=memory.run_id,
                event_time=memory.event_at,
                valid_from=memory.valid_from,
                valid_to=memory.valid_to,
                expires_at=expiry_instant(memory.expires_on),
                vector=vector,
            )
        )
    return tuple(there), tuple(entries)


def job(connection: Connection, project: Project, column: str, value: str) -> Job | None:
    """One job by `id` or `idempotency_key`."""
    where = {"id": "j.id = ?", "idempotency_key": "j.idempotency_key = ?"}[column]
    row = connection.execute(
        f"SELECT {JOB_COLUMNS} FROM jobs j WHERE j.project = ? AND {where}", (project, value)
    ).fetchone()
    found = [] if row is None else jobs_from(connection, [row])
    return found[0] if found else None


def jobs(
    connection: Connection,
    project: Project,
    state_: JobState | None,
    offset: int,
    size: int,
) -> list[Job]:
    """Jobs, newest first."""
    condition, values = _of_state(project, state_)
    rows = connection.execute(
        f"SELECT {JOB_COLUMNS} FROM jobs j WHERE {condition} ORDER BY j.no DESC LIMIT ? OFFSET ?",
        (*values, size, offset),
    )
    return jobs_from(connection, rows)


def count_jobs(connection: Connection, project: Project, state_: JobState | None) -> int:
    """How many jobs there are in a state, or in any."""
    condition, values = _of_state(project, state_)
    return int(only(connection, f"SELECT count(*) FROM jobs j WHERE {condition}", values))


def _of_state(project: Project, state_: JobState | None) -> tuple[str, tuple[str, ...]]:
    if state_ is None:
        return "j.project = ?", (project,)
    return "j.project = ? AND j.state = ?", (project, state_)


_ASIDE = "(listed = 0 OR valid_to IS NOT NULL)"
"""As the index memories_aside says it, which serves only where it is said like that."""


def stats(connection: Connection, project: Project) -> Mapping[str, Json]:
    """Counts for people."""
    mine = "FROM memories WHERE project = ?"
    counts = {
        "memories": f"SELECT count(*) {mine}",
        "aside": f"SELECT count(*) {mine} AND {_ASIDE}",
        "superseded": f"SELECT count(*) {mine} AND {_ASIDE} AND valid_to IS NOT NULL",
        "turns": "SELECT count(*) FROM messages WHERE project = ?",
        "history_events": "SELECT count(*) FROM history WHERE project = ?",
    }
    found = {name: int(only(connection, sql, (project,))) for name, sql in counts.items()}
    vectors = _vectors(connection, project, found["memories"])
    found["memories"] -= found.pop("aside")
    entities_ = _grouped(
        connection,
        "SELECT kind, count(*) FROM entities WHERE project = ? AND memories > 0 GROUP BY kind",
        project,
    )
    return {
        **found,
        "vectors": vectors,
        "entities": entities_,
        "jobs": _jobs(connection, project),
        "bytes": connection.dialect.size(connection),
    }


def _vectors(connection: Connection, project: Project, memories: int) -> int:
    """How many memories of a project have a vector."""
    active = f"FROM embeddings WHERE space_no = {ACTIVE_SPACE}"
    if memories == only(connection, "SELECT count(*) FROM memories", ()):  # there is no other
        return int(only(connection, f"SELECT count(*) {active}", ()))
    among = f"project = ? AND no IN (SELECT memory_no {active})"
    return int(only(connection, f"SELECT count(*) FROM memories WHERE {among}", (project,)))


def _jobs(connection: Connection, project: Project) -> dict[str, int]:
    """Jobs by state; those that succeeded, of all the most, are what is left."""
    mine = "SELECT count(*) FROM jobs WHERE project = ?"
    found = _grouped(
        connection,
        "SELECT state, count(*) FROM jobs WHERE project = ? "
        "AND state IN ('PENDING', 'RUNNING') GROUP BY state",
        project,
    )
    found["FAILED"] = int(only(connection, f"{mine} AND state = 'FAILED'", (project,)))
    found["SUCCEEDED"] = int(only(connection, mine, (project,))) - sum(found.values())
    return {state_: count for state_, count in sorted(found.items()) if count}


def census(connection: Connection, at: float) -> Census:
    """Counts over all projects."""
    # by the unfinished index; what was finished is never read
    waiting, running, oldest = connection.execute(
        "SELECT count(*) FILTER (WHERE state = 'PENDING'), "
        "count(*) FILTER (WHERE state = 'RUNNING'), "
        "min(CASE WHEN state = 'PENDING' AND run_after <= ? "
        "THEN CASE WHEN run_after > created_at THEN run_after ELSE created_at END END) "
        "FROM jobs WHERE state IN ('PENDING', 'RUNNING')",
        (at,),
    ).fetchone()
    return Census(
        memories=only(
            connection,
            "SELECT (SELECT count(*) FROM memories) - "
            f"(SELECT count(*) FROM memories WHERE {_ASIDE})",
            (),
        ),
        vectors=only(
            connection, f"SELECT count(*) FROM embeddings WHERE space_no = {ACTIVE_SPACE}", ()
        ),
        users=only(
            connection, "SELECT count(*) FROM entities WHERE kind = 'user' AND memories > 0", ()
        ),
        jobs_waiting=waiting,
        jobs_running=running,
        jobs_failed=only(connection, "SELECT count(*) FROM jobs WHERE state = 'FAILED'", ()),
        held=only(connection, "SELECT count(*) FROM held", ()),
        oldest_due_s=0.0 if oldest is None else max(0.0, at - oldest),
    )


def _grouped(connection: Connection, sql: str, project: Project) -> dict[str, int]:
    return dict(connection.execute(sql, (project,)).fetchall())


def chunks(values: Sequence[Any]) -> list[Sequence[Any]]:
    """As many values at a time as a statement takes."""
    return [values[i : i + PARAMETERS_MAX] for i in range(0, len(values), PARAMETERS_MAX)]


def marks(values: Sequence[Any]) -> str:
    """A mark for each parameter."""
    return ",".join("?" * len(values))
