"""The synchronous face of Holdfast: `Memory`, method for method `AsyncMemory`.

Generated from client.py by tools/generate_sync.py. Do not edit; run `make generate`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from holdfast.client import AsyncMemory
from holdfast.config import Config
from holdfast.errors import ClosedError
from holdfast.loop import LoopThread
from holdfast.model import UNSET, Answer, EntityKind, JobState, Json, Trust, When


class Memory:
    """Long-term memory for agents.

    Opened by its constructor; `with` closes it. Without a configuration it works offline and keeps
    everything in the user's data directory (`HOLDFAST_HOME` moves it).
    """

    def _start(self, make: Callable[[], AsyncMemory]) -> None:
        """Start the loop and open the other form on it; on failure leave nothing running."""
        self._loop = LoopThread()
        try:
            self._async = make()
            self._loop.run(self._async.open())
        except BaseException:
            self._loop.close()
            raise

    def __init__(
        self,
        config: Config | Mapping[str, Json] | str | Path | None = None,
        *,
        project: str | None = None,
    ) -> None:
        """`config`: a Holdfast or Mem0 configuration, or the path of a YAML or TOML file.

        Raises ConfigError.
        """
        self._start(lambda: AsyncMemory(config, project=project))

    @classmethod
    def from_config(cls, config_dict: Mapping[str, Json] | str | Path) -> Self:
        """Mem0's constructor: the same as calling the class with the configuration."""
        made = cls.__new__(cls)
        made._start(lambda: AsyncMemory.from_config(config_dict))
        return made

    def open(self) -> None:
        """Open the store, load the embedder, start the workers. Idempotent.

        Raises StoreError and its kinds, SpaceMismatchError, ModelError, MissingExtraError.
        """
        work = self._async.open()
        return self._loop.run(work)

    def close(self) -> None:
        """Stop the workers and release everything. Blocks for the writes under way. Idempotent."""
        try:
            with suppress(ClosedError):  # closing twice is fine
                self._loop.run(self._async.aclose())
        finally:
            self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def add(
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
        work = self._async.add(
            messages,
            user_id=user_id,
            agent_id=agent_id,
            app_id=app_id,
            run_id=run_id,
            metadata=metadata,
            timestamp=timestamp,
            expiration_date=expiration_date,
            infer=infer,
            memory_type=memory_type,
            prompt=prompt,
            categories=categories,
            custom_categories=custom_categories,
            immutable=immutable,
            temporal_reasoning=temporal_reasoning,
            idempotency_key=idempotency_key,
            wait=wait,
            trust=trust,
        )
        return self._loop.run(work)

    def get(self, memory_id: str) -> Answer | None:
        """One memory by id, superseded and expired ones too; None if there is none."""
        work = self._async.get(memory_id)
        return self._loop.run(work)

    def get_all(
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
        work = self._async.get_all(
            filters=filters,
            top_k=top_k,
            show_expired=show_expired,
            show_superseded=show_superseded,
            cursor=cursor,
            page=page,
            oldest_first=oldest_first,
            as_of=as_of,
            user_id=user_id,
            agent_id=agent_id,
            app_id=app_id,
            run_id=run_id,
            limit=limit,
        )
        return self._loop.run(work)

    def count(self, filters: Mapping[str, Json]) -> int:
        """How many memories match, exactly."""
        work = self._async.count(filters)
        return self._loop.run(work)

    def search(
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
        work = self._async.search(
            query,
            top_k=top_k,
            filters=filters,
            threshold=threshold,
            rerank=rerank,
            explain=explain,
            reference_date=reference_date,
            temporal_reasoning=temporal_reasoning,
            show_expired=show_expired,
            show_superseded=show_superseded,
            as_of=as_of,
            user_id=user_id,
            agent_id=agent_id,
            app_id=app_id,
            run_id=run_id,
            limit=limit,
        )
        return self._loop.run(work)

    def update(
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
        work = self._async.update(memory_id, text, metadata, expiration_date, data, timestamp)
        return self._loop.run(work)

    def batch_update(self, memories: Sequence[Mapping[str, Json]]) -> Answer:
        """Change up to 1,000 memories, all or none: `{"memory_id", "text"?, "metadata"?}` each.

        Raises like `update`; nothing was changed then.
        """
        work = self._async.batch_update(memories)
        return self._loop.run(work)

    def batch_delete(self, memories: Sequence[Mapping[str, Json]]) -> Answer:
        """Delete up to 1,000 memories, all or none: `{"memory_id"}` each. Raises NotFoundError."""
        work = self._async.batch_delete(memories)
        return self._loop.run(work)

    def delete(self, memory_id: str) -> Answer:
        """Delete one memory and the raw turns it was taken from. Raises NotFoundError."""
        work = self._async.delete(memory_id)
        return self._loop.run(work)

    def delete_all(
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
        work = self._async.delete_all(user_id, agent_id, run_id, app_id, filters=filters)
        return self._loop.run(work)

    def history(self, memory_id: str) -> list[Answer]:
        """Every change of a memory, oldest first; of deleted ones too."""
        work = self._async.history(memory_id)
        return self._loop.run(work)

    def provenance(self, memory_id: str) -> Answer:
        """Where a memory comes from: turns, quoted words, changes. Raises NotFoundError."""
        work = self._async.provenance(memory_id)
        return self._loop.run(work)

    def reset(self) -> None:
        """Delete everything this project has."""
        work = self._async.reset()
        return self._loop.run(work)

    def chat(self, query: str) -> Answer:
        """Not offered, as in Mem0: Holdfast remembers, it does not talk."""
        work = self._async.chat(query)
        return self._loop.run(work)

    def entities(self, *, page: int = 1, page_size: int = 100) -> Answer:
        """Who has memories: `{"results": [{"type", "name", "total_memories", ...}], "total",
        "totals"}`; totals: how many users, agents, apps and runs there are, by kind."""
        work = self._async.entities(page=page, page_size=page_size)
        return self._loop.run(work)

    def entity(self, kind: EntityKind, name: str) -> Answer:
        """One of `entities`: a user, agent, app or run. Raises NotFoundError."""
        work = self._async.entity(kind, name)
        return self._loop.run(work)

    def event(self, event_id: str) -> Answer:
        """The job behind an add: status, results, error. Raises NotFoundError."""
        work = self._async.event(event_id)
        return self._loop.run(work)

    def events(
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
        work = self._async.events(
            status=status,
            event_type=event_type,
            since=since,
            before=before,
            page=page,
            page_size=page_size,
        )
        return self._loop.run(work)

    def wait(self, event_id: str, timeout_s: float | None = None) -> Answer:
        """Wait until the job behind an add is finished, parked for a later try, or time is up."""
        work = self._async.wait(event_id, timeout_s)
        return self._loop.run(work)

    def rerun(self, event_id: str) -> Answer:
        """Try a failed job again."""
        work = self._async.rerun(event_id)
        return self._loop.run(work)

    def cancel(self, event_id: str) -> Answer:
        """Give up an extraction that waits: its turns stay, and `rerun` takes it up again.

        Raises NotFoundError, ValidationError if it does not wait.
        """
        work = self._async.cancel(event_id)
        return self._loop.run(work)

    def stats(self) -> Answer:
        """Counts of this project, and the bytes of its store, if the store was opened for it alone.

        Raises AccessError for a part of a project.
        """
        work = self._async.stats()
        return self._loop.run(work)

    def settings(self) -> Answer:
        """The settings in force, secrets hidden, and where each comes from."""
        return self._async.settings()
