"""The public face of the quarantine: what untrusted sources said, and who lets it in."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Protocol

from holdfast import limits
from holdfast.core import intake, verbs
from holdfast.core.fence import OPEN, Fence
from holdfast.directory import Held
from holdfast.engine import quarantine as engine
from holdfast.engine.auditing import audited
from holdfast.engine.parts import Parts
from holdfast.errors import ValidationError
from holdfast.model import Answer, OnProgress, Scope, Struct


class PartsOf(Protocol):
    """Gives the parts of a project, or of what of it is inside a fence, opened."""

    def __call__(self, project: str | None = None, fence: Fence = OPEN) -> Awaitable[Parts]: ...


class HeldPage(Struct, frozen=True, kw_only=True):
    """Some of what is held, and how much there is."""

    rows: tuple[Held, ...]
    total: int


@audited(verbs.QUARANTINE, "quarantine.")
class Quarantine:
    """What is held of a deployment's projects; `AsyncAdmin.quarantine` gives it.

    What is held is no memory: it is not listed, searched or counted, no model is shown it, and it
    ends nothing. Where a method takes `project`, None means the project of the configuration;
    `fence`: only what is inside.
    """

    def __init__(self, parts: PartsOf) -> None:
        self._parts = parts

    async def listed(
        self,
        *,
        user_id: str | None = None,
        agent_id: str | None = None,
        app_id: str | None = None,
        run_id: str | None = None,
        page: int = 1,
        page_size: int = 100,
        project: str | None = None,
        fence: Fence = OPEN,
    ) -> HeldPage:
        """What is held, of all the entities named together or of everybody, the newest first.

        `page_size`: 1 to 100.
        """
        size = intake.clean_count(page_size, "page_size", limits.HELD_PAGE_MAX)
        offset = (intake.clean_count(page, "page", limits.PAGE_MAX) - 1) * size
        scope = _scope(user_id, agent_id, app_id, run_id)
        parts = await self._parts(project, fence)
        rows, total = await engine.listed(parts, scope, offset, size)
        return HeldPage(rows=tuple(rows), total=total)

    async def find(self, held_id: str, *, project: str | None = None, fence: Fence = OPEN) -> Held:
        """What is held under this id. Raises NotFoundError."""
        held_id = intake.clean_id(held_id, "held_id")
        return await engine.find(await self._parts(project, fence), held_id)

    async def approve(
        self,
        held_ids: Sequence[str] = (),
        *,
        user_id: str | None = None,
        agent_id: str | None = None,
        app_id: str | None = None,
        run_id: str | None = None,
        messages: Sequence[int] = (),
        wait: bool = True,
        told: OnProgress | None = None,
        project: str | None = None,
        fence: Fence = OPEN,
    ) -> Answer:
        """Let in what is held: it is added as it would have been, from the moment it was said.

        Either under these ids, or all of the entities named together, up to 1,000 of them. Each is
        one transaction: whoever is interrupted calls again, and nothing is added twice.

        Args:
            messages: only these of one id, by their numbers from 1 in the order that `find` has
                them; the others are held on under an id of their own, `rest` in the result.
            wait: until models have made memories of them.
            told: how many are done, and of how many.

        Returns:
            `{"count", "left", "results": [{"held_id", "results", ...}]}`: for each the answer of
            its add; `left`: how many there are still of the entities named.

        Raises:
            ValidationError if neither is given; NotFoundError for an id under which nothing is
            held, and nothing was let in before; ConflictError if others of its messages were;
            BudgetExceededError and what else `add` raises.
        """
        wait = intake.clean_flag(wait, "wait")
        parts = await self._parts(project, fence)
        scope = _scope(user_id, agent_id, app_id, run_id)
        ids = await _chosen(parts, held_ids, scope, approved=True)
        numbers = _numbers(messages, held_ids)
        results = []
        for done, held_id in enumerate(ids, 1):
            answer = await engine.approve(parts, held_id, wait=wait, messages=numbers)
            if answer is not None:
                results.append({"held_id": held_id, **answer})
            if told is not None:
                told(done, len(ids))
        return {"count": len(results), "left": await _left(parts, scope), "results": results}

    async def reject(
        self,
        held_ids: Sequence[str] = (),
        *,
        user_id: str | None = None,
        agent_id: str | None = None,
        app_id: str | None = None,
        run_id: str | None = None,
        messages: Sequence[int] = (),
        told: OnProgress | None = None,
        project: str | None = None,
        fence: Fence = OPEN,
    ) -> Answer:
        """Throw away what is held, for good; chosen as in `approve`.

        Returns `{"count", "left"}`, and `rest`, the id of what is held on, if only some messages
        were meant. Raises ValidationError, NotFoundError.
        """
        parts = await self._parts(project, fence)
        scope = _scope(user_id, agent_id, app_id, run_id)
        ids = await _chosen(parts, held_ids, scope, approved=False)
        numbers = _numbers(messages, held_ids)
        count, rest = 0, {}
        for done, held_id in enumerate(ids, 1):
            answer = await engine.reject(parts, held_id, messages=numbers)
            if answer is not None:
                count, rest = count + 1, answer
            if told is not None:
                told(done, len(ids))
        return {"count": count, "left": await _left(parts, scope), **rest}


def _scope(
    user_id: str | None, agent_id: str | None, app_id: str | None, run_id: str | None
) -> Scope:
    """Those that are named; none if nobody is."""
    if user_id is agent_id is app_id is run_id is None:
        return Scope()
    return intake.clean_scope(user_id, agent_id, app_id, run_id)


async def _chosen(
    parts: Parts, held_ids: Sequence[str], scope: Scope, *, approved: bool
) -> Sequence[str]:
    """The ids of what is meant. Raises ValidationError, TooLargeError, NotFoundError."""
    if isinstance(held_ids, str):
        raise ValidationError("held_ids must be a list of ids.", hint='E.g. ["0197a3c0-..."].')
    named = bool(scope.entities())
    if bool(held_ids) == named:
        raise ValidationError(
            "Either ids, or a user, agent, app or run says what is meant; not both.",
            hint="It never means everything.",
        )
    if named:
        return await engine.ids_held(parts, scope, limits.BATCH_MAX)
    ids = intake.clean_batch([{"memory_id": held_id} for held_id in held_ids])
    await engine.known(parts, ids, approved=approved)
    return ids


def _numbers(messages: Sequence[int], held_ids: Sequence[str]) -> tuple[int, ...]:
    """The numbers of the messages that are meant; none: all. Raises ValidationError."""
    if not messages:
        return ()
    if len(held_ids) != 1:
        raise ValidationError(
            "messages are those of one id.", hint="Decide on one held add at a time."
        )
    return tuple(
        intake.clean_count(number, "messages", limits.MESSAGES_PER_ADD_MAX) for number in messages
    )


async def _left(parts: Parts, scope: Scope) -> int:
    return await engine.count(parts, scope) if scope.entities() else 0
