"""A restore drill: SQLite to Postgres and external indexes, with everything equal."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, TypeVar

from holdfast.admin import AsyncAdmin
from holdfast.config import load_config
from support import joined
from support.qdrant_engine import Engine
from support.qdrant_wire import QdrantWire
from support.sealed import written
from tests.drill import life
from tests.drill.rows import differences

T = TypeVar("T")

FED_S = 1_800
PASTS = 100
INDEXES = ("embedded", "pgvector", "qdrant")


class Size(NamedTuple):
    """How large a drill is."""

    memories: int
    users: int
    searches: int
    sealed: bool = False


class Drill:
    """A store, its backups, and what it is restored into; `say` is told how it goes."""

    def __init__(self, folder: Path, url: str, size: Size, say: Callable[[str], None]) -> None:
        self.folder, self.url, self.size, self.say = folder, url, size, say
        self.faults: list[str] = []
        self.before: dict[str, Any] = {}
        common: dict[str, Any] = {
            "workers": 0,
            "backup": {"provider": "folder", "config": {"path": str(folder / "backups")}},
        }
        if size.sealed:
            keys = folder / "keys"
            keys.touch(mode=0o600)
            keys.write_text(written())
            common["seal"] = {"provider": "file", "config": {"path": str(keys)}}
        postgres = {"records": {"provider": "postgres", "config": {"url": url}}}
        self.source = {**common, "path": str(folder / "store")}
        self.target = {**common, **postgres, "path": str(folder / "other")}

    async def timed(self, what: str, call: Awaitable[T], count: int = 0) -> T:
        began = time.perf_counter()
        result = await call
        took = time.perf_counter() - began
        rate = f"  {count / took:>10,.0f} a second" if count else ""
        self.say(f"{what:58}{took:8.1f} s{rate}")
        return result

    def check(self, what: str, before: Any, after: Any) -> None:
        """Note if something is not as it was."""
        if before != after:
            self.faults.append(what)
        self.say(f"{'  equal' if before == after else '  DIFFERENT'}: {what}")

    async def run(self) -> None:
        """All of it."""
        await self._lived()
        await self._restored()
        for index in INDEXES:
            with self._index(index) as settings:
                await self._answered(index, {**self.target, **settings})

    async def _lived(self) -> None:
        memories, users, searches, _ = self.size
        async with AsyncAdmin(self.source) as admin:
            await self.timed("filled", life.fill(admin, memories, users), memories)
            await life.change(admin, users, 5)
            await self.timed("a full archive", admin.backups.create(full=True), memories)
            await life.change(admin, users, 7)
            asked = life.answers(admin, users, searches)
            self.before["answers"] = await self.timed("asked", asked, searches)
            self.before["pages"] = await self.timed("listed", life.pages(admin, users), memories)
            self.before["pasts"] = await life.pasts(admin, users, PASTS)
        # of a store that nobody has open: nothing is written between the archive and the comparison
        made = AsyncAdmin(self.source).backups.create()
        archived = await self.timed("an incremental archive", made, memories)
        self.check("the second archive is incremental", archived.kind, "incremental")

    async def _restored(self) -> None:
        restoring = AsyncAdmin(self.target).backups.restore()
        restored = await self.timed("restored into Postgres", restoring, self.size.memories)
        one, other = (load_config(each).config for each in (self.source, self.target))
        compared = self.timed("compared, row by row", differences(one, other), restored.rows)
        equal, differ = await compared
        self.say("  " + ", ".join(f"{rows:,} {table}" for table, rows in equal.items() if rows))
        self.check("every row of every table", differ, [])
        self.check(
            "no table is empty by mistake", bool(equal["history"] and equal["sources"]), True
        )

    async def _answered(self, index: str, settings: dict[str, Any]) -> None:
        users, searches = self.size.users, self.size.searches
        async with AsyncAdmin(settings) as admin:
            if index != "embedded":
                await self.timed(f"{index}: filled", self._fed(admin), self.size.memories)
                drift = await self.timed(
                    f"{index}: compared with the records", admin.index.verify()
                )
                self.check(f"{index}: {drift.points:,} points for as many memories", drift.total, 0)
                self.check(f"{index}: counts", drift.points, drift.memories)
            asked = life.answers(admin, users, searches)
            found = await self.timed(f"{index}: asked", asked, searches)
            self._compare(index, found)
            if index == "embedded":
                listed = await self.timed("listed", life.pages(admin, users), self.size.memories)
                self.check(
                    "ids, texts, times, metadata of every user", listed, self.before["pages"]
                )
                past = await life.pasts(admin, users, PASTS)
                self.check("histories", past, self.before["pasts"])
            else:
                counts = admin.metrics.counts().items()
                by = {labels[0]: int(n) for (name, labels), n in counts if name == "index_answer"}
                self.check(f"{index}: answered by it alone, {by}", by, {"candidates": searches})

    def _compare(self, index: str, found: list[list[life.Hit]]) -> None:
        """Answers of an index with what the store told before.

        Of who has more memories than a vector database names candidates, the ranking sees those
        only, and scores are not the same: there the best hit is counted.
        """
        pairs = list(zip(self.before["answers"], found, strict=True))
        if index != "embedded":
            heavy = [(one, other) for one, other in pairs[:: life.HEAVY] if one]
            best = sum(one[0][0] in [hit[0] for hit in other] for one, other in heavy)
            many = self.size.memories // 10
            self.say(
                f"  of a user with {many:,} memories {best} of {len(heavy)} best hits are found"
            )
            pairs = [pair for no, pair in enumerate(pairs) if no % life.HEAVY]
        unlike = [no for no, (one, other) in enumerate(pairs) if one != other]
        hits = sum(len(one) for one, _ in pairs)
        self.check(
            f"{index}: {len(pairs)} answers, {hits:,} hits: ids, order, texts, scores", unlike, []
        )

    async def _fed(self, admin: AsyncAdmin) -> None:
        """Wait until an index has everything."""
        pause_s = max(0.1, self.size.memories / 40_000)  # for it costs a scan of the store
        end = time.monotonic() + FED_S
        while time.monotonic() < end:
            if not (await admin.index.status()).projects_behind:
                return
            await asyncio.sleep(pause_s)
        self.faults.append("an index was not filled")

    @contextmanager
    def _index(self, name: str) -> Iterator[dict[str, Any]]:
        """An index as a configuration names it; gone at the end."""
        if name == "embedded":
            yield {}
        elif name == "pgvector":
            # as for any first load: the graph is made afterwards
            given = {"url": self.url, "mode": "exact", "exact_rows": 0}
            yield {"index": {"provider": "pgvector", "config": given}}
        else:
            with ExitStack() as stack:
                engine = Engine(Path(stack.enter_context(TemporaryDirectory(dir=self.folder))))
                stack.callback(engine.close)
                wire = QdrantWire(engine)
                wire.requests = deque(maxlen=1)  # type: ignore[assignment]  # it keeps all otherwise
                stack.callback(wire.close)
                given = {"url": wire.url, "timeout_s": 60, "collection": "drill", "exact_rows": 0}
                yield {"index": {"provider": "qdrant", "config": given}}


def drill(folder: Path, size: Size, say: Callable[[str], None]) -> list[str]:
    """Do it; what was not equal."""
    with joined.database() as url:
        made = Drill(folder, url, size, say)
        asyncio.run(made.run())
        return made.faults
