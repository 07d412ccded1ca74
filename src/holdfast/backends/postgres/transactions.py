"""Transactions of every kind: how each begins, and what happens when the connection is lost.

A transaction that surely was not committed is run again: it was undone by Postgres to resolve a
deadlock, or its connection was lost before its COMMIT was sent. When the connection is lost while
a COMMIT is under way, Postgres is asked what became of it: a commit has a number.
"""

from __future__ import annotations

import asyncio
from typing import Final, TypeVar

import psycopg

from holdfast.backends.postgres.bridge import bridged
from holdfast.backends.postgres.errors import RETRIED, is_lost, translate
from holdfast.backends.postgres.locks import BINDING, NUMBERS, SPACE, project_key
from holdfast.backends.postgres.pool import Pool
from holdfast.backends.postgres.session import Opening, Session
from holdfast.backends.sql.records import Work
from holdfast.errors import StoreUnavailableError
from holdfast.model import Project

T = TypeVar("T")

_TRIES: Final = 4
_ASKS: Final = 20
_PAUSE_S: Final = 0.05
"""Between two tries, and two questions for what became of a commit; doubles up to a second."""

_SNAPSHOT: Final = ("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", ())
_READING: Final = ("BEGIN READ ONLY", ())
_WRITING: Final = ("BEGIN", ())

# What row-level security lets through: the rows of one project, or, for the calls that are about
# all of them (the queue's lease, the census, the directory), every row.
_WITHIN: Final = "SELECT set_config('holdfast.project', %s, true)"
_EVERYWHERE: Final = ("SELECT set_config('holdfast.reach', 'all', true)", ())

_ALONE: Final = ("SELECT pg_advisory_xact_lock(%s::int, %s::int)", (SPACE, BINDING))

_COMMITTING: Final = """
SELECT pg_current_xact_id()::text, pg_advisory_xact_lock_shared(%s::int, %s::int),
       pg_advisory_xact_lock(%s::int, %s::int), pg_advisory_xact_lock_shared(%s | last_value)
FROM history_no_seq
"""


class Transactions:
    """Runs work on connections of a pool."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def read(self, project: Project | None, work: Work[T], *, brief: bool = False) -> T:
        """One snapshot of a project; for None every statement sees what is committed by then."""
        if project is None:
            opening: Opening = (_READING, _EVERYWHERE)
        else:
            opening = (_READING if brief else _SNAPSHOT, (_WITHIN, (project,)))
        return await self._repeated(work, opening, brief=brief)

    async def write(self, project: Project | None, work: Work[T], *, alone: bool = False) -> T:
        """One transaction that writes; `alone`: while nobody commits anything."""
        reach = _EVERYWHERE if project is None else (_WITHIN, (project,))
        opening = (_WRITING, reach, *([_ALONE] if alone else []))
        return await self._repeated(work, opening)

    async def commit(self, project: Project, work: Work[T]) -> T:
        """One transaction that holds the project's lock, and whose end is known for certain.

        Raises StoreUnavailableError if Postgres stays away before it can tell.
        """
        key = project_key(project)
        locks = (_COMMITTING, (SPACE, BINDING, SPACE, key, NUMBERS))
        return await self._repeated(work, (_WRITING, (_WITHIN, (project,)), locks), certain=True)

    async def _repeated(
        self, work: Work[T], opening: Opening, *, brief: bool = False, certain: bool = False
    ) -> T:
        for again in range(1, _TRIES):
            try:
                return await self._once(work, opening, brief=brief, certain=certain)
            except _Undone:
                await asyncio.sleep(_PAUSE_S * 2**again)
        try:
            return await self._once(work, opening, brief=brief, certain=certain)
        except _Undone as undone:
            raise undone.error from undone.error.__cause__

    async def _once(self, work: Work[T], opening: Opening, *, brief: bool, certain: bool) -> T:
        async with self._pool.connection() as raw:
            session = Session(raw, opening, brief=brief)
            try:
                with translate():
                    result = await bridged(work, session)
            except StoreUnavailableError as error:
                await _roll_back(session)
                if _is_undone(error.__cause__):
                    raise _Undone(error) from None
                raise
            except Exception:
                await _roll_back(session)
                raise
            try:
                with translate():
                    await session.commit()
            except StoreUnavailableError as error:
                if _is_undone(error.__cause__) and not is_lost(error.__cause__):
                    raise _Undone(error) from None
                unknown = error
            else:
                return result
        if certain and session.opened:
            await self._find_out(str(session.opened[0]), unknown)
            return result
        raise unknown

    async def _find_out(self, number: str, lost: StoreUnavailableError) -> None:
        """Return if the commit of this number happened; raise what tells it to be run again if
        it did not, and the error with which it was lost if that stays unknown."""
        for ask in range(_ASKS):
            await asyncio.sleep(min(1.0, _PAUSE_S * 2**ask))
            try:
                async with self._pool.connection() as raw:
                    with translate():
                        cursor = await raw.execute("SELECT pg_xact_status(%s::xid8)", (number,))
                        [status] = await cursor.fetchone() or (None,)
            except StoreUnavailableError:
                continue  # it is away, perhaps to start anew
            if status == "committed":
                return
            if status != "in progress":
                raise _Undone(lost)
        raise lost


class _Undone(Exception):
    """Nothing of a transaction is left; it may be run again."""

    def __init__(self, error: StoreUnavailableError) -> None:
        super().__init__()
        self.error = error


def _is_undone(error: BaseException | None) -> bool:
    """Whether an error before the COMMIT leaves nothing, and another try may do better."""
    if error is None:
        return False
    return is_lost(error) or (isinstance(error, psycopg.Error) and error.sqlstate in RETRIED)


async def _roll_back(session: Session) -> None:
    """Undo; a connection that cannot even do that is not used again."""
    try:
        await session.roll_back()
    except psycopg.Error:
        session.give_up()
