"""Embedders, in this process and behind a socket, keep every sentence of `ports.Embedder`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence

import numpy as np
import pytest

from holdfast.backends.local_embedder import LocalEmbedder
from holdfast.model import Usage
from holdfast.ports import Embedder, QueryEmbedding, Spent
from holdfast.testing.contracts.embedder import EmbedderContract
from holdfast.wrap.bounded import BoundedEmbedder
from support.llm_server import LLMServer, hashed_vectors


class TestLocalEmbedder(EmbedderContract):
    @pytest.fixture
    def embedder(self) -> Embedder:
        return LocalEmbedder()


@pytest.fixture
def remote() -> Iterator[Embedder]:
    """An embedder behind a real socket."""
    from holdfast.backends.models.providers import build_embedder

    with LLMServer() as server:
        server.vectors(hashed_vectors(64))
        config = {"model": "scripted", "base_url": server.url, "embedding_dims": 64}
        yield build_embedder("openai", config)


class TestRemoteEmbedder(EmbedderContract):
    @pytest.fixture
    async def embedder(self, remote: Embedder) -> AsyncIterator[Embedder]:
        yield remote
        await remote.close()


class TestBoundedEmbedder(EmbedderContract):
    @pytest.fixture
    async def embedder(self, remote: Embedder) -> AsyncIterator[Embedder]:
        yield BoundedEmbedder(remote)
        await remote.close()


class Broken(LocalEmbedder):
    """Base of the embedders with a fault."""


class NotNormalised(Broken):
    async def embed(self, texts: Sequence[str], spent: Spent | None = None) -> np.ndarray:
        return 2 * await super().embed(texts, spent)


class DoublePrecision(Broken):
    async def embed(self, texts: Sequence[str], spent: Spent | None = None) -> np.ndarray:
        return (await super().embed(texts, spent)).astype(np.float64)


class NotANumber(Broken):
    """Divides by the length of texts without content."""

    async def embed(self, texts: Sequence[str], spent: Spent | None = None) -> np.ndarray:
        rows = await super().embed(texts, spent)
        rows[~rows.any(axis=1)] = np.nan
        return rows


class FlatWhenEmpty(Broken):
    async def embed(self, texts: Sequence[str], spent: Spent | None = None) -> np.ndarray:
        rows = await super().embed(texts, spent)
        return rows if len(texts) else np.zeros(0, dtype=np.float32)


class LooksAtNeighbours(Broken):
    async def embed(self, texts: Sequence[str], spent: Spent | None = None) -> np.ndarray:
        rows = await super().embed(texts, spent)
        rows = rows + 0.2 * rows.mean(axis=0)
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        return np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0)


class Forgetful(Broken):
    calls = 0

    async def embed(self, texts: Sequence[str], spent: Spent | None = None) -> np.ndarray:
        self.calls += 1
        return np.roll(await super().embed(texts, spent), self.calls, axis=1)


class AllAlike(Broken):
    async def embed(self, texts: Sequence[str], spent: Spent | None = None) -> np.ndarray:
        rows = await super().embed(texts, spent)
        rows[rows.any(axis=1)] = np.eye(1, rows.shape[1], dtype=np.float32)
        return rows


class AsksInAnotherSpace(Broken):
    async def embed_query(self, text: str, spent: Spent | None = None) -> QueryEmbedding:
        query = await super().embed_query(text, spent)
        return QueryEmbedding(vector=query.vector[::-1].copy())


class SpansOfBytes(Broken):
    async def embed_query(self, text: str, spent: Spent | None = None) -> QueryEmbedding:
        query = await super().embed_query(text, spent)
        spans = tuple((2 * start, 2 * end) for start, end in query.spans)
        return QueryEmbedding(vector=query.vector, pieces=query.pieces, spans=spans)


class ClosesOnce(Broken):
    closed = False

    async def close(self) -> None:
        if self.closed:
            raise RuntimeError("closed already")
        self.closed = True


class EmptyQueriesCount(Broken):
    async def embed_query(self, text: str, spent: Spent | None = None) -> QueryEmbedding:
        return await super().embed_query(text if text.strip() else "nothing", spent)


class ChargesForWhatIsComputedHere(Broken):
    async def embed(self, texts: Sequence[str], spent: Spent | None = None) -> np.ndarray:
        if spent is not None and len(texts):
            spent(Usage(model="wordllama:l2_supercat"))
        return await super().embed(texts, spent)


class Remote(LocalEmbedder):
    """Base of the faults of embedders that cost something."""

    in_process = False
    model = "wordllama:l2_supercat"

    def charge(self, text: str, spent: Spent | None) -> None:
        if spent is not None and text.strip():
            spent(Usage(model=self.model, input_tokens=1))

    async def embed(self, texts: Sequence[str], spent: Spent | None = None) -> np.ndarray:
        self.charge(" ".join(texts), spent)
        return await super().embed(texts)

    async def embed_query(self, text: str, spent: Spent | None = None) -> QueryEmbedding:
        self.charge(text, spent)
        return await super().embed_query(text)


class TellsNothing(Remote, Broken):
    def charge(self, text: str, spent: Spent | None) -> None:
        """Keeps it to itself."""


class HidesQuestions(Remote, Broken):
    async def embed_query(self, text: str, spent: Spent | None = None) -> QueryEmbedding:
        return await super().embed_query(text)


class HidesTexts(Remote, Broken):
    async def embed(self, texts: Sequence[str], spent: Spent | None = None) -> np.ndarray:
        return await super().embed(texts)


class NamesAnotherModel(Remote, Broken):
    model = "l2_supercat"


class ChargesForEmptyTexts(Remote, Broken):
    def charge(self, text: str, spent: Spent | None) -> None:
        super().charge("something", spent)


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


async def test_a_remote_embedder_without_a_fault_passes() -> None:
    await EmbedderContract().test_each_request_to_a_provider_is_told(Remote())


async def test_planted_faults_are_caught_and_every_sentence_seen_to_fail() -> None:
    caught = {kind.__name__: await _broken_by(kind) for kind in FAULTS}
    assert [name for name, sentences in caught.items() if not sentences] == []
    assert set(SENTENCES) - set().union(*caught.values()) == set()
