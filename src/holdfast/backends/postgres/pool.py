"""A bounded pool of connections to one database, for one event loop.

psycopg's own pool works with tasks in the background and can only be closed on its loop; this one
leaves nothing running, and is closed from anywhere. A connection that the server has closed is
told by its socket, without asking: what is to be read on an idle connection is its end.
"""

from __future__ import annotations

import asyncio
import select
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from psycopg import AsyncConnection, ProgrammingError
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus
from psycopg.types.numeric import Int8Dumper

from holdfast.backends.postgres.errors import translate
from holdfast.backends.postgres.settings import PostgresSettings
from holdfast.core.breaker import Breaker, BreakerBounds
from holdfast.errors import ClosedError, ConfigError, StoreError, StoreUnavailableError

Raw = AsyncConnection[tuple[Any, ...]]

_SESSION: Final = """
SELECT set_config('statement_timeout', %s, false), set_config('lock_timeout', %s, false),
       set_config('idle_in_transaction_session_timeout', %s, false),
       set_config('client_min_messages', 'warning', false)
"""


_REACHABLE: Final = BreakerBounds(failures_in_row=3, pause_s=0.25, pause_max_s=1.0)
"""Short pauses: whoever waits to learn whether its commit happened must not miss the return."""


class Pool:
    """Lends connections, each to one transaction at a time."""

    def __init__(self, settings: PostgresSettings) -> None:
        self._settings = settings
        self._conninfo = _conninfo(settings)
        self._slots = asyncio.Semaphore(settings.pool_max)
        self._idle: list[tuple[Raw, float]] = []
        """With the time at which each was opened; the one last used is last."""
        self._ages: dict[Raw, float] = {}
        self._breaker = Breaker(_REACHABLE)
        self._inside = 0
        self._closed = False

    async def open(self) -> None:
        """Connect as often as `pool_min` says, at least once: errors show now."""
        while len(self._idle) < max(1, self._settings.pool_min):
            self._give_back(await self._connect())

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Raw]:
        """Lend a connection that is alive as far as its socket tells, outside of a transaction.

        Raises StoreUnavailableError when none is free in time, or what connecting raises.
        """
        self._inside += 1
        try:
            await self._acquire_slot()
            try:
                raw = self._alive() or await self._reconnect()
                try:
                    yield raw
                except BaseException as error:
                    if not isinstance(error, Exception):
                        _finish(raw)  # given up in the middle of a statement, perhaps
                    raise
                finally:
                    self._give_back(raw)
            finally:
                self._slots.release()
        finally:
            self._inside -= 1

    @property
    def busy(self) -> int:
        """How many connections are lent."""
        return min(self._inside, self._settings.pool_max)

    @property
    def waiting(self) -> int:
        """How many callers wait for one."""
        return max(0, self._inside - self._settings.pool_max)

    def close(self) -> None:
        """Close what is idle now, and what is lent when it comes back. Idempotent."""
        self._closed = True
        while self._idle:
            _finish(self._idle.pop()[0])

    async def _acquire_slot(self) -> None:
        if self._closed:
            raise ClosedError("The record store is closed.")
        try:
            async with asyncio.timeout(self._settings.pool_timeout_s):
                await self._slots.acquire()
        except TimeoutError:
            raise StoreUnavailableError(
                f"All {self._settings.pool_max} connections to Postgres are busy.",
                hint="Retry later, or raise records.config.pool_max.",
                retry_after_s=1.0,
            ) from None

    def _alive(self) -> Raw | None:
        oldest = time.monotonic() - self._settings.connection_age_max_s
        while self._idle:
            raw, opened = self._idle.pop()
            if not raw.closed and opened > oldest and not _has_input(raw):
                self._ages[raw] = opened
                return raw
            _finish(raw)
        return None

    async def _reconnect(self) -> Raw:
        """Connect, unless that failed so often lately that it would only keep everybody."""
        permit = self._breaker.admit(time.monotonic())
        if permit is None:
            raise StoreUnavailableError(
                "Postgres cannot be reached.",
                hint="Retry later.",
                retry_after_s=max(1.0, self._breaker.wait_s(time.monotonic())),
            )
        there: bool | None = None
        try:
            raw = await self._connect()
            there = True
        except StoreUnavailableError:
            there = False
            raise
        except StoreError:  # it answered
            there = True
            raise
        finally:
            self._breaker.ended(permit, time.monotonic(), there)
        return raw

    async def _connect(self) -> Raw:
        settings = self._settings
        with translate():
            raw = await AsyncConnection.connect(**self._conninfo, autocommit=True)
            try:
                raw.adapters.register_dumper(int, Int8Dumper)
                times = (
                    settings.statement_timeout_s,
                    settings.lock_timeout_s,
                    settings.idle_timeout_s,
                )
                await raw.execute(_SESSION, [f"{round(seconds * 1_000)}ms" for seconds in times])
            except BaseException:
                _finish(raw)
                raise
        self._ages[raw] = time.monotonic()
        return raw

    def _give_back(self, raw: Raw) -> None:
        opened = self._ages.pop(raw)
        if self._closed or raw.closed or raw.info.transaction_status != TransactionStatus.IDLE:
            _finish(raw)
        else:
            self._idle.append((raw, opened))


def _conninfo(settings: PostgresSettings) -> dict[str, Any]:
    try:
        found = conninfo_to_dict(settings.url)
    except ProgrammingError:
        raise ConfigError(
            "records.config.url cannot be read.",
            hint="Write it like postgresql://user:password@host:5432/database; "
            "letters such as @ / : in a password are written %40 %2F %3A.",
        ) from None
    found.setdefault("application_name", settings.application_name)
    found.setdefault("connect_timeout", round(settings.connect_timeout_s))
    return dict(found)


def _has_input(raw: Raw) -> bool:
    poll = select.poll()
    poll.register(raw.pgconn.socket, select.POLLIN | select.POLLERR | select.POLLHUP)
    return bool(poll.poll(0))


def _finish(raw: Raw) -> None:
    """Close a connection at once, without its event loop."""
    with suppress(OSError):
        raw.pgconn.finish()
