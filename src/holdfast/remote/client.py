"""The client of a Holdfast server: `AsyncClient`, verb for verb `AsyncMemory`.

Generated from client.py by tools/generate_remote.py. Do not edit; run `make generate`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from holdfast.model import UNSET, Answer, EntityKind, JobState, Json, Trust, When
from holdfast.remote.connection import Connection


class AsyncClient(Connection):
    """What a Holdfast server remembers, with the methods and answers of `AsyncMemory`.

    Opens on first use, or with `async with`. Belongs to the event loop it is first used on.
    Raises what `AsyncMemory` raises, and ServerUnavailableError and ServerTimeoutError.
    """

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
        answer: Answer = await self._call("add", locals())
        return answer

    async def get(self, memory_id: str) -> Answer | None:
        """One memory by id, superseded and expired ones too; None if there is none."""
        answer: Answer | None = await self._call("get", locals())
        return answer

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
        answer: Answer = await self._call("get_all", locals())
        return answer

    async def count(self, filters: Mapping[str, Json]) -> int:
        """How many memories match, exactly."""
        answer: int = await self._call("count", locals())
        return answer

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
        answer: Answer = await self._call("search", locals())
        return answer

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
        answer: Answer = await self._call("update", locals())
        return answer

    async def batch_update(self, memories: Sequence[Mapping[str, Json]]) -> Answer:
        """Change up to 1,000 memories, all or none: `{"memory_id", "text"?, "metadata"?}` each.

        Raises like `update`; nothing was changed then.
        """
        answer: Answer = await self._call("batch_update", locals())
        return answer

    async def batch_delete(self, memories: Sequence[Mapping[str, Json]]) -> Answer:
        """Delete up to 1,000 memories, all or none: `{"memory_id"}` each. Raises NotFoundError."""
        answer: Answer = await self._call("batch_delete", locals())
        return answer

    async def delete(self, memory_id: str) -> Answer:
        """Delete one memory and the raw turns it was taken from. Raises NotFoundError."""
        answer: Answer = await self._call("delete", locals())
        return answer

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
        answer: Answer = await self._call("delete_all", locals())
        return answer

    async def history(self, memory_id: str) -> list[Answer]:
        """Every change of a memory, oldest first; of deleted ones too."""
        answer: list[Answer] = await self._call("history", locals())
        return answer

    async def provenance(self, memory_id: str) -> Answer:
        """Where a memory comes from: turns, quoted words, changes. Raises NotFoundError."""
        answer: Answer = await self._call("provenance", locals())
        return answer

    async def reset(self) -> None:
        """Delete everything this project has."""
        await self._call("reset", locals())

    async def chat(self, query: str) -> Answer:
        """Not offered, as in Mem0: Holdfast remembers, it does not talk."""
        answer: Answer = await self._call("chat", locals())
        return answer

    async def entities(self, *, page: int = 1, page_size: int = 100) -> Answer:
        """Who has memories: `{"results": [{"type", "name", "total_memories", ...}], "total",
        "totals"}`; totals: how many users, agents, apps and runs there are, by kind."""
        answer: Answer = await self._call("entities", locals())
        return answer

    async def entity(self, kind: EntityKind, name: str) -> Answer:
        """One of `entities`: a user, agent, app or run. Raises NotFoundError."""
        answer: Answer = await self._call("entity", locals())
        return answer

    async def event(self, event_id: str) -> Answer:
        """The job behind an add: status, results, error. Raises NotFoundError."""
        answer: Answer = await self._call("event", locals())
        return answer

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
        answer: Answer = await self._call("events", locals())
        return answer

    async def wait(self, event_id: str, timeout_s: float | None = None) -> Answer:
        """Wait until the job behind an add is finished, parked for a later try, or time is up."""
        answer: Answer = await self._call("wait", locals())
        return answer

    async def rerun(self, event_id: str) -> Answer:
        """Try a failed job again."""
        answer: Answer = await self._call("rerun", locals())
        return answer

    async def cancel(self, event_id: str) -> Answer:
        """Give up an extraction that waits: its turns stay, and `rerun` takes it up again.

        Raises NotFoundError, ValidationError if it does not wait.
        """
        answer: Answer = await self._call("cancel", locals())
        return answer

    async def stats(self) -> Answer:
        """Counts of this project, and the bytes of its store, if the store was opened for it alone.

        Raises AccessError for a part of a project.
        """
        answer: Answer = await self._call("stats", locals())
        return answer

    async def settings(self) -> Answer:
        """The settings in force, secrets hidden, and where each comes from."""
        answer: Answer = await self._call("settings", locals())
        return answer
