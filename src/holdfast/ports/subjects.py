"""What a store keeps of one subject (a user, agent, app or run), and how it is taken away."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Literal, Protocol

from holdfast.directory import Erasure
from holdfast.model import Entity, Json, Project

Copy = Literal["messages", "history", "jobs", "usage"]
"""Rows that are erased, or anonymised, by `erase`; memories go by `RemoveMemories` before."""
Telling = Literal["messages", "history", "jobs", "usage", "sources"]
"""Rows that `rows` tells."""
TOLD: tuple[Telling, ...] = ("messages", "history", "jobs", "usage", "sources")
ERASED: tuple[Copy, ...] = ("messages", "jobs", "usage", "history")

Aged = Literal["facts", "turns", "summaries", "expired", "history", "jobs", "usage"]
"""What has an age, by the names in `core.retention.RULES`."""


class Subjects(Protocol):
    """The records, seen from one subject. Raises what `Records` does.

    What belongs to several entities belongs to each of them. A subject's rows are looked for in
    all rows of the project where no index leads to them; that is done beside the writers, not
    in their way.
    """

    async def begin(self, erasure: Erasure) -> None:
        """Store an erasure that is RUNNING.

        From its return on, until the erasure is in another state, no commit stores turns, memories,
        jobs or held adds of the subject, through any process: it raises ConflictError, and changes
        nothing.
        """

    async def inventory(self, project: Project, entity: Entity) -> Mapping[str, int]:
        """How many rows there are of the subject: memories, embeddings, sources, messages, history,
        jobs, usage, entities, subject_keys. Rows that tell no more whose they are do not count."""

    async def memory_ids(self, project: Project, entity: Entity) -> Sequence[str]:
        """Of memories that are there, or that the subject's history tells of, each once."""

    async def erase(self, project: Project, entity: Entity, copy: Copy) -> int:
        """Take away all rows of one copy, some at a time; how many.

        messages: with the quotes from them. jobs: whatever their state; whoever works at one finds
        its lease lost. usage: the amounts stay, the subject's id, a user's run and the job go.
        history: all of every memory that it tells was the subject's.
        """

    async def forget(self, project: Project, entity: Entity, mark: str) -> None:
        """Take its name away: from the entities, whose other columns stay, so that what follows
        generations goes on; and from its data keys, which are destroyed for every process.

        The names of a user's runs go too, where nothing is left of a run; to be called while the
        history tells of them. A subject that comes back is a new one.
        """

    def rows(
        self, project: Project, entity: Entity, copy: Telling
    ) -> AsyncIterator[Mapping[str, Json]]:
        """All rows of one copy in order of insertion, texts opened: the columns of the table that
        are of use to people, by name. Of sources: memory_id, turn_id and quote."""

    async def named(self, project: Project | None) -> Sequence[tuple[Project, Entity, float]]:
        """Every entity that has a name, of one project or of all, and the time of the first commit
        that wrote to it."""

    async def older(self, project: Project, what: Aged, before: float) -> int:
        """How many rows of a project are as old as this time, or older.

        facts, turns, summaries: memories of the kind, ended and unlisted ones too, by `created_at`.
        expired: memories whose last day is before the day of this time, UTC. history: changes of
        memories that are gone. jobs: those that have ended, by when they did.
        """

    async def expire(self, project: Project, what: Aged, before: float) -> int:
        """Delete what `older` counts of history, jobs and usage, some at a time; how many. Of
        memories nothing: they go by `RemoveMemories`."""

    async def scrub(self) -> None:
        """Overwrite what the files of the store still hold of rows that are gone, as far as the
        engine lets its clients."""
