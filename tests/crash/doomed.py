"""An add with a language model in a process that kills itself at a named moment.

    python -m tests.crash.doomed DATABASE MOMENT

MOMENT is "before 2" or "after 2" (the second commit of the add), or "asked" (the model has the
question, and has not answered).
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from unittest.mock import patch

import msgspec

from holdfast.backends.sqlite.records import SqliteRecords
from holdfast.model import Json, Project, Usage
from holdfast.ports import Answer, Op
from support.embedded import add, opened

USER = "ann"
TURNS = ("I am allergic to peanuts.", "My sister lives in Oslo.")
FACTS = ("Ann is allergic to peanuts.", "Ann's sister lives in Oslo.")
QUOTES = ("allergic to peanuts", "My sister lives in Oslo")


class ScriptedLLM:
    """Answers every question with FACTS; dies at the first one if told so."""

    name = "tests:scripted"

    def __init__(self, *, dies: bool = False) -> None:
        self._dies = dies
        self.asked = 0

    async def complete(
        self, system: str, user: str, *, schema: Mapping[str, Json], timeout_s: float
    ) -> Answer:
        self.asked += 1
        if self._dies:
            os.kill(os.getpid(), signal.SIGKILL)
        empty = {"when": "", "entities": [], "categories": [], "replaces": []}
        facts = [
            {"turn": number, "quote": quote, "text": text, **empty}
            for number, (quote, text) in enumerate(zip(QUOTES, FACTS, strict=True), 1)
        ]
        usage = Usage(model=self.name, input_tokens=100, output_tokens=20)
        return Answer(text=msgspec.json.encode({"facts": facts}).decode(), usage=usage)

    async def close(self) -> None:
        """Nothing to release."""


async def _live(path: Path, moment: str) -> None:
    commit = SqliteRecords.commit
    count = 0

    async def counted(self: SqliteRecords, project: Project, ops: Sequence[Op]) -> list[Json]:
        nonlocal count
        count += 1
        if moment == f"before {count}":
            os.kill(os.getpid(), signal.SIGKILL)
        results = await commit(self, project, ops)
        if moment == f"after {count}":
            os.kill(os.getpid(), signal.SIGKILL)
        return results

    said = [{"role": "user", "content": text} for text in TURNS]
    with patch.object(SqliteRecords, "commit", counted):
        async with opened(path, llm=ScriptedLLM(dies=moment == "asked")) as parts:
            await add(parts, said, USER, idempotency_key="once")
    raise SystemExit(f"lived past {moment!r} with {count} commits")


if __name__ == "__main__":
    asyncio.run(_live(Path(sys.argv[1]), sys.argv[2]))
