"""Mem0 as shipped: its default store (Qdrant, local mode, on disk), no inference, our embedder.

The embedder enters as a subclass of Mem0's own `EmbeddingBase`, put into `EmbedderFactory` in the
place of a provider name that its configuration accepts. Its "langchain" provider would do it too,
but needs the langchain package, whose import time and memory would count against Mem0.
"""

from __future__ import annotations

import hashlib
import importlib
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sidebyside.contender import TOP_K, Contender, Turn
from sidebyside.embedder import DIMENSIONS, load_wordllama
from sidebyside.writers import Written, write_all

PROVIDER = "huggingface"
LOAD_ROWS = 500
ENVIRONMENT = {"MEM0_TELEMETRY": "False", "OPENAI_API_KEY": "unused: every add has infer=False"}


def register_embedder() -> None:
    """Makes Mem0's `PROVIDER` stand for wordllama. Imports Mem0."""
    base: Any = importlib.import_module("mem0.embeddings.base").EmbeddingBase
    factory: Any = importlib.import_module("mem0.utils.factory").EmbedderFactory

    class WordLlamaEmbedding(base):  # type: ignore[misc]  # its base is known at run time only
        """wordllama behind Mem0's embedder interface: lists of floats, unit length."""

        def __init__(self, config: Any = None) -> None:
            super().__init__(config)
            self._model = load_wordllama()

        def embed(self, text: str, memory_action: str | None = None) -> list[float]:
            vector: list[float] = self._model.embed([text], norm=True)[0].tolist()
            return vector

        def embed_batch(self, texts: list[str], memory_action: str = "add") -> list[list[float]]:
            vectors: list[list[float]] = self._model.embed(texts, norm=True).tolist()
            return vectors

    globals()["WordLlamaEmbedding"] = WordLlamaEmbedding  # the factory looks the class up by name
    factory.provider_to_class[PROVIDER] = f"{__name__}.WordLlamaEmbedding"


def configuration(home: Path) -> dict[str, Any]:
    """Mem0's configuration: everything by default but the embedder and the folders."""
    store = {"path": str(home / "qdrant"), "embedding_model_dims": DIMENSIONS}
    return {
        "vector_store": {"provider": "qdrant", "config": store},
        "embedder": {"provider": PROVIDER, "config": {}},
        "history_db_path": str(home / "history.db"),
    }


class Mem0:
    """`mem0.Memory`, and `mem0.AsyncMemory` for concurrent writers."""

    def __init__(self, home: Path) -> None:
        self._home = home

    def open(self) -> None:
        mem0: Any = importlib.import_module("mem0")
        register_embedder()
        self._memory = mem0.Memory.from_config(configuration(self._home))

    def close(self) -> None:
        self._memory.vector_store.client.close()
        self._memory.close()

    def add(self, user: str, text: str) -> None:
        self._memory.add(text, user_id=user, infer=False)

    def add_many(self, user: str, texts: list[str]) -> None:
        messages = [{"role": "user", "content": text} for text in texts]
        self._memory.add(messages, user_id=user, infer=False)

    def load(self, user: str, texts: list[str]) -> None:
        """Writes into its vector store directly what `add` would write there, in batches.

        The change history, which no search reads, stays empty.
        """
        for start in range(0, len(texts), LOAD_ROWS):
            part = texts[start : start + LOAD_ROWS]
            self._memory.vector_store.insert(
                vectors=self._memory.embedding_model.embed_batch(part, "add"),
                ids=[str(uuid.uuid4()) for _ in part],
                payloads=[_payload(user, text) for text in part],
            )

    def search(self, user: str, query: str) -> Any:
        return self._memory.search(query, filters={"user_id": user}, top_k=TOP_K)

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
        mem0: Any = importlib.import_module("mem0")
        register_embedder()
        memory = mem0.AsyncMemory.from_config(configuration(self._home))
        await memory.add(turns[0][1], user_id="warm-up", infer=False)

        async def add(user: str, text: str) -> object:
            return await memory.add(text, user_id=user, infer=False)

        written = await write_all(add, turns, writers)
        memory.vector_store.client.close()
        memory.close()
        return written


def _payload(user: str, text: str) -> dict[str, str]:
    """What `Memory.add(text, user_id=user, infer=False)` stores beside the vector."""
    now = datetime.now(UTC).isoformat()
    return {
        "user_id": user,
        "role": "user",
        "data": text,
        "hash": hashlib.md5(text.encode(), usedforsecurity=False).hexdigest(),
        "created_at": now,
        "updated_at": now,
        "text_lemmatized": text,
    }


def create(home: Path) -> Contender:
    """Mem0 with its files under `home`."""
    return Mem0(home)
