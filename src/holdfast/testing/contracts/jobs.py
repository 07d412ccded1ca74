"""The contract of `ports.Jobs`, sentence by sentence."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from holdfast.errors import ConflictError
from holdfast.model import Job, JobState, Json
from holdfast.ports import FinishJob
from holdfast.testing.contracts.fixtures import StoreFixtures
from holdfast.testing.contracts.values import BLUE, NOW, RED, commit, one, put, put_job
from holdfast.testing.replica import Store

LEASE_S = 10.0


async def lease(store: Store, owner: str = "me", at: float = NOW) -> str | None:
    """The id of the job that was leased."""
    job = await store.lease(owner, at, LEASE_S)
    return None if job is None else job.id


async def lease_one(store: Store, id_: str, owner: str = "me", at: float = NOW) -> str | None:
    """The id of the job, if it could be leased."""
    job = await store.lease_one(RED, id_, owner, at, LEASE_S)
    return None if job is None else job.id


async def finish(
    store: Store, id_: str, state: JobState = "SUCCEEDED", owner: str = "me", **fields: Json
) -> None:
    """Commit the end of a job."""
    fields = {"at": NOW, **fields}
    await commit(store, FinishJob(job_id=id_, owner=owner, state=state, **fields))


async def known(store: Store, id_: str) -> Job:
    """A job that must be there."""
    job = await store.job(RED, id_)
    assert job is not None, f"{id_} is not there"
    return job


class JobsContract(StoreFixtures):
    """Inherit this, override the fixture `make`, and run it with pytest-asyncio in auto mode."""

    async def test_jobs_that_wait_because_of_an_error_are_hastened(self, store: Store) -> None:
        later: dict[str, Any] = {"run_after": NOW + 500, "error": "e", "error_code": "SPENT"}
        await commit(
            store,
            put_job("a", "s1", **later),
            put_job("b", "s2", **{**later, "error_code": "AWAY"}),
            put_job("c", "s3", **{**later, "run_after": NOW - 5}),
            put_job("d", "s4", state="FAILED", **later),
        )
        await commit(store, put_job("e", "s1", project=BLUE, **later), project=BLUE)
        assert await store.hasten(RED, "SPENT", NOW) == 1
        due = {}
        for project, name in ((RED, "a"), (RED, "b"), (RED, "c"), (RED, "d"), (BLUE, "e")):
            job = await store.job(project, name)
            assert job is not None
            due[name] = job.run_after - NOW
        assert due == {"a": 0, "b": 500, "c": -5, "d": 500, "e": 500}
        assert await store.hasten(RED, "SPENT", NOW) == 0

    async def test_a_job_comes_back_as_it_was(self, store: Store) -> None:
        op = put_job(
            "j",
            "scope",
            kind="store",
            state="SUCCEEDED",
            payload={"ids": ["a"], "n": None},
            attempts=2,
            idempotency_key="key",
            fingerprint="print",
            result={"results": []},
            error="e",
            error_code="E",
            run_after=NOW + 1.5,
            created_at=NOW + 0.25,
            started_at=NOW + 1,
            completed_at=NOW + 2,
        )
        await commit(store, op)
        assert await store.job(RED, "j") == op.job
        assert await store.find_job(RED, "key") == op.job
        assert await store.job(RED, "other") is None
        assert await store.find_job(RED, "other") is None

    async def test_a_lease_makes_a_job_run(self, store: Store) -> None:
        await commit(store, put_job("j"))
        leased = await store.lease("me", NOW + 1, LEASE_S)
        assert leased is not None
        assert (leased.id, leased.state, leased.attempts) == ("j", "RUNNING", 1)
        assert leased.started_at == NOW + 1
        assert leased == await known(store, "j")
        again = await store.lease("you", NOW + 1 + LEASE_S, LEASE_S)
        assert again is not None
        assert (again.attempts, again.started_at) == (2, NOW + 1)

    async def test_the_oldest_due_job_comes_first_of_any_project(self, store: Store) -> None:
        await commit(store, put_job("z", "one"))
        await commit(store, put_job("b", "two", project=BLUE), project=BLUE)
        await commit(store, put_job("a", "three"), put_job("late", "four", run_after=NOW + 5))
        assert [await lease(store) for _ in range(4)] == ["z", "b", "a", None]
        assert await lease(store, at=NOW + 5) == "late"

    async def test_jobs_of_one_scope_wait_for_each_other(self, store: Store) -> None:
        await commit(store, put_job("a1", "a"), put_job("a2", "a"), put_job("b1", "b"))
        await commit(store, put_job("blue", "a", project=BLUE), project=BLUE)
        assert [await lease(store) for _ in range(4)] == ["a1", "b1", "blue", None]
        await finish(store, "a1", "PENDING", run_after=NOW + 5)
        assert await lease(store) is None
        assert await lease(store, at=NOW + 5) == "a1"
        await finish(store, "a1", "FAILED")
        assert await lease(store) == "a2"

    async def test_what_is_leased_is_not_due_until_the_lease_runs_out(self, store: Store) -> None:
        await commit(store, put_job("j", run_after=NOW))
        assert await lease(store, at=NOW - 0.5) is None
        assert await lease(store, "me") == "j"
        assert await lease(store, "you", at=NOW + LEASE_S - 0.5) is None
        assert await lease(store, "you", at=NOW + LEASE_S) == "j"

    async def test_finished_jobs_are_not_leased(self, store: Store) -> None:
        await commit(store, put_job("done", state="SUCCEEDED"), put_job("dead", state="FAILED"))
        assert await lease(store, at=NOW + 1e6) is None
        assert await lease_one(store, "done", at=NOW + 1e6) is None
        assert await lease_one(store, "dead", at=NOW + 1e6) is None

    async def test_one_job_can_be_taken_before_its_time(self, store: Store) -> None:
        await commit(store, put_job("a", "s"), put_job("j", "t", run_after=NOW + 99))
        taken = await store.lease_one(RED, "j", "me", NOW, LEASE_S)
        assert taken is not None
        assert (taken.id, taken.state, taken.attempts) == ("j", "RUNNING", 1)
        assert await lease_one(store, "j", "you", NOW + LEASE_S - 0.5) is None
        assert await lease_one(store, "j", "you", NOW + LEASE_S) == "j"
        assert await lease_one(store, "unknown") is None

    async def test_one_job_is_not_taken_out_of_turn(self, store: Store) -> None:
        await commit(store, put_job("first"), put_job("second"))
        assert await lease_one(store, "second") is None
        assert await lease_one(store, "first") == "first"
        assert await lease_one(store, "second") is None
        await finish(store, "first")
        assert await lease_one(store, "second") == "second"

    async def test_a_heartbeat_prolongs_a_lease(self, store: Store) -> None:
        await commit(store, put_job("j"))
        assert not await store.heartbeat(RED, "j", "me", NOW, LEASE_S)
        await lease(store)
        assert await store.heartbeat(RED, "j", "me", NOW + 5, LEASE_S)
        assert await lease(store, "you", at=NOW + LEASE_S + 1) is None
        assert not await store.heartbeat(RED, "j", "you", NOW + 5, LEASE_S)
        assert not await store.heartbeat(BLUE, "j", "me", NOW + 50, LEASE_S)
        assert await lease(store, "you", at=NOW + 5 + LEASE_S) == "j"
        assert not await store.heartbeat(RED, "j", "me", NOW + 16, LEASE_S)
        await finish(store, "j", owner="you")
        assert not await store.heartbeat(RED, "j", "you", NOW + 17, LEASE_S)

    async def test_a_job_ends_with_its_result(self, store: Store) -> None:
        await commit(store, put_job("j", result="earlier"))
        await lease(store)
        await finish(store, "j", at=NOW + 3)
        ended = await known(store, "j")
        assert (ended.state, ended.result, ended.completed_at) == ("SUCCEEDED", "earlier", NOW + 3)
        await commit(store, put_job("k"))
        await lease(store)
        await finish(store, "k", "FAILED", result=[1], error="why", error_code="E", at=NOW + 4)
        failed = await known(store, "k")
        assert (failed.result, failed.error, failed.error_code) == ([1], "why", "E")
        assert (failed.state, failed.completed_at, failed.attempts) == ("FAILED", NOW + 4, 1)

    async def test_a_job_that_is_put_back_waits(self, store: Store) -> None:
        await commit(store, put_job("j"))
        await lease(store)
        await finish(store, "j", "PENDING", error="busy", error_code="E", run_after=NOW + 50)
        waiting = await known(store, "j")
        assert (waiting.state, waiting.error, waiting.attempts) == ("PENDING", "busy", 1)
        assert (waiting.completed_at, waiting.started_at) == (None, NOW)
        assert await lease(store, at=NOW + 49) is None
        assert await lease(store, at=NOW + 50) == "j"
        await finish(store, "j")
        assert (await known(store, "j")).error is None

    async def test_a_lost_lease_finishes_nothing(self, store: Store) -> None:
        await commit(store, put_job("j"))
        for owner, id_ in (("me", "j"), ("me", "unknown")):
            with pytest.raises(ConflictError):
                await finish(store, id_, owner=owner)
        await lease(store, "me")
        await lease(store, "you", at=NOW + LEASE_S)
        before = await known(store, "j")
        end = FinishJob(job_id="j", owner="me", state="SUCCEEDED", at=NOW)
        with pytest.raises(ConflictError):
            await commit(store, put("a"), end)
        assert await known(store, "j") == before
        assert await one(store, "a") is None
        await finish(store, "j", owner="you")
        with pytest.raises(ConflictError):
            await finish(store, "j", owner="you")

    async def test_a_lease_that_ran_out_is_held_until_it_is_taken(self, store: Store) -> None:
        await commit(store, put_job("j"))
        await lease(store, "me")
        assert await store.heartbeat(RED, "j", "me", NOW + 2 * LEASE_S, LEASE_S)
        await finish(store, "j", at=NOW + 9 * LEASE_S)
        assert (await known(store, "j")).state == "SUCCEEDED"

    async def test_jobs_are_listed_newest_first(self, store: Store) -> None:
        for id_, state in (("c", "PENDING"), ("a", "FAILED"), ("d", "PENDING"), ("b", "FAILED")):
            await commit(store, put_job(id_, id_, state=state))
        await commit(store, put_job("blue", project=BLUE), project=BLUE)

        async def ids(state: JobState | None, offset: int, size: int) -> list[str]:
            return [job.id for job in await store.jobs(RED, state, offset, size)]

        assert await ids(None, 0, 9) == ["b", "d", "a", "c"]
        assert await ids(None, 1, 2) == ["d", "a"]
        assert await ids("PENDING", 0, 9) == ["d", "c"]
        assert await ids("FAILED", 1, 9) == ["a"]
        assert await ids("RUNNING", 0, 9) == []

    async def test_jobs_are_counted_by_state(self, store: Store) -> None:
        for id_, state in (("c", "PENDING"), ("a", "FAILED"), ("d", "PENDING")):
            await commit(store, put_job(id_, id_, state=state))
        await commit(store, put_job("blue", project=BLUE), project=BLUE)
        states: tuple[JobState | None, ...] = (None, "PENDING", "FAILED", "RUNNING")
        assert [await store.count_jobs(RED, state) for state in states] == [3, 2, 1, 0]

    async def test_a_failed_job_can_run_again(self, store: Store) -> None:
        await commit(store, put_job("j"))
        await lease(store)
        assert not await store.rerun(RED, "j", NOW)
        await finish(store, "j", "FAILED", error="why", error_code="E", result=[1])
        assert await store.rerun(RED, "j", NOW + 5)
        again = await known(store, "j")
        assert (again.state, again.attempts, again.run_after) == ("PENDING", 0, NOW + 5)
        assert (again.error, again.error_code, again.completed_at) == (None, None, None)
        assert await lease(store, at=NOW + 4) is None
        assert await lease(store, at=NOW + 5) == "j"
        await finish(store, "j")
        assert not await store.rerun(RED, "j", NOW)
        assert not await store.rerun(RED, "unknown", NOW)

    async def test_a_job_that_nobody_took_can_be_ended(self, store: Store) -> None:
        await commit(store, put_job("j"))
        await commit(store, put_job("next"))
        end = FinishJob(job_id="j", owner=None, state="FAILED", at=NOW + 3, error_code="E")
        await commit(store, end)
        job = await known(store, "j")
        assert (job.state, job.error_code, job.completed_at) == ("FAILED", "E", NOW + 3)
        assert await lease(store) == "next"  # nothing is before it any more
        for taken in ("next", "j", "unknown"):
            with pytest.raises(ConflictError):
                await commit(store, replace(end, job_id=taken))
        assert (await known(store, "next")).state == "RUNNING"
        await finish(store, "next")
        with pytest.raises(ConflictError):
            await commit(store, replace(end, job_id="next"))
        assert await store.rerun(RED, "j", NOW)
