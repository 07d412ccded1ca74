"""Connections to Postgres for an index: pooled, bounded, and made anew after a restart."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import psycopg
from psycopg import AsyncConnection, errors
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout, TooManyRequests

from holdfast.backends.pgvector.points import register
from holdfast.backends.pgvector.settings import PgVectorSettings
from holdfast.errors import (
    ClosedError,
    ConfigError,
    HoldfastError,
    IndexUnavailableError,
    SpaceMismatchError,
    ValidationError,
)

T = TypeVar("T")
Connection = AsyncConnection[Any]
Work = Callable[[Connection], Awaitable[T]]

ATTEMPTS: Final = 4
"""Tries of one call: after a connection that was lost, or a deadlock. Calls may be repeated."""
RECONNECT_S: Final = 2.0
"""Seconds a pool tries to replace a connection before it waits for the next call to try again."""
GRACE_S: Final = 2.0
"""Seconds beyond the database's own time for a statement, until a silent one is given up."""

_REFUSED: Final = {
    "password authentication failed": "the password, or the user, is not the right one",
    "no password supplied": "it wants a password",
    "no pg_hba.conf entry": "it does not let this user in from this machine",
    "authentication failed": "it does not let this user in",
    "permission denied for database": "this user may not connect to this database",
    "role ": "there is no such user",
    "database ": "there is no such database",
}
"""What a refused connection says, for which libpq has no code, and what that means."""

_PASSING: Final = (errors.DeadlockDetected, errors.SerializationFailure)
_CUT: Final = (None, "57P01", "57P02", "08000", "08003", "08006", "25006")
"""States of a lost connection; 25006: the server became a standby, and another is the primary."""
_OTHER_SHAPE: Final = ("42703", "42704", "42804", "42809", "42883", "42P10", "42P16")
"""A column, type, operator, or kind of relation is not what the statements take it to be."""


def check_url(url: str, place: str) -> None:
    """Raises ConfigError, without the address, which may hold a password."""
    try:
        conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        raise ConfigError(
            f"{place}: this is no address of a Postgres database.",
            hint="Write it like postgresql://user:password@host:5432/database.",
        ) from None


class Connections:
    """A pool for one collection. `name` is for people; the address is told nobody."""

    def __init__(self, settings: PgVectorSettings, name: str) -> None:
        self._name = name
        self._settings = settings
        self._pool: AsyncConnectionPool[Connection] | None = None
        self._closed = False

    def alive(self) -> None:
        """Raises ClosedError after `close`."""
        if self._closed:
            raise ClosedError(f"{self._name} is closed.")

    async def single(self) -> Connection:
        """A connection of its own, whose failure says why. Raises ConfigError,
        IndexUnavailableError."""
        self.alive()
        seconds = self._settings.connect_timeout_s
        try:
            async with asyncio.timeout(seconds):
                return await AsyncConnection.connect(self._settings.url, **self._keywords())
        except psycopg.OperationalError as error:
            raise refusal(self._name, str(error)) from None
        except TimeoutError:
            raise IndexUnavailableError(
                f"{self._name}: Postgres did not answer within {seconds:g} s."
            ) from None

    async def start(self) -> None:
        """Open the pool; once."""
        if self._pool is None:
            self._pool = AsyncConnectionPool(
                self._settings.url,
                kwargs=self._keywords(),
                configure=_configured,
                min_size=0,
                max_size=self._settings.pool_max,
                timeout=self._settings.pool_timeout_s,
                max_waiting=self._settings.pool_waiting_max,
                max_lifetime=self._settings.connection_age_max_s,
                reconnect_timeout=RECONNECT_S,
                name="holdfast-pgvector",
                open=False,
            )
            await self._pool.open()

    async def run(self, work: Work[T]) -> T:
        """Do something that may be repeated on a connection, again after a passing failure."""
        self.alive()
        if self._pool is None:
            raise ClosedError(f"{self._name} was not opened.")
        for left in range(ATTEMPTS - 1, -1, -1):
            try:
                return await self._once(self._pool, work)
            except PoolClosed:
                raise ClosedError(f"{self._name} is closed.") from None
            except psycopg.OperationalError as error:
                if not left or not await self._passing(self._pool, error):
                    raise translated(self._name, error) from None
            except (psycopg.Error, UnicodeEncodeError) as error:
                raise translated(self._name, error) from None
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _once(self, pool: AsyncConnectionPool[Connection], work: Work[T]) -> T:
        seconds = self._settings.statement_timeout_s + GRACE_S
        async with pool.connection() as connection:
            try:
                async with asyncio.timeout(seconds):
                    return await work(connection)
            except TimeoutError:
                raise errors.QueryCanceled(f"no answer within {seconds:g} s") from None

    async def _passing(
        self, pool: AsyncConnectionPool[Connection], error: psycopg.OperationalError
    ) -> bool:
        """Whether to try again; makes ready for it."""
        if isinstance(error, PoolTimeout):
            # the pool does not tell why there is no connection: a single one does
            await (await self.single()).close()
            return False
        if isinstance(error, _PASSING):
            return True
        if isinstance(error, TooManyRequests) or error.sqlstate not in _CUT:
            return False
        await pool.check()  # others of the pool are likely to be lost as well
        return True

    async def close(self) -> None:
        """Release everything. Idempotent."""
        self._closed = True
        if self._pool is not None:
            await self._pool.close()

    def _keywords(self) -> dict[str, Any]:
        seconds = self._settings.connect_timeout_s
        return {
            "autocommit": True,
            "application_name": "holdfast",
            "connect_timeout": max(2, round(seconds)),
        }


async def _configured(connection: Connection) -> None:
    register(connection)


def refusal(name: str, said: str) -> HoldfastError:
    """Why there is no connection."""
    for words, meaning in _REFUSED.items():
        if words in said and (not words.endswith(" ") or "does not exist" in said):
            return ConfigError(
                f"{name}: Postgres refuses the connection: {meaning}.",
                hint="Check `url` of the index.",
            )
    return IndexUnavailableError(f"{name}: Postgres cannot be reached.")


@contextmanager
def translation(name: str) -> Iterator[None]:
    """Errors of Postgres as those of `ports.Vectors`."""
    try:
        yield
    except (psycopg.Error, UnicodeEncodeError) as error:
        raise translated(name, error) from None


def translated(name: str, error: Exception) -> HoldfastError:
    """The error of the port for one of Postgres. Its text is not passed on: it may quote values."""
    logging.getLogger(__name__).debug("%s: %s", name, type(error).__name__)
    state = getattr(error, "sqlstate", None) or ""
    if isinstance(error, PoolTimeout | TooManyRequests):
        return IndexUnavailableError(f"{name}: every connection is in use.", retry_after_s=1.0)
    if isinstance(error, errors.QueryCanceled):
        return IndexUnavailableError(f"{name}: Postgres took too long to answer.")
    if isinstance(error, errors.InsufficientPrivilege):
        return ConfigError(
            f"{name}: this user of Postgres lacks a right.",
            hint="Let it own the tables, or grant it what the call needs.",
        )
    if state in ("42P01", "3F000"):
        return IndexUnavailableError(
            f"{name}: the collection is gone.", hint="It is made anew when it is opened."
        )
    if isinstance(error, errors.DiskFull):
        return IndexUnavailableError(f"{name}: Postgres has no room left on its disk.")
    if state == "25006":
        return IndexUnavailableError(f"{name}: Postgres can only be read at the moment.")
    if isinstance(error, errors.DataException) and state == "22000":
        return SpaceMismatchError(f"{name}: the collection holds vectors of another length.")
    if isinstance(error, errors.ProgramLimitExceeded):
        return ValidationError(f"{name}: an id is too long for an index of Postgres.")
    if isinstance(error, psycopg.DataError | UnicodeEncodeError):
        return ValidationError(f"{name}: Postgres does not take an id, or a number, of these.")
    if state in _OTHER_SHAPE:
        return ConfigError(
            f"{name}: the collection has another shape ({state}).",
            hint="Choose another collection, or drop this one and rebuild the index.",
        )
    return IndexUnavailableError(f"{name}: Postgres failed ({state or 'connection lost'}).")
