"""The public face of exports, summaries and feedback."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from holdfast import limits
from holdfast.core import intake, verbs
from holdfast.core.exports import clean_schema
from holdfast.core.fence import OPEN, Fence
from holdfast.core.prompt import INSTRUCTIONS_CHARS_MAX
from holdfast.directory import Export, Feedback
from holdfast.engine import add as adding
from holdfast.engine import exports as engine
from holdfast.engine import feedback as opining
from holdfast.engine.auditing import audited
from holdfast.engine.exports import ExportRequest
from holdfast.engine.parts import Parts
from holdfast.errors import ValidationError
from holdfast.model import Json


@audited(verbs.EXPORTS, "exports.")
class Exports:
    """Exports, summaries and feedback of a deployment's projects; `AsyncAdmin.exports` gives it.

    Where a method takes `project`, None means the project of the configuration.
    """

    def __init__(self, parts: Callable[[str | None, Fence], Awaitable[Parts]]) -> None:
        """`parts`: gives those of a project, or of a part of one, opened."""
        self._parts = parts

    async def create(
        self,
        schema: Mapping[str, Json] | str,
        filters: Mapping[str, Json],
        *,
        instructions: str | None = None,
        project: str | None = None,
    ) -> str:
        """Have the memories that match put into a form of one's own; the export's id.

        A configured language model fills in the form, in a job with the same id; else memories are
        listed where the form has lists. Raises ValidationError, FilterError, TooLargeError.
        """
        request = ExportRequest(
            schema=clean_schema(schema),
            filters=filters,
            instructions=None
            if not instructions
            else intake.clean_text(instructions, "export_instructions", INSTRUCTIONS_CHARS_MAX),
        )
        return (await engine.create(await self._parts(project, OPEN), request)).id

    async def find(
        self,
        export_id: str | None = None,
        *,
        filters: Mapping[str, Json] | None = None,
        wait_s: float = 0.0,
        project: str | None = None,
    ) -> Export:
        """An export by its id, or the newest with these filters.

        Waits so long for one that is being made. Raises NotFoundError; ValidationError for neither.
        """
        parts = await self._parts(project, OPEN)
        if export_id is None and not filters:
            raise ValidationError(
                "Neither memory_export_id nor filters is given.", hint="Give one of them."
            )
        if export_id is not None:
            export = await engine.find(parts, intake.clean_id(export_id, "memory_export_id"))
        else:
            export = await engine.newest(parts, filters or {})
        if export.state == "PENDING":
            job = await adding.wait_for(parts, export.id, wait_s)
            export = engine.with_job(await engine.find(parts, export.id), job)
        return export

    async def summary(
        self,
        filters: Mapping[str, Json],
        *,
        project: str | None = None,
        fence: Fence = OPEN,
    ) -> list[dict[str, Json]]:
        """`[{"summary", "total_memories", "made_by"}]` of the memories that match; [] if none do.

        made_by: "model", or "digest" (the newest memories, word for word) without one. Raises
        FilterError, TooLargeError, ModelError.
        """
        return await engine.summarise(await self._parts(project, fence), filters)

    async def give_feedback(
        self,
        memory_id: str,
        feedback: str | None,
        reason: str | None = None,
        *,
        project: str | None = None,
        fence: Fence = OPEN,
    ) -> Feedback:
        """Say what is thought of a memory: POSITIVE, NEGATIVE, VERY_NEGATIVE; None: nothing.

        Takes the place of an earlier opinion. Raises NotFoundError, ValidationError.
        """
        if feedback is not None and feedback not in opining.VALUES:
            raise ValidationError(
                "feedback is unknown.", hint=f"Use {', '.join(opining.VALUES)} or null."
            )
        if reason is not None and reason != "":
            reason = intake.clean_text(reason, "feedback_reason", limits.FEEDBACK_CHARS_MAX)
        memory_id = intake.clean_memory_id(memory_id)
        parts = await self._parts(project, fence)
        return await opining.give(parts, memory_id, feedback, reason)
