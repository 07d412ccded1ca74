"""Acts from the public faces to the audit: begun, told in their transactions, noted at their end.

What changes the store stands in the transaction of the change (`wrap.audited`). What does not, as
reading, being denied and failing, is noted here and written in batches.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import wraps
from itertools import groupby, islice
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec.structs import replace

from holdfast.acts import Act, Sort, act_now, actor_now, doing
from holdfast.clock import Clock
from holdfast.core.audit import found_in, outcome_of, rows_of, told_id
from holdfast.core.verbs import Verb
from holdfast.errors import ClosedError, HoldfastError
from holdfast.limits import (
    AUDIT_BATCH_ROWS,
    AUDIT_BUFFERED_MAX,
    AUDIT_FLUSH_S,
    AUDIT_STRANGERS_MAX,
)
from holdfast.metrics import Metrics
from holdfast.model import Project
from holdfast.ports import PutAudit, Records
from holdfast.trail import AuditRow, Outcome

if TYPE_CHECKING:
    from holdfast.engine.parts import Parts

C = TypeVar("C", bound=type)
P = TypeVar("P", bound="Parts")

_TARGETS = frozenset(
    {"memory_id", "event_id", "key_id", "webhook_id", "account_id", "export_id", "held_id", "email"}
)
"""Parameters that name what a method works on."""

_log = logging.getLogger("holdfast.audit")


class Auditor:
    """Rows that stand in no transaction of what they tell of, until they are written."""

    def __init__(
        self, records: Records, clock: Clock, metrics: Metrics, *, reads: bool, durable: bool
    ) -> None:
        """`reads`: whether what only looks is noted; `durable`: before the answer."""
        self.reads = reads
        self._durable = durable
        self._records = records
        self._clock = clock
        self._metrics = metrics
        self._waiting: deque[AuditRow] = deque()
        self._strangers: dict[tuple[str | None, ...], AuditRow] = {}
        self._planned: asyncio.TimerHandle | None = None
        self._writing: asyncio.Task[None] | None = None
        self._closed = False
        self._under_way: frozenset[int] = frozenset()
        """The rows that are just being written."""
        self._one_at_a_time = asyncio.Lock()

    @property
    def waiting(self) -> int:
        """Rows that are not written yet."""
        return len(self._waiting) + len(self._strangers)

    def wants(self, sort: Sort, outcome: Outcome) -> bool:
        """Whether such an act leaves a row."""
        return self.reads or sort != "read" or outcome == "denied"

    async def note(self, act: Act, project: str, outcome: Outcome, code: str | None = None) -> None:
        """Keep the rows of an act, and write them soon, or at once if they are to be durable.

        Raises StoreError where they have to be written now and cannot be.
        """
        act.actor.acted += 1
        rows = rows_of(act, project, self._clock.now(), outcome, code)
        if outcome == "denied" and act.actor.kind == "nobody":
            self._turned_away(rows[0])
        else:
            self._waiting += rows
        self._soon()
        if self._durable or outcome == "begun" or len(self._waiting) >= AUDIT_BUFFERED_MAX:
            await self.flush()

    def _turned_away(self, row: AuditRow) -> None:
        """Somebody without a credential: so that nobody fills the audit by knocking, the same from
        the same address is one row with the number of times."""
        crowded = len(self._strangers) >= AUDIT_STRANGERS_MAX
        key = (row.project, row.action, row.code, row.address)
        if crowded and key not in self._strangers:
            row = replace(row, address="*", request_id="")
            key = (row.project, row.action, row.code, row.address)
        count = self._strangers[key].count or 0 if key in self._strangers else 0
        self._strangers[key] = replace(self._strangers.get(key, row), count=count + 1)

    async def flush(self) -> None:
        """Write what waits. Raises StoreError; it waits on then."""
        async with self._one_at_a_time:
            self._waiting += self._strangers.values()
            self._strangers.clear()
            while self._waiting:
                some = list(islice(self._waiting, AUDIT_BATCH_ROWS))
                with doing(None):
                    for project, rows in groupby(
                        sorted(some, key=attrgetter("project")), key=attrgetter("project")
                    ):
                        await self._write(Project(project), tuple(rows))

    async def _write(self, project: Project, rows: tuple[AuditRow, ...]) -> None:
        written = self._under_way = frozenset(map(id, rows))
        try:
            await self._records.commit(project, [PutAudit(rows=rows)])
        finally:
            self._under_way = frozenset()
        self._waiting = deque(row for row in self._waiting if id(row) not in written)
        for row in rows:
            self._metrics.count("audit_row", row.outcome)

    def _soon(self) -> None:
        """Have what waits written in a while; one that is planned already will do.

        There is no task in between: a program that forgets to close leaves none behind.
        """
        if self._planned is None and not self._closed:
            loop = asyncio.get_running_loop()
            self._planned = loop.call_later(AUDIT_FLUSH_S, self._begin)

    def _begin(self) -> None:
        self._planned = None
        self._writing = asyncio.create_task(self._try())

    async def _try(self) -> None:
        try:
            await self.flush()
        except ClosedError:
            self._lost()
        except HoldfastError as error:  # the next time writes what this one could not
            self._metrics.count("audit_failure", "unwritten")
            _log.warning("%d rows of the audit wait: %s", self.waiting, error.code)
            self._soon()

    async def close_elsewhere(self) -> None:
        """`close` on another loop than the one that is used, which cannot be waited for. What is
        just being written there is left to it."""
        self._closed = True
        self._waiting = deque(row for row in self._waiting if id(row) not in self._under_way)
        self._one_at_a_time = asyncio.Lock()  # the other belongs to the other loop
        try:
            await self.flush()
        except HoldfastError:
            self._lost()

    async def close(self) -> None:
        """Write what waits, as the last thing that is written."""
        self._closed = True
        if self._planned is not None:
            self._planned.cancel()
        if self._writing is not None:
            await self._writing
        try:
            await self.flush()
        except HoldfastError:
            self._lost()

    def _lost(self) -> None:
        if self.waiting:
            self._metrics.count("audit_failure", "lost", amount=self.waiting)
            _log.error("%d rows of the audit are lost: the store is away", self.waiting)
        self._waiting.clear()
        self._strangers.clear()


def entered(parts: P) -> P:
    """The parts; the act of this context is done with them."""
    act = act_now()
    if act is not None and act.parts is None and parts.audit is not None:
        act.parts = parts
        act.is_watched = act.sort != "read" or parts.audit.reads
    return parts


def audited(verbs: Mapping[str, Verb], about: str = "") -> Callable[[C], C]:
    """Let these public methods of a class leave rows in the audit.

    `about`: goes before their names there, for a class whose methods' names do not tell.
    """

    def decorate(face: C) -> C:
        for name, verb in verbs.items():
            setattr(face, name, _audited(about + name, verb, getattr(face, name)))
        return face

    return decorate


def _audited(action: str, verb: Verb, method: Any) -> Any:
    first = next(iter([*inspect.signature(method).parameters][1:]), "")
    names_target = first in _TARGETS
    sort: Sort = "admin" if verb == "work" else verb

    def begun(args: Sequence[Any], given: Mapping[str, Any]) -> Act:
        act = Act(action, sort, actor_now())
        if names_target:
            act.target = told_id(args[0] if args else given.get(first))
        return act

    @wraps(method)
    async def stream(self: Any, *args: Any, **given: Any) -> AsyncIterator[Any]:
        async for piece in _streamed(begun(args, given), method(self, *args, **given)):
            yield piece

    @wraps(method)
    async def call(self: Any, *args: Any, **given: Any) -> Any:
        act = begun(args, given)
        with doing(act):
            if verb == "work":
                await _begin(self, act)
            return await _ended(act, method(self, *args, **given))

    return stream if inspect.isasyncgenfunction(method) else call


async def _streamed(act: Act, pieces: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """The pieces; the act is the context's while one is made, and not while it is used."""
    count = 0
    try:
        while True:
            with doing(act):
                try:
                    piece = await anext(pieces)
                except StopAsyncIteration:
                    break
            count += 1
            yield piece
    except BaseException as error:
        await _note_failure(act, error)
        raise
    act.count = count
    await _note(act, "ok")


async def _begin(face: Any, act: Act) -> None:
    """Say that something begins, durably, before it does."""
    await (face._ready if hasattr(face, "_ready") else face._parts)()
    if act.parts is not None:
        await act.parts.audit.note(act, act.parts.project, "begun")


async def _ended(act: Act, work: Awaitable[Any]) -> Any:
    """What the work gives; it is noted how it went, unless a transaction tells."""
    try:
        answer = await work
    except BaseException as error:
        await _note_failure(act, error)
        raise
    if not act.written:
        act.count = found_in(answer)
        await _note(act, "ok")
    act.written = True  # what goes on in the background is not this act any more
    return answer


async def _note_failure(act: Act, error: BaseException) -> None:
    """The error of the act goes first, should its row have to wait as well."""
    try:
        await _note(act, *outcome_of(error))
    except HoldfastError as failure:
        _log.warning("a row of the audit waits: %s", failure.code)
    act.written = True


async def _note(act: Act, outcome: Outcome, code: str | None = None) -> None:
    if act.parts is None:
        return
    auditor: Auditor = act.parts.audit
    if auditor.wants(act.sort, outcome):
        await auditor.note(act, act.parts.project, outcome, code)


async def job_done(parts: Any, action: str, project: Project, job_id: str, work: Any) -> Any:
    """Do the work of a job as an act of its own, apart from the act that ordered it."""
    if parts.audit is None:
        return await work
    act = Act(action, "write", actor_now())
    act.target, act.parts, act.is_watched = job_id, _Of(parts.audit, project), True
    with doing(act):
        return await _ended(act, work)


class _Of:
    """As much of the parts as an act needs."""

    __slots__ = ("audit", "project")

    def __init__(self, audit: Auditor, project: Project) -> None:
        self.audit = audit
        self.project = project
