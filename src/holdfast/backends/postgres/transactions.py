"""Transactions of every kind: how each begins, and what happens when the connection is lost.

A transaction that surely was not committed is run again: it was undone by Postgres to resolve a
deadlock, or its connection was lost before its COMMIT was sent. When the connection is lost while
a COMMIT is under way, the database tells what became of it: each commit leaves a token of its own
in its transaction. (`pg_xact_status` would not do: after a crash, Postgres gives the number of a
transaction of which nothing had reached the disk to another one.)
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, TypeVar, cast

import psycopg

from holdfast.backends.postgres.bridge import bridged
from holdfast.backends.postgres.errors import RETRIED, is_lost, translate
from holdfast.backends.postgres.locks import BINDING, NUMBERS, SPACE, project_key
from holdfast.backends.postgres.pool import Pool, Raw
from holdfast.backends.postgres.session import Opening, Session
from holdfast.backends.sql.records import Work
from holdfast.backends.sql.rows import only
from holdfast.backends.sql.sealing import Sealer
from holdfast.errors import StoreUnavailableError
from holdfast.model import Project

T = TypeVar("T")

First = Callable[[Raw], Awaitable[None]]
"""What is done with a connection before a transaction begins on it."""

_TRIES: Final = 4
_PAUSE_S: Final = 0.05
"""Between two tries, and two questions for what became of a commit; doubles up to a second."""
_FIND_OUT_S: Final = 20.0
"""How long it is asked what became of a commit before that is an error."""

_SNAPSHOT: Final = ("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", ())
_READING: Final = ("BEGIN READ ONLY", ())
_WRITING: Final = ("BEGIN", ())

# What row-level security lets through: the rows of one project, or, for the calls that are about
# all of them (the queue's lease, the census, the directory), every row.
_WITHIN: Final = "SELECT set_config('holdfast.project', %s, true)"
_EVERYWHERE: Final = ("SELECT set_config('holdfast.reach', 'all', true)", ())

_ALONE: Final = ("SELECT pg_advisory_xact_lock(%s::int, %s::int)", (SPACE, BINDING))

_COMMITTING: Final = """
SELECT pg_advisory_xact_lock_shared(%s::int, %s::int), pg_advisory_xact_lock(%s::int, %s::int),
       pg_advisory_xact_lock_shared(%s | last_value)
FROM history_no_seq
"""

_LEAVE_TOKEN: Final = """
INSERT INTO commits (writer, project, token, at) VALUES (%s, %s, %s, extract(epoch FROM now()))
ON CONFLICT (writer, project) DO UPDATE SET token = excluded.token, at = excluded.at
"""

# Whoever lost a commit may still be at its end, and then holds the project's lock.
_AFTER: Final = "SELECT pg_advisory_xact_lock(%s::int, %s::int)"
_TOKEN: Final = "SELECT token FROM commits WHERE writer = ? AND project = ?"

_FORGET: Final = "DELETE FROM commits WHERE at < extract(epoch FROM now()) - 86400"


class Transactions:
    """Runs work on connections of a pool."""

    def __init__(self, pool: Pool, sealer: Sealer | None = None, *, tries: int = _TRIES) -> None:
        """`tries`: how often a transaction is begun that was undone."""
        self._pool = pool
        self._sealer = sealer
        self._tries = tries
        self._writer = secrets.token_hex(8)
        """Tells the tokens of this instance from others'."""

    async def read(
        self,
        project: Project | None,
        work: Work[T],
        *,
        brief: bool = False,
        first: First | None = None,
    ) -> T:
        """One snapshot of a project; for None every statement sees what is committed by then.

        What is `brief` needs no BEGIN: statements sent together are a transaction by themselves.
        `first` is awaited with the connection before the transaction begins, and may refuse it.
        """
        within = _EVERYWHERE if project is None else (_WITHIN, (project,))
        if brief:
            return await self._repeated(work, (within,), first)
        begin = _READING if project is None else _SNAPSHOT
        return await self._repeated(work, (begin, within), first)

    async def look(self, work: Work[T]) -> T:
        """A single statement that sets for itself what row-level security lets through."""
        return await self._repeated(work, ())

    async def write(self, project: Project | None, work: Work[T], *, alone: bool = False) -> T:
        """One transaction that writes; `alone`: while nobody commits anything."""
        reach = _EVERYWHERE if project is None else (_WITHIN, (project,))
        opening = (_WRITING, reach, *([_ALONE] if alone else []))
        return await self._repeated(work, opening)

    async def commit(self, project: Project, work: Work[T]) -> T:
        """One transaction that holds the project's lock, and whose end is known for certain.

        Raises StoreUnavailableError if Postgres stays away before it can tell.
        """
        locks = (_COMMITTING, (SPACE, BINDING, SPACE, project_key(project), NUMBERS))
        for again in range(1, _TRIES + 1):
            token = secrets.token_hex(8)
            leave = (_LEAVE_TOKEN, (self._writer, project, token))
            try:
                return await self._once(work, (_WRITING, (_WITHIN, (project,)), locks, leave))
            except _Undone as undone:
                error = undone.error
            except _Unknown as unknown:
                error = unknown.error
                if await self._is_there(project, token, error):
                    return cast("T", unknown.result)
            await asyncio.sleep(_PAUSE_S * 2**again)
        raise error from error.__cause__

    async def forget_tokens(self) -> None:
        """Delete those of instances that are long gone."""
        await self.write(None, lambda connection: connection.execute(_FORGET).rowcount)

    async def _repeated(self, work: Work[T], opening: Opening, first: First | None = None) -> T:
        for again in range(1, self._tries + 1):
            try:
                return await self._once(work, opening, first)
            except _Undone as undone:
                error = undone.error
            except _Unknown as unknown:
                raise unknown.error from unknown.error.__cause__
            if again < self._tries:
                await asyncio.sleep(_PAUSE_S * 2**again)
        raise error from error.__cause__

    async def _once(self, work: Work[T], opening: Opening, first: First | None = None) -> T:
        """One try. Raises _Undone if another may do better, _Unknown for a lost COMMIT."""
        async with self._pool.connection() as raw:
            if first is not None:
                await first(raw)
            session = Session(raw, opening, self._sealer)
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
                if is_lost(error.__cause__):
                    raise _Unknown(error, result) from None
                await _roll_back(session)
                if _is_undone(error.__cause__):
                    raise _Undone(error) from None
                raise
            except Exception:
                await _roll_back(session)
                raise
            return result

    async def _is_there(self, project: Project, token: str, lost: StoreUnavailableError) -> bool:
        """Whether the commit that left this token happened; raises if that stays unknown."""
        after = (_AFTER, (SPACE, project_key(project)))
        deadline = asyncio.get_running_loop().time() + _FIND_OUT_S
        pause_s = _PAUSE_S
        while asyncio.get_running_loop().time() < deadline:
            with suppress(StoreUnavailableError):  # it is away, perhaps to start anew
                found = await self._repeated(
                    lambda c: only(c, _TOKEN, (self._writer, project)),
                    (_WRITING, (_WITHIN, (project,)), after),
                )
                return bool(found == token)
            await asyncio.sleep(pause_s)
            pause_s = min(1.0, 2 * pause_s)
        raise StoreUnavailableError(
            "The connection was lost during a COMMIT, and Postgres stays away: whether it happened"
            " is not known.",
            hint="Retry: what is there already is not stored twice.",
        ) from lost


class _Undone(Exception):
    """Nothing of a transaction is left; it may be run again."""

    def __init__(self, error: StoreUnavailableError) -> None:
        super().__init__()
        self.error = error


class _Unknown(Exception):
    """A COMMIT was sent, and its answer lost."""

    def __init__(self, error: StoreUnavailableError, result: object) -> None:
        super().__init__()
        self.error = error
        self.result = result


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
