"""The durable queue."""

from __future__ import annotations

from typing import Protocol

from holdfast.model import Job, JobState, Project


class Jobs(Protocol):
    """The durable queue; the record database serves it too. Jobs are put by `Records.commit`.

    A scope here is a `scope_key` of one project; older means put earlier.
    """

    async def job(self, project: Project, job_id: str) -> Job | None:
        """One job by id."""

    async def find_job(self, project: Project, idempotency_key: str) -> Job | None:
        """One job by the idempotency key of its add."""

    async def lease(self, owner: str, at: float, lease_s: float) -> Job | None:
        """Take the oldest job, of any project, that is due and has no older unfinished one in its
        scope; None if there is none.

        Due is what is PENDING from its `run_after` on, and what is RUNNING when its lease has run
        out. The job becomes RUNNING till `at + lease_s`, `attempts` counts this try, `started_at`
        tells of the first.
        """

    async def lease_one(
        self, project: Project, job_id: str, owner: str, at: float, lease_s: float
    ) -> Job | None:
        """Take exactly this job, as `lease` does but whether or not its time has come.

        None if it is finished or unknown, if somebody's lease of it has not run out, or if its
        scope has an older unfinished job.
        """

    async def heartbeat(
        self, project: Project, job_id: str, owner: str, at: float, lease_s: float
    ) -> bool:
        """Prolong a lease till `at + lease_s`; False if it was lost: somebody else took the job, or
        it is not RUNNING any more."""

    async def jobs(
        self, project: Project, state: JobState | None, offset: int, size: int
    ) -> list[Job]:
        """Jobs in this state, or in any, the newest first."""

    async def count_jobs(self, project: Project, state: JobState | None) -> int:
        """How many jobs are in this state, or in any."""

    async def hasten(self, project: Project, error_code: str, at: float) -> int:
        """Make those that wait after a try with this error due at `at`; how many.

        Others, and those that are due earlier, stay as they are.
        """

    async def rerun(self, project: Project, job_id: str, at: float) -> bool:
        """Make a failed job due at `at`, its error cleared, with a fresh count of tries.

        False, and nothing changed, if it is not failed.
        """
