"""Exports and summaries: the memories that match, in a form of the caller's own.

Where a language model is configured it fills in the form, in a job that survives the process; else
the memories are listed. An export goes as soon as one of its memories is deleted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from msgspec.structs import replace as change

from holdfast import credential
from holdfast.core import exports
from holdfast.core.extract import parse_summary
from holdfast.core.profiles import LAST_EXPORT_ID
from holdfast.directory import Export, ExportState, Where
from holdfast.engine.asking import Asker
from holdfast.engine.ledger import job_payer, payer_of
from holdfast.engine.parts import Parts
from holdfast.engine.read import ListRequest, get_all
from holdfast.errors import (
    BadAnswerError,
    ConflictError,
    ModelError,
    NotFoundError,
    TooLargeError,
    ValidationError,
)
from holdfast.filters import Filter, named_scope, parse_filter
from holdfast.limits import EXPORT_MEMORIES_MAX, EXPORTS_KEPT_MAX
from holdfast.model import Job, Json, Memory, Project, Struct
from holdfast.ports import Op, PutJob, PutRows

_DELETED = "A memory was deleted while the export was made."


class ExportRequest(Struct, frozen=True, kw_only=True):
    """A validated wish for an export."""

    schema: Mapping[str, Json]
    filters: Mapping[str, Json]
    """As the caller wrote them: they are asked for by them, too."""
    instructions: str | None = None


async def create(parts: Parts, request: ExportRequest) -> Export:
    """Make an export, or begin to. Raises FilterError, TooLargeError."""
    memories = await matching(parts, _filter(request.filters))
    now = parts.clock.now()
    export = Export(
        id=parts.ids.new(),
        project=parts.project,
        request={
            "schema": request.schema,
            "filters": request.filters,
            "instructions": request.instructions,
        },
        state="PENDING",
        created_at=now,
    )
    rows = PutRows(rows=(export,))
    if parts.llm is None:
        await parts.records.commit(parts.project, [rows])
        result = exports.listing(request.schema, memories)
        if not await fill(parts, export, result, memories):
            raise ConflictError(_DELETED, hint="Ask for it again.")
    else:
        exports.check_size(memories)
        await parts.records.commit(parts.project, [rows, PutJob(job=_job(parts, export))])
        parts.wake.set()
    await _prune(parts)
    return export


async def find(parts: Parts, export_id: str) -> Export:
    """An export as it stands. Raises NotFoundError."""
    found = await parts.directory.select(Export, _mine(parts), Where("id", export_id))
    if not found:
        raise unknown()
    return found[0]


async def newest(parts: Parts, filters: Mapping[str, Json]) -> Export:
    """The newest export with these filters. Raises NotFoundError."""
    found = await parts.directory.select(
        Export, *_plain(parts), newest_first=True, size=EXPORTS_KEPT_MAX
    )
    for export in found:
        if export.request["filters"] == filters:
            return export
    raise unknown()


def with_job(export: Export, job: Job) -> Export:
    """An export as it stands, where its job has failed or waits for another try."""
    if export.state != "PENDING":
        return export
    state: ExportState = "FAILED" if job.state == "FAILED" else "PENDING"
    return change(export, state=state, error=job.error)


def unknown() -> NotFoundError:
    """The error for an export that is not there, in Mem0's words."""
    return NotFoundError("No memory export request found")


async def work(parts: Parts, job: Job) -> tuple[list[Op], Json]:
    """The model's part of an export. Raises ModelError."""
    wanted_id = job.payload.get("export", job.id)  # a profile has an id of its own
    mine = (Where("project", job.project), Where("id", wanted_id))
    found = await parts.directory.select(Export, *mine)
    if not found:
        return [], {"results": []}  # deleted meanwhile
    request = found[0].request
    try:
        wanted = _filter(request["filters"])
        memories = await matching(replace(parts, project=job.project), wanted)
        exports.check_size(memories)
    except ValidationError as error:  # there is more than when it was asked for
        raise ModelError(error.message, hint=error.hint) from error
    talk = exports.exporting(request["schema"], memories, request["instructions"])
    result = await Asker(parts, job_payer(job)).converse(talk)
    if not await fill(parts, found[0], result, memories):
        raise BadAnswerError(_DELETED, hint="Ask for it again.")
    return [], {"results": []}


async def summarise(parts: Parts, filters: Mapping[str, Json]) -> list[dict[str, Json]]:
    """What the memories that match say, in short; nothing if there are none.

    Raises FilterError, TooLargeError, ModelError.
    """
    wanted = _filter(filters)
    memories = await matching(parts, wanted)
    if not memories:
        return []
    told: dict[str, Json] = {"total_memories": len(memories), "made_by": "digest"}
    if parts.llm is None:
        return [{"summary": exports.digest(memories), **told}]
    exports.check_size(memories)
    payer = payer_of(parts, "summary", named_scope(wanted))
    answer = await Asker(parts, payer).ask(exports.summary_prompt(memories))
    return [{"summary": parse_summary(answer.text), **told, "made_by": "model"}]


def _filter(filters: Mapping[str, Json]) -> Filter:
    return parse_filter(filters, require_entity=True)


async def matching(parts: Parts, wanted: Filter) -> Sequence[Memory]:
    """Every memory that matches, the newest first. Raises TooLargeError for too many."""
    page = await get_all(parts, ListRequest(filter=wanted, size=EXPORT_MEMORIES_MAX))
    if page.total > EXPORT_MEMORIES_MAX:
        raise TooLargeError(
            f"{page.total:,} memories match; the limit is {EXPORT_MEMORIES_MAX:,}.",
            hint="Narrow the filters.",
        )
    return page.memories


async def fill(
    parts: Parts, export: Export, result: Mapping[str, Json], memories: Sequence[Memory]
) -> bool:
    """Store what came of an export; False if one of its memories was deleted meanwhile.

    Its memories are named before their texts are stored: a deletion that came before is seen here,
    and one that comes after takes the export away.
    """
    ids = tuple(memory.id for memory in memories)
    mine = (Where("project", export.project), Where("id", export.id))
    await parts.directory.update(Export, *mine, values={"memories": ids})
    there = await parts.records.fetch(Project(export.project), ids)
    if len(there) < len(ids):
        return False
    values: dict[str, Json] = {
        "state": "SUCCEEDED",
        "result": result,
        "completed_at": parts.clock.now(),
    }
    return bool(await parts.directory.update(Export, *mine, values=values))


async def _prune(parts: Parts) -> None:
    """Let the oldest exports go, if there are too many."""
    old = await parts.directory.select(
        Export, *_plain(parts), newest_first=True, offset=EXPORTS_KEPT_MAX
    )
    if old:
        await parts.directory.delete(
            Export, _mine(parts), Where("id", tuple(one.id for one in old), "in")
        )


def _job(parts: Parts, export: Export) -> Job:
    return Job(
        id=export.id,
        project=parts.project,
        kind="export",
        state="PENDING",
        scope_key=f"export {export.id}",
        # of nobody: whoever sees only a part of the project is not told of it
        payload={"event": "EXPORT", "scope": [None, None, None, None], "key": credential.current()},
        run_after=export.created_at,
        created_at=export.created_at,
    )


def _mine(parts: Parts) -> Where:
    return Where("project", parts.project)


def _plain(parts: Parts) -> tuple[Where, ...]:
    """Exports, without the profiles that are kept beside them."""
    return _mine(parts), Where("id", LAST_EXPORT_ID, "lte")
