"""The public library: `AsyncMemory`, with the methods and answers of Mem0's `AsyncMemory` and more.

`holdfast.Memory` is the same, blocking; it is generated from this file.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from holdfast import limits
from holdfast.assemble import Assembly, assemble
from holdfast.config import Config, Resolved, load_config
from holdfast.core import intake, shapes, verbs
from holdfast.core.calls import call_filter, call_metadata, either, page_span
from holdfast.core.fence import Fence
from holdfast.engine import add as adding
from holdfast.engine import delete as deleting
from holdfast.engine import events as happening
from holdfast.engine import read as reading
from holdfast.engine import search as searching
from holdfast.engine import update as updating
from holdfast.engine.auditing import audited, entered
from holdfast.engine.parts import Parts
from holdfast.errors import AccessError, ClosedError, UnsupportedError, ValidationError
from holdfast.filters import parse_filter, scope_filter
from holdfast.model import (
    ENTITY_KINDS,
    UNSET,
    Answer,
    Entity,
    EntityKind,
    JobState,
    Json,
    Project,
    Trust,
    When,
)


@audited(verbs.MEMORY)
class AsyncMemory:
    """Long-term memory for agents.

    Opens on first use, or with `async with`. Without a configuration it works offline and keeps
    everything in the user's data directory (`HOLDFAST_HOME` moves it).
    """

    def __init__(
        self,
        config: Config | Mapping[str, Json] | str | Path | None = None,
        *,
        project: str | None = None,
    ) -> None:
        """`config`: a Holdfast or Mem0 configuration, or the path of a YAML or TOML file.

        Raises ConfigError.
        """
        overrides = None if project is None else {"project": project}
        self._resolved: Resolved = load_config(config, overrides=overrides)
        self._assembly: Assembly | None = None
        self._opening = asyncio.Lock()
        self._closed = False
        self._is_view = False

    @classmethod
    def from_config(cls, config_dict: Mapping[str, Json] | str | Path) -> Self:
        """Mem0's constructor: the same as calling the class with the configuration."""
        return cls(config_dict)

    async def open(self) -> None:
        """Open the store, load the embedder, start the workers. Idempotent.

        Raises StoreError and its kinds, SpaceMismatchError, ModelError, MissingExtraError.
        """
        async with self._opening:
            if self._closed:
                raise ClosedError("This memory is closed.", hint="Make a new one.")
            if self._assembly is None:
                self._assembly = await assemble(self._resolved.config)

    def _within(self, project: str, fence: Fence, trust: Trust) -> AsyncMemory:
        """A view on the same open store: another project, and only what is inside the fence.

        Closing it closes nothing.
        """
        assert self._assembly is not None
        view = object.__new__(type(self))
        view._resolved, view._opening, view._closed = self._resolved, self._opening, False
        view._assembly = self._assembly.within(Project(project), fence, trust)
        view._is_view = True
        return view

    def close(self) -> None:
        """Stop the workers and release everything. Blocks for the writes under way. Idempotent."""
        self._closed = True
        if self._assembly is not None:
            self._assembly.close_now()

    async def aclose(self) -> None:
        """`close`, letting requests to models end in good order."""
        self._closed = True
        if self._assembly is not None:
            await self._assembly.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def add(
        self,
        messages: str | Mapping[str, Json] | list[Any],
        *,
        user_id: str | None = None,
        agent_id: str | None = None,
        app_id: str | None = None,
        run_id: str | None = None,
        metadata: Mapping[str, Json] | None = None,
        timestamp: When = None,
        expiration_date: When = None,
        infer: bool = True,
        memory_type: str | None = None,
        prompt: str | None = None,
        categories: list[str] | None = None,
        custom_categories: list[Any] | None = None,
        immutable: bool = False,
        temporal_reasoning: bool = True,
        idempotency_key: str | None = None,
        wait: bool = True,
        trust: Trust | None = None,
    ) -> Answer:
        """Remember a text, a message or a conversation of up to 1,000 messages.

        The turns are stored and searchable before any model is asked. With one, and `infer`, facts
        are taken from them; otherwise each is a memory. Raises ValidationError, ConflictError.

        Args:
            messages: text, `{"role", "content", "name"?, "timestamp"?, "trust"?}`, or several.
            timestamp: when it was said; temporal_reasoning: whether a model dates what is told.
            expiration_date: the last day (UTC) it is found; immutable: only deletion may touch it.
            memory_type: "procedural_memory": a summary of an agent's run; trust: "untrusted": held.
            prompt: instructions to the model; custom_categories: names, or `{name: description}`.
            idempotency_key: the same call again gets the first answer; wait: False: do not wait.

        Returns:
            `{"results": [{"id", "memory", "event"}]}`: ADD, UPDATE, NONE (known) or HELD. With a
            job, `event_id`, `status`, and what is away (`degraded`) or went wrong (`error`).
        """
        parts = await self._ready()
        request = adding.AddRequest(
            scope=intake.clean_scope(user_id, agent_id, app_id, run_id),
            said=intake.clean_messages(messages),
            at=intake.moment(timestamp, "timestamp"),
            metadata=call_metadata(metadata),
            categories=intake.clean_categories(categories),
            custom_categories=intake.clean_custom_categories(custom_categories),
            expires_on=intake.last_day(expiration_date, "expiration_date"),
            procedural=adding.is_procedural(parts, memory_type, agent_id),
            instructions=None if prompt is None else intake.clean_text(prompt, "prompt"),
            idempotency_key=intake.optional_id(idempotency_key, "idempotency_key"),
            trust=intake.clean_trust(trust),
            temporal_reasoning=intake.clean_flag(temporal_reasoning, "temporal_reasoning"),
            **intake.clean_flags(infer=infer, immutable=immutable, wait=wait),
        )
        added = await adding.add(parts, request)
        return await reading.add_answer(parts, added.job, added.said, added.items)

    async def get(self, memory_id: str) -> Answer | None:
        """One memory by id, superseded and expired ones too; None if there is none."""
        parts = await self._ready()
        memory = await reading.get(parts, intake.clean_memory_id(memory_id))
        return None if memory is None else {**shapes.memory_shape(memory), "score": None}

    async def get_all(
        self,
        *,
        filters: Mapping[str, Json] | None = None,
        top_k: int = 20,
        show_expired: bool = False,
        show_superseded: bool = False,
        cursor: str | None = None,
        page: int = 1,
        oldest_first: bool = False,
        as_of: When = None,
        user_id: str | None = None,
        agent_id: str | None = None,
        app_id: str | None = None,
        run_id: str | None = None,
        limit: int | None = None,
    ) -> Answer:
        """List memories, newest first unless `oldest_first`.

        Args:
            filters: Mem0's filter grammar; at least one entity must be named positively.
            top_k: size of the page, 1 to 1,000.
            cursor: from the previous page's answer.
            page: number of the page, from 1, counted from the cursor on.
            as_of: what was true then, instead of what is true now.
            show_superseded: also what was true only before.
            user_id, agent_id, app_id, run_id, limit: for callers written before Mem0 2.0.

        Returns:
            `{"results": [...], "total": exact count of all that match, "cursor": str | None}`
        """
        parts = await self._ready()
        old = {"user_id": user_id, "agent_id": agent_id, "app_id": app_id, "run_id": run_id}
        size = intake.clean_count(either(limit, top_k), "top_k", limits.PAGE_SIZE_MAX)
        request = reading.ListRequest(
            filter=call_filter(filters, old),
            size=size,
            cursor=intake.clean_cursor(cursor),
            offset=(intake.clean_count(page, "page", limits.PAGE_MAX) - 1) * size,
            oldest_first=intake.clean_flag(oldest_first, "oldest_first"),
            show_expired=intake.clean_flag(show_expired, "show_expired"),
            show_superseded=intake.clean_flag(show_superseded, "show_superseded"),
            as_of=intake.moment(as_of, "as_of"),
        )
        return shapes.page_shape(await reading.get_all(parts, request))

    async def count(self, filters: Mapping[str, Json]) -> int:
        """How many memories match, exactly."""
        parts = await self._ready()
        request = reading.ListRequest(filter=call_filter(filters, {}), size=1)
        return (await reading.get_all(parts, request)).total

    async def search(
        self,
        query: str,
        *,
        top_k: int = 20,
        filters: Mapping[str, Json] | None = None,
        threshold: float | None = UNSET,
        rerank: bool = False,
        explain: bool = False,
        reference_date: When = None,
        temporal_reasoning: bool = True,
        show_expired: bool = False,
        show_superseded: bool = False,
        as_of: When = None,
        user_id: str | None = None,
        agent_id: str | None = None,
        app_id: str | None = None,
        run_id: str | None = None,
        limit: int | None = None,
    ) -> Answer:
        """The memories that answer a question, best first.

        Args:
            query: the question, in any language.
            top_k: how many at most, 1 to 1,000.
            filters: Mem0's filter grammar; at least one entity must be named positively.
            threshold: the lowest score returned, 0 to 1; default from the configuration (0.1).
            rerank: score the best 50 (or `top_k`) anew by the configured reranker; without one, or
                if it fails, the order stays and the answer says so in `degraded`.
            explain: add `score_details`, the share of each signal in the score.
            reference_date: the day that "last week" in the question counts from; default: today.
            temporal_reasoning: whether times that the question names raise what is of that time.
            as_of: search what was true then, not what is true now.
            show_superseded: also what was true only before.
            user_id, agent_id, app_id, run_id, limit: for callers written before Mem0 2.0.

        Returns:
            `{"results": [{"id", "memory", "score" (0..1), ...}]}`, and `degraded` with the parts
            that were missing, if any were.
        """
        parts = await self._ready()
        least = parts.threshold if threshold is UNSET else intake.clean_threshold(threshold)
        old = {"user_id": user_id, "agent_id": agent_id, "app_id": app_id, "run_id": run_id}
        request = searching.SearchRequest(
            query=intake.clean_text(query, "query", limits.QUERY_CHARS_MAX),
            filter=call_filter(filters, old),
            top_k=intake.clean_count(either(limit, top_k), "top_k", limits.TOP_K_MAX),
            threshold=least,
            reference=intake.moment(reference_date, "reference_date"),
            as_of=intake.moment(as_of, "as_of"),
            show_expired=intake.clean_flag(show_expired, "show_expired"),
            show_superseded=intake.clean_flag(show_superseded, "show_superseded"),
            rerank=intake.clean_flag(rerank, "rerank"),
            explain=intake.clean_flag(explain, "explain"),
            temporal_reasoning=intake.clean_flag(temporal_reasoning, "temporal_reasoning"),
        )
        found = await searching.search(parts, request)
        return shapes.found_shape(
            found.hits, found.degraded, explain=request.explain, threshold=least
        )

    async def update(
        self,
        memory_id: str,
        text: str | None = None,
        metadata: Mapping[str, Json] | None = None,
        expiration_date: When = UNSET,
        data: str | None = None,
        timestamp: When = None,
    ) -> Answer:
        """Change a memory's text, add to its metadata, set (or with None clear) its expiration.

        `data` is the older name of `text`. Identity and creation time stay; the old text goes to
        the history.

        Raises:
            NotFoundError, ValidationError, ConflictError (immutable, or another memory says it).
        """
        parts = await self._ready()
        new_text = data if text is None else text
        request = updating.UpdateRequest(
            memory_id=intake.clean_memory_id(memory_id),
            text=None if new_text is None else intake.clean_text(new_text, "text"),
            metadata=call_metadata(metadata),
            expires_on=None
            if expiration_date is UNSET
            else intake.last_day(expiration_date, "expiration_date"),
            set_expires=expiration_date is not UNSET,
            event_at=intake.moment(timestamp, "timestamp"),
        )
        if request == updating.UpdateRequest(memory_id=request.memory_id):
            raise ValidationError(
                "Nothing to update.", hint="Give text, metadata, expiration_date or timestamp."
            )
        await updating.update(parts, request)
        return {"message": "Memory updated successfully!"}

    async def batch_update(self, memories: Sequence[Mapping[str, Json]]) -> Answer:
        """Change up to 1,000 memories, all or none: `{"memory_id", "text"?, "metadata"?}` each.

        Raises like `update`; nothing was changed then.
        """
        parts = await self._ready()
        ids = intake.clean_batch(memories)
        await updating.update_several(parts, updating.batch_of(ids, memories))
        return {"message": f"Successfully updated {len(ids)} memories", "count": len(ids)}

    async def batch_delete(self, memories: Sequence[Mapping[str, Json]]) -> Answer:
        """Delete up to 1,000 memories, all or none: `{"memory_id"}` each. Raises NotFoundError."""
        parts = await self._ready()
        count = await deleting.delete_several(parts, intake.clean_batch(memories))
        return {"message": f"Successfully deleted {count} memories", "count": count}

    async def delete(self, memory_id: str) -> Answer:
        """Delete one memory and the raw turns it was taken from. Raises NotFoundError."""
        parts = await self._ready()
        await deleting.delete(parts, intake.clean_memory_id(memory_id))
        return {"message": "Memory deleted successfully!"}

    async def delete_all(
        self,
        user_id: str | None = None,
        agent_id: str | None = None,
        run_id: str | None = None,
        app_id: str | None = None,
        *,
        filters: Mapping[str, Json] | None = None,
    ) -> Answer:
        """Delete every memory of all the entities named together, turns and history texts too.

        `filters` narrows it down, or names the entities itself ("*" for all of a kind). Returns the
        `count`, and the `event_id` of the event that tells of it.

        Raises ValidationError if no entity is named positively: it never means "everything" (see
        `reset`).
        """
        parts = await self._ready()
        ids = (user_id, agent_id, app_id, run_id)
        named = any(id_ is not None for id_ in ids)
        conditions = [scope_filter(intake.clean_scope(*ids))] if named or filters is None else []
        if filters is not None:
            conditions.append(parse_filter(filters, require_entity=not named))
        done = await deleting.delete_all(parts, *conditions)
        return {
            "message": "Memories deleted successfully!",
            "count": done.count,
            "event_id": done.event_id,
        }

    async def history(self, memory_id: str) -> list[Answer]:
        """Every change of a memory, oldest first; of deleted ones too."""
        parts = await self._ready()
        events = await reading.history(parts, intake.clean_memory_id(memory_id))
        return [shapes.history_shape(event) for event in events]

    async def provenance(self, memory_id: str) -> Answer:
        """Where a memory comes from: turns, quoted words, changes. Raises NotFoundError."""
        found = await reading.provenance(await self._ready(), intake.clean_memory_id(memory_id))
        return shapes.provenance_shape(found)

    async def reset(self) -> None:
        """Delete everything this project has."""
        await deleting.reset(await self._ready())

    async def chat(self, query: str) -> Answer:
        """Not offered, as in Mem0: Holdfast remembers, it does not talk."""
        raise UnsupportedError("chat is not offered.", hint="Search, then ask your own model.")

    async def entities(self, *, page: int = 1, page_size: int = 100) -> Answer:
        """Who has memories: `{"results": [{"type", "name", "total_memories", ...}], "total",
        "totals"}`; totals: how many users, agents, apps and runs there are, by kind."""
        parts = await self._ready()
        offset, size = page_span(page, page_size)
        found, counts = await reading.entities(parts, offset, size)
        return {
            "results": [shapes.entity_shape(entity) for entity in found],
            "total": sum(counts.values()),
            "totals": {kind: counts.get(kind, 0) for kind in ENTITY_KINDS},
        }

    async def entity(self, kind: EntityKind, name: str) -> Answer:
        """One of `entities`: a user, agent, app or run. Raises NotFoundError."""
        parts = await self._ready()
        if kind not in ENTITY_KINDS:
            raise ValidationError("kind is unknown.", hint="Use user, agent, app or run.")
        found = await reading.entity(parts, Entity(kind, intake.clean_id(name, "name")))
        return shapes.entity_shape(found)

    async def event(self, event_id: str) -> Answer:
        """The job behind an add: status, results, error. Raises NotFoundError."""
        parts = await self._ready()
        job = await reading.job(parts, event_id)
        return await reading.event(parts, job)

    async def events(
        self,
        *,
        status: JobState | None = None,
        event_type: str | None = None,
        since: When = None,
        before: When = None,
        page: int = 1,
        page_size: int = 100,
    ) -> Answer:
        """Jobs, newest first: of one status, one kind (ADD, DELETE_ALL), accepted from `since` on
        and `before`; or all. `{"results": [...], "total": how many there are}`."""
        parts = await self._ready()
        offset, size = page_span(page, page_size)
        request = reading.JobsRequest(
            offset=offset,
            size=size,
            status=intake.clean_status(status),
            event=event_type,
            since=intake.moment(since, "since"),
            before=intake.moment(before, "before"),
        )
        jobs, total = await reading.jobs(parts, request)
        shown = [await reading.event(parts, job) for job in jobs]
        return {"results": shown, "total": total}

    async def wait(self, event_id: str, timeout_s: float | None = None) -> Answer:
        """Wait until the job behind an add is finished, parked for a later try, or time is up."""
        parts = await self._ready()
        limit = parts.model_timeout_s * 2
        if timeout_s is not None:
            limit = intake.clean_seconds(timeout_s, "timeout_s")
        job = await reading.job(parts, event_id)
        if job.state not in ("SUCCEEDED", "FAILED"):
            job = await adding.wait_for(parts, job.id, limit)
        return await reading.event(parts, job)

    async def rerun(self, event_id: str) -> Answer:
        """Try a failed job again."""
        return await happening.rerun(await self._ready(), event_id)

    async def cancel(self, event_id: str) -> Answer:
        """Give up an extraction that waits: its turns stay, and `rerun` takes it up again.

        Raises NotFoundError, ValidationError if it does not wait.
        """
        return await happening.cancel(await self._ready(), event_id)

    async def stats(self) -> Answer:
        """Counts of this project, and the bytes of its store, if the store was opened for it alone.

        Raises AccessError for a part of a project.
        """
        parts = await self._ready()
        if not parts.fence.is_open:
            raise AccessError("This credential may not see the project's counts.")
        counts = dict(await parts.records.stats(parts.project))
        if self._is_view:  # of all projects of the deployment together
            del counts["bytes"]
        return {**counts, "project": parts.project}

    def settings(self) -> Answer:
        """The settings in force, secrets hidden, and where each comes from."""
        return self._resolved.settings()

    async def _ready(self) -> Parts:
        if self._assembly is None or self._closed:
            await self.open()
        assert self._assembly is not None
        return entered(self._assembly.parts)
