"""Holdfast as anyone gets it, its home moved by HOLDFAST_HOME, but without cached answers."""

from __future__ import annotations

import importlib
import time
from pathlib import Path
from typing import Any

from sidebyside.contender import TOP_K, Contender, Turn
from sidebyside.writers import Written, write_all

MESSAGES_PER_CALL_MAX = 1_000
UNCACHED = {"cache": {"provider": "process", "config": {"results": False}}}
"""Searches are measured, not look-ups of what was found before."""


class Holdfast:
    """`holdfast.Memory`, and `holdfast.AsyncMemory` for concurrent writers.

    The process that runs it has HOLDFAST_HOME set to the contender's folder.
    """

    def open(self) -> None:
        holdfast: Any = importlib.import_module("holdfast")
        self._memory = holdfast.Memory(UNCACHED)

    def close(self) -> None:
        self._memory.close()

    def add(self, user: str, text: str) -> None:
        self._memory.add(text, user_id=user, infer=False)

    def add_many(self, user: str, texts: list[str]) -> None:
        messages = [{"role": "user", "content": text} for text in texts]
        self._memory.add(messages, user_id=user, infer=False)

    def load(self, user: str, texts: list[str]) -> None:
        for start in range(0, len(texts), MESSAGES_PER_CALL_MAX):
            self.add_many(user, texts[start : start + MESSAGES_PER_CALL_MAX])

    def search(self, user: str, query: str) -> Any:
        return self._memory.search(query, filters={"user_id": user}, top_k=TOP_K)

    def searches_on_loop(self, asked: list[Turn]) -> list[int]:
        """Nanoseconds of each search through `AsyncMemory`, without the hop between threads."""

        async def each() -> list[int]:
            taken = []
            for user, query in asked:
                begin = time.perf_counter_ns()
                await self._memory._async.search(query, filters={"user_id": user}, top_k=TOP_K)
                taken.append(time.perf_counter_ns() - begin)
            return taken

        found: list[int] = self._memory._loop.run(each())
        return found

    def texts(self, found: Any) -> list[str]:
        return [result["memory"] for result in found["results"]]

    def ids(self, user: str, count: int) -> list[str]:
        found = self._memory.get_all(filters={"user_id": user}, top_k=count)
        return [result["id"] for result in found["results"]]

    def delete(self, memory_id: str) -> None:
        self._memory.delete(memory_id)

    def delete_all(self, user: str) -> None:
        self._memory.delete_all(user_id=user)

    async def add_concurrently(self, turns: list[Turn], writers: int) -> Written:
        holdfast: Any = importlib.import_module("holdfast")
        memory = holdfast.AsyncMemory(UNCACHED)
        await memory.add(turns[0][1], user_id="warm-up", infer=False)

        async def add(user: str, text: str) -> object:
            return await memory.add(text, user_id=user, infer=False)

        written = await write_all(add, turns, writers)
        await memory.aclose()
        return written


def create(home: Path) -> Contender:
    """Holdfast; its files are where HOLDFAST_HOME says, which the worker sets to `home`."""
    return Holdfast()
