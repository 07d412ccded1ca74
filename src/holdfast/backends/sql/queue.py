"""The durable job queue in the record database."""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.backends.sql.dialect import Connection
from holdfast.backends.sql.multirow import Row, insert, parts
from holdfast.backends.sql.rows import (
    JOB_COLUMNS,
    job_text,
    jobs_from,
    only,
    payload_json,
    to_json,
)
from holdfast.errors import ConflictError, ReplayedError
from holdfast.model import Job, Project
from holdfast.ports import FinishJob

_INSERT = """
INSERT INTO jobs (id, project, kind, state, scope_key, payload, attempts, idempotency_key,
                  fingerprint, result, error, error_code, run_after, created_at, started_at,
                  completed_at)
VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)
ON CONFLICT DO NOTHING RETURNING project, id
"""

# Due: waiting and its time has come, or running under a lease that ran out.
DUE = (
    "((j.state = 'PENDING' AND j.run_after <= :at) "
    "OR (j.state = 'RUNNING' AND j.lease_until <= :at))"
)

# Jobs of one scope run in order, so a job waits while an earlier one is unfinished.
FIRST_OF_SCOPE = """
NOT EXISTS (SELECT 1 FROM jobs e WHERE e.project = j.project AND e.scope_key = j.scope_key
            AND e.no < j.no AND e.state IN ('PENDING', 'RUNNING'))
"""

_TAKE = """
UPDATE jobs SET state = 'RUNNING', lease_owner = :owner, lease_until = :until,
  attempts = attempts + 1, started_at = coalesce(started_at, :at)
WHERE no = :no
"""

UNFINISHED = "j.state IN ('PENDING', 'RUNNING')"


def put(connection: Connection, jobs: Sequence[Job]) -> None:
    """Store jobs, many to a statement.

    Raises ReplayedError if one's idempotency key is another job's, ConflictError if its id is.
    """
    for part in parts(len(jobs)):
        some = jobs[part]
        stored = _stored(connection, some)
        if len(stored) < len(some):
            _refuse(connection, some, stored)


def _stored(connection: Connection, jobs: Sequence[Job]) -> list[Row]:
    """Store those of some jobs whose id and key are free; project and id of each."""
    rows = [_values(connection, job) for job in jobs]
    return list(insert(connection, _INSERT, rows).fetchall())


def _refuse(connection: Connection, jobs: Sequence[Job], stored: Sequence[Row]) -> None:
    """Raise why the first of these jobs is refused that cannot be stored after those before it:
    what came after it does not count, and was stored by the same statement."""
    for key in stored:
        connection.execute("DELETE FROM jobs WHERE project = ? AND id = ?", key)
    for job in jobs:
        if not _stored(connection, [job]):
            raise _refusal(connection, job)


def _refusal(connection: Connection, job: Job) -> ConflictError | ReplayedError:
    """Why a job was not stored."""
    earlier = connection.execute(
        "SELECT id FROM jobs WHERE project = ? AND idempotency_key = ?",
        (job.project, job.idempotency_key),
    ).fetchone()
    if earlier is None:
        return ConflictError(
            f"The job id {job.id} is another job's.", hint="Use a new id; nothing was changed."
        )
    return ReplayedError(earlier[0])


def _values(connection: Connection, job: Job) -> Row:
    mine = (connection, job.id, job.project, job.scope_key)
    return (
        job.id,
        job.project,
        job.kind,
        job.state,
        job.scope_key,
        job_text(*mine, "payload", payload_json(job.payload)),
        job.attempts,
        job.idempotency_key,
        job.fingerprint,
        job_text(*mine, "result", to_json(job.result)),
        job.error,
        job.error_code,
        job.run_after,
        job.created_at,
        job.started_at,
        job.completed_at,
    )


def finish(connection: Connection, project: Project, op: FinishJob) -> None:
    """End a leased job or put it back; ConflictError if the lease is somebody else's by now."""
    done = op.state in ("SUCCEEDED", "FAILED")
    held = "state = 'RUNNING' AND lease_owner = ?"
    if op.owner is None:
        held = "state = 'PENDING' AND lease_owner IS NULL"
    changed = connection.execute(
        "UPDATE jobs SET state = ?, result = coalesce(?, result), error = ?, error_code = ?, "
        "run_after = ?, completed_at = ?, lease_owner = NULL, lease_until = NULL, "
        "attempts = attempts - ? "
        f"WHERE project = ? AND id = ? AND {held}",
        (
            op.state,
            _result(connection, project, op),
            op.error,
            op.error_code,
            op.run_after,
            op.at if done else None,
            int(op.untried),
            project,
            op.job_id,
            *(() if op.owner is None else (op.owner,)),
        ),
    ).rowcount
    if changed != 1:
        raise ConflictError(
            f"The lease of job {op.job_id} was lost to another worker.",
            hint="Its work is that worker's now; nothing was changed.",
        )


def _result(connection: Connection, project: Project, op: FinishJob) -> str | None:
    """The result as it is stored; to be sealed, it is asked whose job it is."""
    result = to_json(op.result)
    if result is None or connection.sealer is None:
        return result
    scope_key = only(
        connection, "SELECT scope_key FROM jobs WHERE project = ? AND id = ?", (project, op.job_id)
    )
    return job_text(connection, op.job_id, project, scope_key or "", "result", result)


def lease(connection: Connection, owner: str, at: float, lease_s: float) -> Job | None:
    """Take the oldest due job whose scope has no earlier unfinished one."""
    row = connection.execute(
        f"SELECT j.no FROM jobs j WHERE {UNFINISHED} AND {DUE} AND {FIRST_OF_SCOPE} "
        f"ORDER BY j.no LIMIT 1{connection.dialect.lock_free}",
        {"at": at},
    ).fetchone()
    return None if row is None else _take(connection, row[0], owner, at, lease_s)


def take(
    connection: Connection, numbers: Sequence[int], owner: str, at: float, lease_s: float
) -> Job | None:
    """Take the first of these jobs that is due still and whose turn it is; None if none is."""
    for no in numbers:
        row = connection.execute(
            f"SELECT j.no FROM jobs j WHERE j.no = :no AND {UNFINISHED} AND {DUE} "
            f"AND {FIRST_OF_SCOPE}{connection.dialect.lock}",
            {"no": no, "at": at},
        ).fetchone()
        if row is not None:
            return _take(connection, no, owner, at, lease_s)
    return None


def lease_one(
    connection: Connection,
    project: Project,
    job_id: str,
    owner: str,
    at: float,
    lease_s: float,
) -> Job | None:
    """Take this job if nobody owns it and it is its turn, whether or not its time has come."""
    row = connection.execute(
        f"SELECT j.no FROM jobs j WHERE j.project = :project AND j.id = :id AND {UNFINISHED} "
        f"AND (j.state = 'PENDING' OR j.lease_until <= :at) AND {FIRST_OF_SCOPE}"
        f"{connection.dialect.lock}",
        {"project": project, "id": job_id, "at": at},
    ).fetchone()
    return None if row is None else _take(connection, row[0], owner, at, lease_s)


def _take(connection: Connection, no: int, owner: str, at: float, lease_s: float) -> Job:
    connection.execute(_TAKE, {"owner": owner, "until": at + lease_s, "at": at, "no": no})
    row = connection.execute(f"SELECT {JOB_COLUMNS} FROM jobs j WHERE j.no = ?", (no,)).fetchone()
    return jobs_from(connection, [row])[0]


def heartbeat(
    connection: Connection, project: Project, job_id: str, owner: str, until: float
) -> bool:
    """Prolong a lease; False if it was lost."""
    changed = connection.execute(
        "UPDATE jobs SET lease_until = ? "
        "WHERE project = ? AND id = ? AND lease_owner = ? AND state = 'RUNNING'",
        (until, project, job_id, owner),
    ).rowcount
    return changed > 0


def hasten(connection: Connection, project: Project, error_code: str, at: float) -> int:
    """Make those that wait because of an error due."""
    return connection.execute(
        "UPDATE jobs SET run_after = ? WHERE project = ? AND state = 'PENDING' "
        "AND error_code = ? AND run_after > ?",
        (at, project, error_code, at),
    ).rowcount


def rerun(connection: Connection, project: Project, job_id: str, at: float) -> bool:
    """Make a failed job due again with a fresh count of tries."""
    changed = connection.execute(
        "UPDATE jobs SET state = 'PENDING', attempts = 0, run_after = ?, error = NULL, "
        "error_code = NULL, completed_at = NULL WHERE project = ? AND id = ? AND state = 'FAILED'",
        (at, project, job_id),
    ).rowcount
    return changed == 1
