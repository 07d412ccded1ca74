"""Embedders that compute here keep every sentence of `ports.Embedder`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from holdfast.backends.local_embedder import LocalEmbedder
from holdfast.ports import Embedder, QueryEmbedding
from holdfast.testing.contracts.embedder import EmbedderContract
from holdfast.wrap.bounded import BoundedEmbedder


class TestLocalEmbedder(EmbedderContract):
    @pytest.fixture
    def embedder(self) -> Embedder:
        return LocalEmbedder()


class TestBoundedEmbedder(EmbedderContract):
    @pytest.fixture
    def embedder(self) -> Embedder:
        return BoundedEmbedder(LocalEmbedder())


class Broken(LocalEmbedder):
    """Base of the embedders with a fault."""


class NotNormalised(Broken):
    async def embed(self, texts: Sequence[str]) -> np.ndarray:
        return 2 * await super().embed(texts)


class DoublePrecision(Broken):
    async def embed(self, texts: Sequence[str]) -> np.ndarray:
        return (await super().embed(texts)).astype(np.float64)


class NotANumber(Broken):
    """Divides by the length of texts without content."""

    async def embed(self, texts: Sequence[str]) -> np.ndarray:
        rows = await super().embed(texts)
        rows[~rows.any(axis=1)] = np.nan
        return rows


class FlatWhenEmpty(Broken):
    async def embed(self, texts: Sequence[str]) -> np.ndarray:
        rows = await super().embed(texts)
        return rows if len(texts) else np.zeros(0, dtype=np.float32)


class LooksAtNeighbours(Broken):
    async def embed(self, texts: Sequence[str]) -> np.ndarray:
        rows = await super().embed(texts)
        rows = rows + 0.2 * rows.mean(axis=0)
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        return np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0)


class Forgetful(Broken):
    calls = 0

    async def embed(self, texts: Sequence[str]) -> np.ndarray:
        self.calls += 1
        return np.roll(await super().embed(texts), self.calls, axis=1)


class AllAlike(Broken):
    async def embed(self, texts: Sequence[str]) -> np.ndarray:
        rows = await super().embed(texts)
        rows[rows.any(axis=1)] = np.eye(1, rows.shape[1], dtype=np.float32)
        return rows


class AsksInAnotherSpace(Broken):
    async def embed_query(self, text: str) -> QueryEmbedding:
        query = await super().embed_query(text)
        return QueryEmbedding(vector=query.vector[::-1].copy())


class SpansOfBytes(Broken):
    async def embed_query(self, text: str) -> QueryEmbedding:
        query = await super().embed_query(text)
        spans = tuple((2 * start, 2 * end) for start, end in query.spans)
        return QueryEmbedding(vector=query.vector, pieces=query.pieces, spans=spans)


class ClosesOnce(Broken):
    closed = False

    async def close(self) -> None:
        if self.closed:
            raise RuntimeError("closed already")
        self.closed = True


class EmptyQueriesCount(Broken):
    async def embed_query(self, text: str) -> QueryEmbedding:
        return await super().embed_query(text if text.strip() else "nothing")


FAULTS = Broken.__subclasses__()
SENTENCES = [name for name in dir(EmbedderContract) if name.startswith("test_")]


async def _broken_by(kind: type[Broken]) -> set[str]:
    found = set()
    for name in SENTENCES:
        try:
            await getattr(EmbedderContract(), name)(kind())
        except (Exception, pytest.fail.Exception):  # noqa: BLE001  (any failure is a failure)
            found.add(name)
    return found


async def test_planted_faults_are_caught_and_every_sentence_seen_to_fail() -> None:
    caught = {kind.__name__: await _broken_by(kind) for kind in FAULTS}
    assert [name for name, sentences in caught.items() if not sentences] == []
    assert set(SENTENCES) - set().union(*caught.values()) == set()
