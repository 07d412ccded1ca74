"""An index in the same database: the points of memories are written in the transactions that write
the memories, as long as the index has everything that came before.

Where it has not, because a write of the index failed or it is built anew, the transaction leaves
it alone: whoever feeds it is at it then, and two would overtake each other.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from psycopg import AsyncConnection
from psycopg.abc import AdaptContext

from holdfast.backends.postgres.session import Last, Session, Statement
from holdfast.backends.sql.changes import FLOOR_OF, FLOOR_OF_ALL
from holdfast.backends.sql.dialect import Cursor
from holdfast.backends.sql.indexing import ask_points, moving, points_from
from holdfast.errors import HoldfastError
from holdfast.model import Project
from holdfast.ports import (
    EditMemory,
    FillSpace,
    Op,
    Point,
    PutMemory,
    RemoveMemories,
    Reset,
    SetVectors,
    build_number,
    held_number,
    held_numbers,
    space_number,
)

_CHANGING: Final = (PutMemory, EditMemory, SetVectors, FillSpace, RemoveMemories, Reset)
"""Operations that change what an index has."""

# Asked before anything is changed, with the project's lock. A project that nobody ever wrote to is
# fed to nobody; of others the index must have the last change, of which the outbox tells: by the
# index outbox_by_generation, so it looks at what others wrote since the project was last written.
_STANDING: Final = """
WITH build AS (
  SELECT coalesce(max(value), 0) AS no FROM counters WHERE name = :build),
held AS (
  SELECT build.no, (SELECT value FROM counters
                    WHERE name = :before::text || build.no::text || ':' || :project::text) AS upto
  FROM build),
forgotten AS (
  SELECT coalesce(max(value), 0) AS upto, coalesce(bool_or(name = :floor), false) AS own
  FROM counters WHERE name IN (:floor, :floor_of_all))
SELECT held.no, held.upto,
       (SELECT value FROM counters WHERE name = :space::text || held.no::text), CASE
  WHEN held.upto IS NULL THEN
    NOT forgotten.own AND NOT EXISTS (SELECT 1 FROM entities WHERE project = :project)
  ELSE held.upto >= forgotten.upto AND NOT EXISTS (
    SELECT 1 FROM outbox o JOIN entities n ON n.no = o.entity_no
    WHERE n.project = :project AND o.generation > held.upto)
  END
FROM held, forgotten
"""

# The project's lock is held: somebody who keeps the index's tables is not waited for.
_SHORTLY: Final = "SELECT set_config('lock_timeout', '500ms', true)"

_log = logging.getLogger("holdfast.index")


class Writable(Protocol):
    """A collection that can be written in somebody else's transaction."""

    def writing(
        self,
        project: Project,
        points: Sequence[Point],
        removed: Sequence[str],
        *,
        emptied: bool = False,
    ) -> Sequence[tuple[str, Mapping[str, Any]]]:
        """Statements, with parameters, that put and remove points; `emptied`: all others too.

        Raises what `Vectors.put` does.
        """

    def register(self, context: AdaptContext) -> None:
        """Teach a cursor to send the parameters."""

    async def lives_with(self, connection: AsyncConnection[Any]) -> bool:
        """Whether a connection is to the same database, and may write the collection."""


@dataclass(frozen=True)
class Beside:
    """The index that is written beside the records."""

    name: str
    build: int
    """The number of the collection that is searched when it is opened."""
    opened: Callable[[int], Writable | None]
    """The collection of a number, if it is open and known to be this store's."""
    left: Callable[[], None]
    """Called after a commit that the index has not got."""


def changes_memories(commits: Sequence[Sequence[Op]]) -> bool:
    """Whether any operation changes what an index has."""
    return any(isinstance(op, _CHANGING) for ops in commits for op in ops)


class Following:
    """`sql.changes.Follower` of one commit, which may take several tries."""

    def __init__(self, index: Beside, project: Project) -> None:
        self._index = index
        self._project = project
        self._left = False

    def begun(self, session: Session) -> Following:
        """A try begins; how the index stands is asked with its first statements."""
        self._left = False
        self._session = session
        told = {
            "build": build_number(self._index.name),
            "before": held_numbers(self._index.name),
            "space": space_number(self._index.name, ""),
            "project": self._project,
            "floor": FLOOR_OF + self._project,
            "floor_of_all": FLOOR_OF_ALL,
        }
        self._standing = session.execute(_STANDING, told)
        return self

    def changed(self, ids: Sequence[str], *, emptied: bool) -> None:
        self._left = True
        self._build, self._held, space_no, is_current = self._standing.fetchone()
        self._vectors = self._index.opened(self._build) if is_current else None
        if self._vectors is None:
            return
        self._ids, self._emptied = ids, emptied
        # looked at after the outbox has asked for more: they travel together
        self._points: Sequence[Cursor] = ask_points(self._session, self._project, space_no, ids)

    def written(self, generation: int) -> None:
        vectors, held = self._vectors, self._held
        if vectors is None:
            return
        points = points_from(self._session, self._project, self._points)
        here = {point.id for point in points}
        gone = [id_ for id_ in self._ids if id_ not in here]
        try:
            statements = vectors.writing(
                self._project, points, gone, emptied=self._emptied or held is None
            )
        except HoldfastError as error:
            self._failed(error)
            return
        name = held_number(self._index.name, self._build, self._project)
        moved = self._session.native(*moving(name, held, generation))
        last: list[Statement] = [(_SHORTLY, ()), *statements, moved]
        self._left = False
        self._session.end_with(Last(last, vectors.register, self._failed))

    def committed(self) -> None:
        """The commit is done; if the index has not got it, somebody must feed it."""
        if self._left:
            self._index.left()

    def _failed(self, error: Exception) -> None:
        self._left = True
        code = getattr(error, "sqlstate", None) or getattr(error, "code", type(error).__name__)
        _log.warning("the index was not written with the records (%s): it is fed instead", code)
