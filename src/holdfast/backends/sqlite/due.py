"""Which jobs are due: asked on a read connection, for the thread of all writes has no time."""

from __future__ import annotations

from typing import Final

from holdfast.backends.sql.dialect import Connection
from holdfast.backends.sql.queue import DUE, FIRST_OF_SCOPE, UNFINISHED

CANDIDATES: Final = 8
"""Jobs looked for at once: where workers compete for the first, the others need not ask again."""

# What was ever finished costs nothing: the index has the unfinished ones only. The oldest job
# that may be taken is nearly always among the first of them.
_NEAR: Final = f"""
SELECT j.no FROM (
  SELECT * FROM jobs WHERE no >= (
    SELECT min(u.no) FROM jobs u INDEXED BY jobs_unfinished
    WHERE u.state IN ('PENDING', 'RUNNING')
  ) ORDER BY no LIMIT 256
) j WHERE {UNFINISHED} AND {DUE} AND {FIRST_OF_SCOPE} ORDER BY j.no LIMIT {CANDIDATES}
"""

# Where many wait for a later time, as while a model is away: the first one of each scope.
_HEADS: Final = f"""
SELECT j.no FROM (
  SELECT min(u.no) AS no FROM jobs u INDEXED BY jobs_unfinished
  WHERE u.state IN ('PENDING', 'RUNNING') GROUP BY u.project, u.scope_key
) head JOIN jobs j ON j.no = head.no WHERE {DUE} ORDER BY j.no LIMIT {CANDIDATES}
"""


def due(connection: Connection, at: float) -> list[int]:
    """The oldest jobs that `queue.take` may take, by number, a few of them."""
    for statement in (_NEAR, _HEADS):
        if found := connection.execute(statement, {"at": at}).fetchall():
            return [no for (no,) in found]
    return []
