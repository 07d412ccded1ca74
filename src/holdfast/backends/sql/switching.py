"""`ports.Spaces` on the record database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from holdfast.backends.sql.dialect import Connection
from holdfast.backends.sql.rows import memory_texts, only
from holdfast.backends.sql.spaces import (
    ACTIVE_SPACE,
    EPOCH_NUMBER,
    SPACE_COLUMNS,
    next_epoch,
    put_space,
    row_of,
)
from holdfast.errors import ConflictError
from holdfast.model import Project, Space
from holdfast.ports.spaces import Epoch, Filling, StoredSpace, Unfilled

if TYPE_CHECKING:
    from holdfast.backends.sql.records import SqlRecords

_SPACES: Final = f"SELECT no, {SPACE_COLUMNS}, status, {EPOCH_NUMBER} FROM spaces ORDER BY no"

_LACKS: Final = f"""
EXISTS (SELECT 1 FROM embeddings a WHERE a.memory_no = m.no AND a.space_no = {ACTIVE_SPACE})
AND NOT EXISTS (SELECT 1 FROM embeddings s WHERE s.memory_no = m.no AND s.space_no = ?)
"""
_UNFILLED: Final = f"""
SELECT m.no, m.hash, m.project, m.id, m.text, m.user_id, m.agent_id, m.app_id, m.run_id
FROM memories m
WHERE m.no > ? AND {_LACKS} ORDER BY m.no LIMIT ?
"""
_FILLED: Final = "SELECT count(*) FROM embeddings WHERE space_no = "
_MISSING: Final = f"SELECT count(*) FROM memories m WHERE {_LACKS}"
_ANY_MISSING: Final = f"SELECT 1 FROM memories m WHERE {_LACKS} LIMIT 1"

_EMPTY: Final = """
DELETE FROM embeddings WHERE space_no = ? AND memory_no IN (
  SELECT e.memory_no FROM embeddings e JOIN spaces s ON s.no = e.space_no
  WHERE e.space_no = ? AND s.status = 'retired' LIMIT ?)
"""
_SET_NUMBER: Final = """
INSERT INTO counters (name, value) VALUES (?, ?)
ON CONFLICT (name) DO UPDATE SET value = excluded.value
"""


class SqlSpaces:
    """The spaces of records in an SQL database."""

    def __init__(self, records: SqlRecords) -> None:
        self._records = records

    async def epoch(self) -> Epoch:
        return await self._records.read(None, epoch, brief=True)

    async def stored(self) -> Sequence[StoredSpace]:
        return await self._records.read(None, lambda c: _read(c)[0], brief=True)

    async def begin(self, space: Space) -> Epoch:
        at = self._records.now()
        return await self._records.write(None, lambda c: begin(c, space, at), alone=True)

    async def unfilled(self, no: int, after: int, size: int) -> list[Unfilled]:
        work = lambda c: unfilled(c, no, after, size)  # noqa: E731
        return await self._records.read(None, work, brief=True)

    async def filling(self, no: int) -> Filling:
        return await self._records.read(None, lambda c: filling(c, no))

    async def switch(self, no: int, numbers: Mapping[str, int]) -> Epoch:
        work = partial(switch, no=no, numbers=numbers)
        return await self._records.write(None, work, alone=True)

    async def empty(self, no: int, size: int) -> int:
        work = lambda c: int(c.execute(_EMPTY, (no, no, size)).rowcount)  # noqa: E731
        return await self._records.write(None, work)


def epoch(connection: Connection) -> Epoch:
    """How the spaces stand, by one statement."""
    spaces, number = _read(connection)
    by_status = {each.status: each for each in spaces}
    return Epoch(number=number, active=by_status["active"], shadow=by_status.get("shadow"))


def _read(connection: Connection) -> tuple[list[StoredSpace], int]:
    rows = connection.execute(_SPACES).fetchall()
    return [_stored(row) for row in rows], rows[0][6] if rows else 0


def _stored(row: Any) -> StoredSpace:
    no, provider, model, dimensions, normalised, status = row[:6]
    space = Space(
        provider=provider, model=model, dimensions=dimensions, normalised=bool(normalised)
    )
    return StoredSpace(no=no, space=space, status=status)


def begin(connection: Connection, space: Space, at: float) -> Epoch:
    """Make a space the shadow, while nobody commits."""
    now = epoch(connection)
    if now.active.space == space and now.shadow is not None:
        connection.execute("UPDATE spaces SET status = 'retired' WHERE status = 'shadow'")
        next_epoch(connection)
        return epoch(connection)
    if now.active.space == space:
        raise ConflictError(
            f"{space.provider}:{space.model} is the embedder whose vectors are searched already.",
            hint="There is nothing to change; `holdfast embedder status` tells how it stands.",
        )
    if now.shadow is not None and now.shadow.space == space:
        return now
    connection.execute("UPDATE spaces SET status = 'retired' WHERE status = 'shadow'")
    put_space(connection, row_of(space), "shadow", at)
    next_epoch(connection)
    return epoch(connection)


def unfilled(connection: Connection, no: int, after: int, size: int) -> list[Unfilled]:
    """The next memories that a space lacks."""
    rows = connection.execute(_UNFILLED, (after, no, size)).fetchall()
    texts = memory_texts(connection, [row[2:] for row in rows])
    return [
        Unfilled(no=number, project=Project(project), id=id_, text=text, hash=hash_)
        for (number, hash_, project, id_, *_), text in zip(rows, texts, strict=True)
    ]


def filling(connection: Connection, no: int) -> Filling:
    """How many memories the active space has, and how many of them another lacks."""
    memories = only(connection, _FILLED + ACTIVE_SPACE, ())
    return Filling(memories=memories, missing=only(connection, _MISSING, (no,)))


def switch(connection: Connection, *, no: int, numbers: Mapping[str, int]) -> Epoch:
    """Make the shadow the active space, while nobody commits."""
    now = epoch(connection)
    if now.shadow is None or now.shadow.no != no:
        raise ConflictError(
            "No new vectors are being made for this embedder.",
            hint="Begin with `holdfast embedder change`; nothing was changed.",
        )
    if connection.execute(_ANY_MISSING, (no,)).fetchone() is not None:
        missing = only(connection, _MISSING, (no,))
        raise ConflictError(
            f"{missing:,} memories have no vector of the new embedder yet.",
            hint="Run `holdfast embedder change` till it is done; nothing was changed.",
        )
    connection.execute("UPDATE spaces SET status = 'retired' WHERE no = ?", (now.active.no,))
    connection.execute("UPDATE spaces SET status = 'active' WHERE no = ?", (no,))
    for name, value in numbers.items():
        connection.execute(_SET_NUMBER, (name, value))
    next_epoch(connection)
    return epoch(connection)
