"""Callers of a fleet: each adds, reads back through another door, and deletes, all the time."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Sequence
from typing import Any, Final

import httpx

from tests.fleet.book import Book
from tests.fleet.machines import ADMIN_KEY

AGAIN_S: Final = 0.2
"""Pause before a call that was refused is made again."""
_PATIENCE_S: Final = 60.0


class Caller:
    """One user's application. Its calls go through any of the doors, at random."""

    def __init__(
        self, user: str, doors: Sequence[httpx.AsyncClient], book: Book, seed: int
    ) -> None:
        self.user, self._doors, self._book = user, doors, book
        self._chance = random.Random(seed)
        self._number = 0
        book.kept[user], book.open[user], book.deleted[user] = {}, set(), set()

    async def run(self, stop: asyncio.Event) -> None:
        """Work until told to stop."""
        while not stop.is_set():
            choice = self._chance.random()
            kept = self._book.kept[self.user]
            if choice < 0.15 and len(kept) > 5:
                await self._delete(self._chance.choice(sorted(kept)))
            elif choice < 0.6 or not kept:
                await self._add()
            else:
                await self._search()

    async def _add(self) -> None:
        """Add one text, under one idempotency key until it is acknowledged; then look for it."""
        self._number += 1
        word = uuid.UUID(int=self._chance.getrandbits(128)).hex[:12]
        text = f"note {self._number} of {self.user} about {word}"
        self._book.open[self.user].add(text)
        body = {
            "messages": text, "user_id": self.user, "infer": False,
            "idempotency_key": f"{self.user}-{self._number}",
        }  # fmt: skip
        answer = await self._acknowledged("add", body)
        [one] = answer["results"]
        self._book.kept[self.user][one["id"]] = text
        self._book.open[self.user].discard(text)
        self._book.counts["adds"] += 1
        await self._must_find(word, one["id"])

    async def _must_find(self, word: str, id_: str) -> None:
        """No stale answer: what was acknowledged is found through any door from then on."""
        found = await self._acknowledged("search", self._query(f"what about {word}"))
        if id_ not in [one["id"] for one in found["results"]]:
            self._book.fault(
                f"{self.user}: {id_} was acknowledged and is not found ({found})"[:300]
            )

    async def _search(self) -> None:
        id_, text = self._chance.choice(sorted(self._book.kept[self.user].items()))
        await self._must_find(text.split()[-1], id_)
        self._book.counts["searches"] += 1

    async def _delete(self, id_: str) -> None:
        text = self._book.kept[self.user].pop(id_)
        self._book.open[self.user].add(text)
        await self._acknowledged("delete", {"memory_id": id_}, gone_is_well=True)
        self._book.open[self.user].discard(text)
        self._book.deleted[self.user].add(id_)
        self._book.counts["deletes"] += 1
        found = await self._acknowledged("search", self._query(f"what about {text.split()[-1]}"))
        if id_ in [one["id"] for one in found["results"]]:
            self._book.fault(f"{self.user}: {id_} was deleted and is still found")

    def _query(self, query: str) -> dict[str, Any]:
        return {"query": query, "filters": {"user_id": self.user}, "top_k": 50, "threshold": 0.0}

    async def _acknowledged(
        self, verb: str, body: dict[str, Any], *, gone_is_well: bool = False
    ) -> Any:
        """Call until it is answered; everything but 200 and 503 is a fault."""
        deadline = asyncio.get_running_loop().time() + _PATIENCE_S
        tried = False
        while True:
            answer = await self._once(verb, body)
            if answer is not None and answer.status_code == 200:
                return answer.json()
            if answer is not None and answer.status_code == 404 and gone_is_well and tried:
                return {}  # an earlier try was carried out, its answer lost
            if answer is not None:
                self._judge(verb, answer)
            tried = True
            if asyncio.get_running_loop().time() > deadline:
                raise TimeoutError(f"{verb} was never acknowledged: {dict(self._book.counts)}")
            await asyncio.sleep(AGAIN_S)

    async def _once(self, verb: str, body: dict[str, Any]) -> httpx.Response | None:
        door = self._chance.choice(self._doors)
        try:
            return await door.post(f"/holdfast/{verb}", json=body)
        except httpx.TransportError as error:
            self._book.counts[f"broken:{type(error).__name__}"] += 1
            return None

    def _judge(self, verb: str, answer: httpx.Response) -> None:
        self._book.counts[f"status:{answer.status_code}"] += 1
        if answer.status_code != 503:
            self._book.fault(f"{verb}: {answer.status_code} {answer.text[:200]}")
        elif "retry-after" not in answer.headers:
            self._book.fault(f"{verb}: a 503 without Retry-After: {answer.text[:200]}")


def doors(urls: Sequence[str]) -> list[httpx.AsyncClient]:
    """A client for each address."""
    headers = {"Authorization": f"Token {ADMIN_KEY}"}
    return [httpx.AsyncClient(base_url=url, headers=headers, timeout=30.0) for url in urls]


async def listing(door: httpx.AsyncClient, user: str) -> list[dict[str, Any]]:
    """All of a user's memories, page by page."""
    found: list[dict[str, Any]] = []
    cursor = None
    while True:
        body = {"filters": {"user_id": user}, "top_k": 500, "cursor": cursor}
        answer = await door.post("/holdfast/get_all", json=body)
        answer.raise_for_status()
        page = answer.json()
        found += page["results"]
        cursor = page["cursor"]
        if not cursor:
            return found
