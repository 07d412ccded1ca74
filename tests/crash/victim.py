"""The process that is killed: works on a store through the engine and tells what was acknowledged.

Each user is served by one task, one call at a time; the tasks run side by side, so that their
writes share commits. At a kill at most one call of each user is therefore under way.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from pathlib import Path

from holdfast.backends.sqlite import connect
from holdfast.engine import delete as deleting
from holdfast.engine import update as updating
from holdfast.engine.parts import Parts
from holdfast.engine.read import ListRequest, get_all
from support.embedded import add, find, of_user, opened
from tests.crash import faults
from tests.crash.orders import Begun, Broken, Closing, Done, Message, Opened, Order, Work, encode

_WORDS = (
    "peanuts river Berlin Zürich 日本語 guitar мост allergic winter القهوة bicycle ok 🎉".split()
)
_LONG_CHARS = 20_000


def live(order: Order, out: int) -> int:
    """Carry out an order, telling the file descriptor `out`; returns an exit code."""
    if order.fault is not None:
        faults.plant(order.fault)
    if order.small_checkpoints:
        _checkpoint_often()
    try:
        asyncio.run(_work(order, out))
    except Exception as error:
        _tell(out, Broken(error=f"{type(error).__name__}: {error}"))
        raise
    return 0


def _tell(out: int, message: Message) -> None:
    os.write(out, encode(message) + b"\n")


def _checkpoint_often() -> None:
    pragmas = connect._pragmas

    def often(*, read_only: bool) -> tuple[str, ...]:
        more = () if read_only else ("PRAGMA wal_autocheckpoint=8",)
        return (*pragmas(read_only=read_only), *more)

    connect._pragmas = often


async def _work(order: Order, out: int) -> None:
    async with opened(Path(order.path)) as parts:
        _tell(out, Opened())
        await asyncio.gather(*(_Lane(parts, order, user, out).run() for user in order.users))
        _tell(out, Closing())


class _Lane:
    """One user's calls."""

    def __init__(self, parts: Parts, order: Order, user: str, out: int) -> None:
        self._parts = parts
        self._order = order
        self._user = user
        self._out = out
        self._chance = random.Random(f"{order.seed} {user}")
        self._number = 0
        self._known: list[str] = []

    async def run(self) -> None:
        self._known = await self._listed()
        for work in self._order.retries:
            if work.user == self._user:
                await self._carry_out(work)
        while self._number < self._order.calls_max:
            await self._carry_out(self._choose())
            if self._chance.random() < 0.1:
                await self._look()

    async def _listed(self) -> list[str]:
        request = ListRequest(filter=of_user(self._user), size=1_000)
        return [memory.id for memory in (await get_all(self._parts, request)).memories]

    def _choose(self) -> Work:
        self._number += 1
        dice = self._chance.random()
        if not self._known or dice < 0.55:
            return self._new_add()
        if dice < 0.95:
            verb = "update" if dice < 0.80 else "delete"
            texts = (self._text(0),) if verb == "update" else ()
            metadata = {"edited": self._number} if self._chance.random() < 0.5 else None
            chosen = self._chance.choice(self._known)
            return self._plan(verb, memory_id=chosen, texts=texts, metadata=metadata)
        return self._plan("delete_all")

    def _new_add(self) -> Work:
        count = self._chance.choice([1, 1, 1, 2, 3, 16])
        key = (
            f"{self._user} {self._order.seed} {self._number}"
            if self._chance.random() < 0.4
            else None
        )
        texts = tuple(self._text(place) for place in range(count))
        metadata = {"n": self._number, "tags": ["a", "ü"]} if self._chance.random() < 0.5 else None
        return self._plan("add", texts=texts, metadata=metadata, key=key, at=time.time())

    def _plan(self, verb: str, **details: object) -> Work:
        return Work(number=self._number, user=self._user, verb=verb, **details)

    def _text(self, place: int) -> str:
        words = " ".join(self._chance.choices(_WORDS, k=6))
        long = " filler" * (_LONG_CHARS // 7) if self._chance.random() < 0.03 else ""
        return f"m{self._order.seed}x{self._user}x{self._number}x{place} {words}{long}"

    async def _carry_out(self, work: Work) -> None:
        _tell(self._out, Begun(work=work))
        ids = await _CALLS[work.verb](self._parts, work)
        _tell(self._out, Done(user=work.user, number=work.number, ids=tuple(ids)))
        self._remember(work, ids)
        if work.key is not None and self._chance.random() < 0.5:
            again = await _add(self._parts, work)
            assert again == ids, f"the same key gave {again}, then {ids}"

    def _remember(self, work: Work, ids: list[str]) -> None:
        if work.verb == "add":
            self._known += [id_ for id_ in ids if id_ not in self._known]
        elif work.verb == "delete":
            self._known.remove(work.memory_id or "")
        elif work.verb == "delete_all":
            self._known.clear()

    async def _look(self) -> None:
        """What was acknowledged is found by its own words; what was deleted is not found."""
        found = {
            id_ for id_, _ in await find(self._parts, "peanuts river", self._user, top_k=1_000)
        }
        assert found == set(self._known), f"search finds {found}, known are {self._known}"


async def _add(parts: Parts, work: Work) -> list[str]:
    messages = [{"role": "user", "content": text} for text in work.texts]
    more = {"metadata": work.metadata, "idempotency_key": work.key}
    return await add(parts, messages, work.user, work.at, **more)


async def _update(parts: Parts, work: Work) -> list[str]:
    request = updating.UpdateRequest(
        memory_id=work.memory_id or "", text=work.texts[0], metadata=work.metadata
    )
    await updating.update(parts, request)
    return []


async def _delete(parts: Parts, work: Work) -> list[str]:
    await deleting.delete(parts, work.memory_id or "")
    return []


async def _delete_all(parts: Parts, work: Work) -> list[str]:
    await deleting.delete_all(parts, of_user(work.user))
    return []


_CALLS = {"add": _add, "update": _update, "delete": _delete, "delete_all": _delete_all}
