"""Adds the records of a file, several adds at a time, each under a key that makes it repeatable."""

from __future__ import annotations

import asyncio
import itertools
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from holdfast.acts import coming_by
from holdfast.cli.output import Advance
from holdfast.core.batches import Batch, batches
from holdfast.core.transcripts import Record
from holdfast.model import Scope, Trust

if TYPE_CHECKING:
    from holdfast import AsyncMemory

ADDS_AT_ONCE = 8
"""Adds under way together; the store commits them together."""

_V7_TIME_SHIFT = 80  # RFC 9562, section 5.7: the first 48 of 128 bits are Unix milliseconds


@dataclass
class Tally:
    """What an import brought, counted as it goes."""

    added: int = 0
    """Memories made."""
    known: int = 0
    """Messages that were already here."""
    waiting: int = 0
    """Messages that are kept and wait for the language model."""
    failed: int = 0
    """Messages that are kept, whose extraction was given up."""
    held: int = 0
    """Messages that wait for approval."""


async def store(
    memory: AsyncMemory,
    records: Iterable[Record],
    fill: Scope,
    tally: Tally,
    *,
    infer: bool,
    advance: Advance,
    trust: Trust | None = None,
) -> None:
    """Adds records in batches.

    Batches whose records are all dated go several at a time: their order is in their dates.
    Undated ones go one after another, so that the order of arrival is the order of the file.

    Args:
        memory: where to.
        records: of one file, in its order.
        fill: identities for records that do not name them.
        tally: counts, added to.
        infer: let a configured LLM extract facts.
        advance: told how many more records are done.
        trust: "untrusted" holds them until somebody approves them.
    """

    async def add(batch: Batch) -> None:
        await _add(memory, batch, tally, infer=infer, trust=trust)
        advance(len(batch.records))

    under_way: set[asyncio.Task[None]] = set()
    try:
        for batch in batches(records, fill):
            under_way.add(asyncio.create_task(add(batch)))
            under_way = await _drained(under_way, ADDS_AT_ONCE - 1 if batch.dated else 0)
        await _drained(under_way, 0)
    finally:
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)


async def _drained(tasks: set[asyncio.Task[None]], most: int) -> set[asyncio.Task[None]]:
    """Waits until at most `most` tasks run; raises the first error of those that ended."""
    while len(tasks) > most:
        done, tasks = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    return tasks


async def _add(
    memory: AsyncMemory, batch: Batch, tally: Tally, *, infer: bool, trust: Trust | None
) -> None:
    """Adds a batch under its key. What was imported and deleted since is added anew."""
    mode = ("infer" if infer else "verbatim") + (f":{trust}" if trust else "")
    for attempt in itertools.count(1):
        began = int(time.time() * 1000)
        key = f"{batch.key}:{mode}:{attempt}"
        with coming_by("import"):
            answer = await memory.add(
                **batch.arguments(), infer=infer, idempotency_key=key, trust=trust
            )
        earlier = uuid.UUID(answer["event_id"]).int >> _V7_TIME_SHIFT < began
        if not (earlier and _gone(answer)):
            _count(answer, len(batch.records), tally, earlier=earlier)
            return


def _gone(answer: dict[str, Any]) -> bool:
    """Whether an earlier add made memories of which none is left."""
    made = [item for item in answer["results"] if item.get("id")]
    return bool(made) and all(item["memory"] is None for item in made)


def _count(answer: dict[str, Any], messages: int, tally: Tally, *, earlier: bool) -> None:
    if answer["status"] == "FAILED":
        tally.failed += messages
    elif answer["status"] != "SUCCEEDED":
        tally.waiting += messages
    elif earlier:
        tally.known += messages
    else:
        events = [item["event"] for item in answer["results"]]
        known, held = events.count("NONE"), events.count("HELD")
        tally.known += known
        tally.held += held
        tally.added += len(events) - known - held
