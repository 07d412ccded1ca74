"""Kills processes that write, and compares what is left with what was acknowledged."""

from __future__ import annotations

import os
import random
import selectors
import shutil
import signal
import sqlite3
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from support.revisions import revision_of
from tests.crash import inspection
from tests.crash.book import Book, Held, LostError
from tests.crash.orders import Broken, Closing, Done, Message, Opened, Order, decode_message
from tests.crash.zygote import Zygote

_USERS = ("ann", "bob", "cem", "日本", "o'k", "f")
_PATIENCE_S = 60.0
_ROUNDS_PER_STORE = 20
_LINE_BREAK = b"\n"


@dataclass
class Plan:
    """When a victim dies: `delay_s` after it said so many messages of a kind."""

    after: type[Message] | None
    count: int
    delay_s: float

    @classmethod
    def draw(cls, chance: random.Random, calls: int) -> Plan:
        """Mostly amid calls; sometimes while the store is opened or closed."""
        dice = chance.random()
        if dice < 0.12:
            return cls(None, 0, chance.uniform(0, 0.02))
        if dice < 0.2:
            return cls(Closing, 1, chance.uniform(0, 0.004))
        return cls(Done, chance.randint(1, calls), chance.uniform(0, 0.003))


@dataclass
class Victim:
    """A running victim and what it said so far."""

    pid: int
    reading: int
    plan: Plan
    messages: list[Message] = field(default_factory=list)
    dies_at: float | None = None
    rest: bytes = b""
    ended: bool = False

    def listen(self) -> None:
        """Read what is there; a line cut off by the end was never said."""
        data = os.read(self.reading, 1 << 16)
        self.ended = not data
        *lines, self.rest = (self.rest + data).split(_LINE_BREAK)
        self.messages += map(decode_message, lines)
        if self.dies_at is None and self._due():
            self.dies_at = time.monotonic() + self.plan.delay_s

    def _due(self) -> bool:
        kind = self.plan.after
        return kind is not None and self.plan.count <= sum(type(m) is kind for m in self.messages)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        self.dies_at = float("inf")


class Campaign:
    """Round after round on one store after the other."""

    def __init__(self, zygote: Zygote, folder: Path, seed: int, fault: str | None = None) -> None:
        self._zygote = zygote
        self._folder = folder
        self._seed = seed
        self._fault = fault
        self._round = 0
        self._store = 0
        self._book = Book()
        self._path = folder / "none.db"
        self.tally: Counter[str] = Counter()

    def write_round(self) -> None:
        """One or two victims work on the store and are killed; then everything is compared."""
        if self._round % _ROUNDS_PER_STORE == 0:
            self._new_store(None)
        chance = self._next()
        users = chance.sample(_USERS, 4)
        teams = [users[:2], users[2:]] if chance.random() < 0.3 else [users]
        calls = chance.choice([3, 10, 30])
        plans = [Plan.draw(chance, calls) for _ in teams]
        small = chance.random() < 0.3
        orders = [self._order(chance, tuple(team), calls, small=small) for team in teams]
        self._run(orders, plans)
        self._compare(in_place=chance.random() < 0.3)

    def migration_round(self, old: Path, shapes: dict[str, inspection.Shape]) -> None:
        """A victim opens a copy of an old store and is killed meanwhile or soon after.

        `shapes`: what the tables look like for each revision the store may have afterwards.
        """
        chance = self._next()
        self._new_store(old)
        order = self._order(chance, _USERS[:2], 3, small=False)
        in_time = chance.random() < 0.75
        plan = Plan(None, 0, chance.uniform(0, 0.08)) if in_time else Plan(Opened, 1, 0.001)
        self._run([order], [plan])
        with closing(self._copy(in_place=False)) as connection:
            revision = revision_of(connection)
            tables = inspection.shape(connection)
            if tables != shapes[revision]:
                odd = sorted(k for k in tables if tables[k] != shapes[revision].get(k))
                raise LostError(f"half a migration: {revision} has other tables: {odd}")
        self.tally[f"left at {revision}"] += 1
        self._compare(in_place=False)

    def _next(self) -> random.Random:
        self._round += 1
        return random.Random(f"{self._seed} {self._round}")

    def _new_store(self, template: Path | None) -> None:
        self._path.with_suffix(".kept").unlink(missing_ok=True)
        for file in self._folder.glob(f"{self._path.name}*"):
            file.unlink()
        self._store += 1
        self._path = self._folder / f"store{self._store}.db"
        self._book = Book()
        if template is not None:
            shutil.copy(template, self._path)
            with closing(sqlite3.connect(template)) as connection:
                self._book.held = inspection.contents(connection)

    def _order(
        self, chance: random.Random, users: tuple[str, ...], calls: int, *, small: bool
    ) -> Order:
        return Order(
            path=str(self._path),
            seed=chance.getrandbits(32),
            users=users,
            calls_max=calls,
            retries=tuple(work for work in self._book.retries if work.user in users),
            small_checkpoints=small,
            fault=self._fault,
        )

    def _run(self, orders: list[Order], plans: list[Plan]) -> None:
        victims = []
        for order, plan in zip(orders, plans, strict=True):
            pid, reading = self._zygote.start(order)
            victim = Victim(pid, reading, plan)
            if plan.after is None:
                victim.dies_at = time.monotonic() + plan.delay_s
            victims.append(victim)
        try:
            _watch(victims)
        finally:
            for victim in victims:
                victim.kill()
                code = self._zygote.bury(victim.pid)
                self.tally["kills" if code == -signal.SIGKILL else "ends"] += 1
                os.close(victim.reading)
        for victim in victims:
            self._hear(victim)

    def _hear(self, victim: Victim) -> None:
        for message in victim.messages:
            if isinstance(message, Broken):
                raise LostError(f"a victim found: {message.error}")
            self._book.hear(message)
        self.tally["opened"] += any(isinstance(m, Opened) for m in victim.messages)
        self.tally["acknowledged"] += sum(isinstance(m, Done) for m in victim.messages)

    def _compare(self, *, in_place: bool) -> None:
        """In place SQLite recovers here; on a copy it is left to the next victim."""
        try:
            found, known = self._read(in_place=in_place)
        except sqlite3.DatabaseError as error:
            raise LostError(f"the database cannot be read: {error}") from error
        self._book.settle(found)
        if known != set(self._book.keys):
            raise LostError(f"keys of jobs: {known ^ set(self._book.keys)}")
        self.tally.update({f"cut off, {k}": v for k, v in self._book.cut_off.items()})
        self._book.cut_off = dict.fromkeys(self._book.cut_off, 0)

    def _read(self, *, in_place: bool) -> tuple[dict[str, Held], set[str]]:
        with closing(self._copy(in_place=in_place)) as connection:
            if not connection.execute("SELECT 1 FROM sqlite_master").fetchone():
                return {}, set()
            if faults := inspection.faults(connection):
                raise LostError("; ".join(faults))
            return inspection.contents(connection), inspection.keys(connection)

    def _copy(self, *, in_place: bool) -> sqlite3.Connection:
        target = self._path
        if not in_place and self._path.exists():
            target = self._folder / "copy.db"
            for ending in ("", "-wal", "-shm"):
                source = Path(f"{self._path}{ending}")
                Path(f"{target}{ending}").unlink(missing_ok=True)
                if ending != "-shm" and source.exists():
                    shutil.copy(source, f"{target}{ending}")
        return sqlite3.connect(target)


def _watch(victims: list[Victim]) -> None:
    """Listen to all until each is dead, and kill each when its time has come."""
    patience = time.monotonic() + _PATIENCE_S
    with selectors.DefaultSelector() as selector:
        for victim in victims:
            selector.register(victim.reading, selectors.EVENT_READ, victim)
        while selector.get_map():
            now = time.monotonic()
            if now > patience:
                raise LostError("a victim hangs")
            for victim in victims:
                if victim.dies_at is not None and victim.dies_at <= now and not victim.ended:
                    victim.kill()
            times = [victim.dies_at for victim in victims if victim.dies_at is not None]
            for key, _ in selector.select(min([1.0, *(moment - now for moment in times)])):
                key.data.listen()
                if key.data.ended:
                    selector.unregister(key.fd)
