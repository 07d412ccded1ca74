"""Where a change comes from (who, by which face, by which model), as its history keeps it."""

from __future__ import annotations

from holdfast.acts import Way, actor_now, way_now
from holdfast.model import How, Job, Json, Origin


def origin_now(how: How) -> Origin:
    """The origin of a change that the present actor makes."""
    principal, kind, via, way = by_now()
    return Origin(how, principal, kind, via, way=way)


def by_now() -> tuple[str, str, str, Way]:
    """Who acts, through which face and by which way, as a job's payload keeps it in `by`."""
    actor = actor_now()
    return actor.principal, actor.kind, actor.via, way_now()


def origin_of(job: Job, how: How, model: str, prompt: str) -> Origin:
    """The origin of a change that a job makes: by whoever ordered the job, with this model."""
    by: Json = job.payload.get("by") or ("", "", "", "")
    principal, kind, via, way = by
    return Origin(how, principal, kind, via, model, prompt, way)
