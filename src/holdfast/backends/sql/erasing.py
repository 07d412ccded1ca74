"""While a subject is being erased nothing of it is stored, nor sealed with its destroyed keys."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from holdfast.backends.sql.dialect import Connection
from holdfast.backends.sql.rows import only
from holdfast.backends.sql.sealing import KeysDestroyed, job_ids
from holdfast.backends.sql.spaces import Binding, Current
from holdfast.core.erasure import mark_of, refused
from holdfast.core.identity import content_hash
from holdfast.directory import Held
from holdfast.model import ENTITY_KINDS, Entity, Project
from holdfast.ports import Op, PutJob, PutMemory, PutRows, PutTurns

_RUNNING: Final = "SELECT project, mark FROM erasures WHERE state = 'RUNNING'"
_ANY_RUNNING: Final = "SELECT 1 FROM erasures WHERE state = 'RUNNING' LIMIT 1"


def store_id(key: bytes) -> str:
    """The name of a store, made of what masks its cursors, or keys the marks of its subjects."""
    return content_hash("store id", key)


def check(
    connection: Connection,
    commits: Sequence[tuple[Project, Sequence[Op]]],
    binding: Binding,
    current: Current | None,
) -> None:
    """Raises ConflictError for what names a subject that is being erased, KeysDestroyed if keys
    were destroyed that this process may hold; nothing may be written then.

    `current`: None if nothing was asked yet.
    """
    sealer = connection.sealer
    if current is None:
        told = any(isinstance(op, PutJob | PutRows) for _, ops in commits for op in ops)
        if not told or only(connection, _ANY_RUNNING, ()) is None:
            return
    elif sealer is not None and sealer.destroyed != current.destroyed:
        raise KeysDestroyed(current.destroyed)
    elif not current.erasing:
        return
    running = {(row[0], row[1]) for row in connection.execute(_RUNNING, ()).fetchall()}
    store = store_id(binding.subjects_key)
    for project, ops in commits:
        for entity in _named(ops):
            if (project, mark_of(store, project, entity)) in running:
                raise refused(entity)


def _named(ops: Sequence[Op]) -> Iterator[Entity]:
    """The entities that operations write about."""
    found: dict[Entity, None] = {}
    for op in ops:
        match op:
            case PutTurns():
                found.update(dict.fromkeys(op.scope.entities()))
            case PutMemory():
                found.update(dict.fromkeys(op.memory.scope.entities()))
            case PutJob():
                ids = zip(ENTITY_KINDS, job_ids(op.job.scope_key), strict=True)
                named = (Entity(kind, id_) for kind, id_ in ids if id_ is not None)
                found.update(dict.fromkeys(named))
            case PutRows():
                for row in op.rows:
                    if isinstance(row, Held):
                        found.update(dict.fromkeys(row.scope.entities()))
    return iter(found)
