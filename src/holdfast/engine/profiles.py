"""Profiles: made when they are asked for, by the jobs that make exports, and kept beside them.

A profile is all that is remembered of one user or agent, in the form that was set for the project.
It goes as soon as a memory it was made from is deleted, as an export does, and is made anew when it
is asked for again; or when so many memories came that it is stale.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from holdfast.core import exports as shaping
from holdfast.core.identity import fingerprint
from holdfast.core.profiles import LAST_EXPORT_ID, Form, form_of, profile_id
from holdfast.directory import Export, Where
from holdfast.engine import exports, read
from holdfast.engine.parts import Parts
from holdfast.errors import ConflictError, NotFoundError, ReplayedError, ValidationError
from holdfast.filters import parse_filter
from holdfast.limits import PROFILE_STALE_MEMORIES, PROFILES_KEPT_MAX
from holdfast.model import Entity, Job, Json, Struct
from holdfast.ports import PutJob

ProfileState = Literal["succeeded", "pending", "failed", "not_enabled", "insufficient_data"]


class Profile(Struct, frozen=True, kw_only=True):
    """What is remembered of one user or agent, as far as it is made."""

    state: ProfileState
    entity: Entity
    profile: Mapping[str, Json] = {}
    """Fits the form that was set when it was made; empty unless it is made."""
    updated_at: float | None = None
    """When it was made, epoch seconds."""
    generations: int = 0
    """How often it was made, or begun to be."""


async def find(parts: Parts, entity: Entity) -> Profile:
    """The profile as it stands; where there is none, or a stale one, making it is begun.

    Raises NotFoundError for somebody who has no memories.
    """
    form = await _form(parts, entity.kind)
    known = await read.entity(parts, entity)
    if form is None:
        return Profile(state="not_enabled", entity=entity)
    kept = await _kept(parts, entity)
    if kept is None:
        if not known.memories:
            return Profile(state="insufficient_data", entity=entity)
        await generate(parts, entity)
        kept = await _kept(parts, entity)
    elif kept.state == "SUCCEEDED" and await _is_stale(parts, entity, kept):
        await generate(parts, entity)
        kept = await _kept(parts, entity)
    return await _told(parts, entity, kept)


async def generate(parts: Parts, entity: Entity, key: str | None = None) -> tuple[str, bool]:
    """Make a profile, or begin to: the id of the job, and whether `key` had begun it before.

    What is there stays till it is made. Raises NotFoundError; ValidationError where no form is
    set; ConflictError for a key of another call.
    """
    form = await _form(parts, entity.kind)
    if form is None:
        raise ValidationError(
            "Profiles are not enabled, or have no schema.",
            hint='Set both: {"enabled": true, "entities": {"user": {"schema": {...}}}}.',
        )
    await read.entity(parts, entity)
    mark = fingerprint(["profile", entity.kind, entity.id], parts.content_key)
    known = None if key is None else await parts.jobs.find_job(parts.project, key)
    if known is None:
        try:
            return await _begin(parts, entity, form, key, mark), False
        except ReplayedError as error:
            known = await parts.jobs.job(parts.project, error.job_id)
    if known is None or known.fingerprint != mark:
        raise ConflictError(
            "This idempotency key was used for another call.", hint="Use a new key."
        )
    return known.id, True


async def job(parts: Parts, job_id: str) -> Job:
    """The job that makes a profile. Raises NotFoundError."""
    found = await parts.jobs.job(parts.project, job_id)
    if found is None or found.payload.get("event") != "PROFILE":
        raise NotFoundError("There is no such job.", hint="`generate` tells the id of one.")
    return found


async def _begin(parts: Parts, entity: Entity, form: Form, key: str | None, mark: str) -> str:
    now = parts.clock.now()
    id_ = profile_id(parts.project, entity)
    here = parts.llm is None
    job = Job(
        id=parts.ids.new(),
        project=parts.project,
        kind="export",
        state="SUCCEEDED" if here else "PENDING",
        scope_key=f"export {id_}",
        payload={"event": "PROFILE", "scope": [None, None, None, None], "export": id_},
        idempotency_key=key,
        fingerprint=mark if key is not None else None,
        result={"results": []} if here else None,
        run_after=now,
        created_at=now,
        completed_at=now if here else None,
    )
    kept = await _put(parts, entity, form, job.id)
    if here:
        wanted = parse_filter(kept.request["filters"], require_entity=True)
        memories = await exports.matching(parts, wanted)
        listed = shaping.listing(form.schema, memories)
        own = {name: listed[name] for name in form.schema["properties"] if name in listed}
        if not await exports.fill(parts, kept, own, memories):
            raise ConflictError("A memory was deleted meanwhile.", hint="Ask for it again.")
    await parts.records.commit(parts.project, [PutJob(job=job)])
    parts.wake.set()
    await _prune(parts)
    return job.id


async def _put(parts: Parts, entity: Entity, form: Form, job_id: str) -> Export:
    """Note what is wanted, and which job makes it; what was made before stays."""
    before = await _kept(parts, entity)
    count = 0 if before is None else before.request["generations"]
    request = {
        "schema": form.schema,
        "filters": {f"{entity.kind}_id": entity.id},
        "instructions": form.instructions,
        "job": job_id,
        "generations": count + 1,
    }
    row = Export(
        id=profile_id(parts.project, entity),
        project=parts.project,
        request=request,
        state="PENDING",
        created_at=parts.clock.now(),
    )
    mine = (Where("project", row.project), Where("id", row.id))
    if not await parts.directory.update(Export, *mine, values={"request": request}):
        await parts.directory.insert(row)
    return row


async def _kept(parts: Parts, entity: Entity) -> Export | None:
    where = (Where("project", parts.project), Where("id", profile_id(parts.project, entity)))
    found = await parts.directory.select(Export, *where)
    return found[0] if found else None


async def _told(parts: Parts, entity: Entity, kept: Export | None) -> Profile:
    if kept is None:  # a memory was deleted meanwhile
        return Profile(state="pending", entity=entity)
    count = kept.request["generations"]
    if kept.state == "SUCCEEDED":
        return Profile(
            state="succeeded",
            entity=entity,
            profile=kept.result,
            updated_at=kept.completed_at,
            generations=count,
        )
    making = await parts.jobs.job(parts.project, kept.request["job"])
    failed = making is None or making.state == "FAILED"
    return Profile(state="failed" if failed else "pending", entity=entity, generations=count)


async def _is_stale(parts: Parts, entity: Entity, kept: Export) -> bool:
    """Whether many memories came since it was made, and it is not being made anew already."""
    making = await parts.jobs.job(parts.project, kept.request["job"])
    if making is not None and making.state in ("PENDING", "RUNNING"):
        return False
    since = {f"{entity.kind}_id": entity.id, "created_at": {"gt": kept.completed_at}}
    request = read.ListRequest(filter=parse_filter(since, require_entity=True), size=1)
    return (await read.get_all(parts, request)).total >= PROFILE_STALE_MEMORIES


async def _prune(parts: Parts) -> None:
    """Let the oldest profiles go, if there are too many."""
    mine = (Where("project", parts.project), Where("id", LAST_EXPORT_ID, "gt"))
    old: Sequence[Export] = await parts.directory.select(
        Export, *mine, order="created_at", newest_first=True, offset=PROFILES_KEPT_MAX
    )
    if old:
        gone = Where("id", tuple(one.id for one in old), "in")
        await parts.directory.delete(Export, mine[0], gone)


async def _form(parts: Parts, kind: str) -> Form | None:
    return form_of(await parts.project_settings.of(parts.directory, parts.project), kind)
