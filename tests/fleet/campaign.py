"""A fleet under load while its parts are killed: what it is made of, and the troubles it has."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from support.postgres import Server
from tests.fleet import machines
from tests.fleet.book import Book
from tests.fleet.callers import Caller, doors, listing
from tests.fleet.machines import Machine

Trouble = Callable[[random.Random], Awaitable[None]]
INSTANCES = 3


class Fleet:
    """Three instances behind nginx and HAProxy, and a Redis."""

    def __init__(
        self,
        folder: Path,
        environ: Mapping[str, str],
        *,
        with_redis: bool,
        postgres: Server | None = None,
    ) -> None:
        """`environ`: settings of the instances. `postgres`: where their records are, if not in a
        file; it must be durable, for it will be killed."""
        self.postgres = postgres
        self.wipes: Callable[[], object] | None = None
        """Empties the index behind everybody's back, if there is one outside of the instances."""
        self.redis = machines.redis(folder / "redis") if with_redis else None
        more = dict(environ)
        if self.redis is not None:
            more["HOLDFAST_CACHE_PROVIDER"] = "redis"
            more["HOLDFAST_CACHE_URL"] = f"redis://127.0.0.1:{self.redis.port}/0"
        self.instances = [machines.instance(n, folder, more) for n in range(1, INSTANCES + 1)]
        self.balancers = [
            make(folder, self.instances)
            for make, binary in (
                (machines.nginx, machines.NGINX),
                (machines.haproxy, machines.HAPROXY),
            )
            if binary
        ]
        self.book = Book()

    @property
    def all(self) -> list[Machine]:
        first = [] if self.redis is None else [self.redis]
        return [*first, *self.instances, *self.balancers]

    @property
    def troubles(self) -> list[Trouble]:
        """All that may go wrong here."""
        found = [self.instance_killed, self.instance_drained]
        if self.redis is not None:
            found += [self.redis_killed, self.redis_hangs]
        if self.postgres is not None:
            found += [self.postgres_killed, self.postgres_restarted]
        if self.wipes is not None:
            found += [self.index_wiped]
        return found

    def start(self) -> None:
        for one in self.all:
            one.start()

    def end(self) -> None:
        machines.closing_all(self.all)

    # What may go wrong. Each is over when it returns.

    async def instance_killed(self, chance: random.Random) -> None:
        """One dies without a word and is started again."""
        await self._restarted(chance.choice(self.instances), signal.SIGKILL)

    async def instance_drained(self, chance: random.Random) -> None:
        """One is told to stop, as in a rolling upgrade, and is started again."""
        await self._restarted(chance.choice(self.instances), signal.SIGTERM)

    async def _restarted(self, one: Machine, sig: int) -> None:
        self.book.counts[f"{signal.Signals(sig).name} of an instance"] += 1
        await asyncio.to_thread(one.kill, sig)
        await asyncio.sleep(0.5)
        await asyncio.to_thread(one.start)

    async def redis_killed(self, _: random.Random) -> None:
        """Redis dies, and comes back empty."""
        if self.redis is not None:
            self.book.counts["Redis killed"] += 1
            await asyncio.to_thread(self.redis.kill)
            await asyncio.sleep(2.0)
            await asyncio.to_thread(self.redis.start)

    async def redis_hangs(self, _: random.Random) -> None:
        """Redis takes connections and says nothing."""
        if self.redis is not None:
            self.book.counts["Redis hung"] += 1
            self.redis.signal(signal.SIGSTOP)
            await asyncio.sleep(2.0)
            self.redis.signal(signal.SIGCONT)

    async def postgres_killed(self, _: random.Random) -> None:
        """The record database crashes in the middle of everything, and recovers."""
        await self._postgres(signal.SIGQUIT)

    async def postgres_restarted(self, _: random.Random) -> None:
        """The record database is restarted, as for an upgrade."""
        await self._postgres(signal.SIGINT)

    async def _postgres(self, how: signal.Signals) -> None:
        if self.postgres is not None:
            self.book.counts[f"{how.name} of Postgres"] += 1
            await asyncio.to_thread(self.postgres.stop, how)
            await asyncio.sleep(1.0)
            await asyncio.to_thread(self.postgres.start)

    async def index_wiped(self, _: random.Random) -> None:
        """Everything in the index is gone; `holdfast index verify --repair` brings it back."""
        if self.wipes is not None:
            self.book.counts["index wiped"] += 1
            await asyncio.to_thread(self.wipes)


async def campaign(
    fleet: Fleet, troubles: Sequence[Trouble], *,
    callers: int, seed: int, pause_s: float = 1.5, rounds: int = 1,
) -> Book:  # fmt: skip
    """Callers work through all doors while each trouble happens in turn; the book of it."""
    book, chance, stop = fleet.book, random.Random(seed), asyncio.Event()
    async with AsyncExitStack() as stack:
        ways = [await stack.enter_async_context(d) for d in doors([b.url for b in fleet.balancers])]
        people = [Caller(f"user-{seed}-{n}", ways, book, seed + n) for n in range(callers)]
        tasks = [asyncio.create_task(one.run(stop)) for one in people]
        try:
            for _ in range(rounds):
                for trouble in troubles:
                    await asyncio.sleep(pause_s)
                    await trouble(chance)
            await asyncio.sleep(pause_s)
        finally:
            stop.set()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
        for end in ends:
            if isinstance(end, BaseException):
                raise end
        await _final(fleet, book)
    return book


async def _final(fleet: Fleet, book: Book) -> None:
    """Every instance lists what was acknowledged: nothing lost, nothing doubled."""
    for one in fleet.instances:
        [door] = doors([one.url])
        async with door:
            for user in book.kept:
                book.check_listing(user, await listing(door, user), f"at the end, {one.name}")
