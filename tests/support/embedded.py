"""The embedded engine put together by hand: real records and index, an embedder of the tests' own.

Nothing here starts a thread before a store is opened, so that a process may import it and fork.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from holdfast.backends.index.embedded import EmbeddedIndex
from holdfast.backends.sqlite.records import SqliteRecords
from holdfast.clock import Clock, Ids, SystemClock, process_tag
from holdfast.core.intake import clean_messages
from holdfast.core.shapes import job_items
from holdfast.engine import add as adding
from holdfast.engine import search as searching
from holdfast.engine.embedders import Embedders
from holdfast.engine.parts import Parts
from holdfast.filters import Filter, scope_filter
from holdfast.limits import VIEW_BYTES_MAX
from holdfast.model import DEFAULT_PROJECT, Project, Scope, Space
from holdfast.ports import LLM, Embedder, QueryEmbedding, Spent

DIMENSIONS = 16


class HashEmbedder:
    """Each word is a fixed random direction, a text their normalised sum: fast, and repeatable."""

    in_process = True
    static = False

    def __init__(self, model: str = "words", dimensions: int = DIMENSIONS) -> None:
        self.space = Space(provider="tests", model=model, dimensions=dimensions)
        self.asked = 0

    async def embed(self, texts: Sequence[str], spent: Spent | None = None) -> np.ndarray:
        self.asked += 1
        return np.stack([self.vector(text) for text in texts])

    async def embed_query(self, text: str, spent: Spent | None = None) -> QueryEmbedding:
        return QueryEmbedding(vector=self.vector(text))

    async def close(self) -> None:
        """Nothing to release."""

    def vector(self, text: str) -> np.ndarray:
        """float32 [dimensions], of length one."""
        width = self.space.dimensions
        total = np.zeros(width, dtype=np.float32)
        for word, count in Counter(text.lower().split() or [text]).items():
            total += _direction(word, width) * np.float32(count)
        norm = float(np.linalg.norm(total))
        return total / np.float32(norm or 1.0)


@lru_cache(maxsize=4_096)
def _direction(word: str, width: int) -> np.ndarray:
    digest = hashlib.blake2b(word.encode("utf-8", "replace"), digest_size=64).digest()
    return np.resize(np.frombuffer(digest, dtype=np.int8), width).astype(np.float32)


@asynccontextmanager
async def opened(
    path: Path,
    *,
    clock: Clock | None = None,
    ids: Ids | None = None,
    embedder: Embedder | None = None,
    llm: LLM | None = None,
    view_bytes_max: int = VIEW_BYTES_MAX,
    project: Project = DEFAULT_PROJECT,
) -> AsyncIterator[Parts]:
    """The parts on the database file `path`, closed at the end."""
    clock = clock or SystemClock()
    ids = ids or Ids(clock)
    embedder = embedder or HashEmbedder()
    records = SqliteRecords(path, clock, ids)
    await records.open(embedder.space)
    index = EmbeddedIndex(records, embedder.space.dimensions, view_bytes_max)
    try:
        yield Parts(
            project=project,
            records=records,
            jobs=records,
            index=index,
            embedders=Embedders((embedder,)),
            llm=llm,
            clock=clock,
            ids=ids,
            owner=process_tag(),
            content_key=b"",
            zone=UTC,
            zone_name="UTC",
            instructions=None,
            threshold=0.1,
            model_timeout_s=60.0,
            job_attempts_max=5,
            directory=records.directory,
            home=project,
            subjects=records.subjects,
        )
    finally:
        await index.close()
        await records.close()


def of_user(user: str) -> Filter:
    """The filter for one user's memories."""
    return scope_filter(Scope(user_id=user))


async def add(
    parts: Parts, messages: str | list[Any], user: str, at: float | None = None, **more: Any
) -> list[str]:
    """The verb `add` for one user, as the client calls it: the ids of the memories, in order."""
    said = clean_messages(messages)
    request = adding.AddRequest(scope=Scope(user_id=user), said=said, at=at, **more)
    added = await adding.add(parts, request)
    items = added.items if added.job is None else job_items(added.job)
    return [item["id"] for item in items]


async def find(
    parts: Parts, query: str, user: str, top_k: int = 10, **more: Any
) -> list[tuple[str, float]]:
    """The verb `search` for one user: ids and scores, best first, whatever the score."""
    request = searching.SearchRequest(
        query=query, filter=of_user(user), top_k=top_k, threshold=0.0, **more
    )
    answer = await searching.search(parts, request)
    return [(hit.memory.id, hit.score) for hit in answer.hits]
