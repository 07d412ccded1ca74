"""The bare limit: what the work costs with nothing around it.

Search is the embedding of the query and one numpy product over just that user's vectors, held in
memory. An add is the embedding and one fsynced SQLite insert; a batch is the embedder alone.
"""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sidebyside.contender import TOP_K, Contender, Turn
from sidebyside.embedder import DIMENSIONS, load_wordllama
from sidebyside.writers import Written

SCHEMA = """
CREATE TABLE IF NOT EXISTS memories (
    id INTEGER PRIMARY KEY, user_id TEXT NOT NULL, text TEXT NOT NULL, vector BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS memories_of_user ON memories (user_id);
"""
INSERT = "INSERT INTO memories (user_id, text, vector) VALUES (?, ?, ?)"


class BareLimit:
    """numpy and sqlite3 alone; vectors of a user are one contiguous (n, 256) float32 array."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._vectors: dict[str, NDArray[np.float32]] = {}
        self._texts: dict[str, list[str]] = {}

    def open(self) -> None:
        self._model = load_wordllama()
        self._database = sqlite3.connect(self._home / "bare.sqlite", isolation_level=None)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=FULL")
        self._database.executescript(SCHEMA)

    def close(self) -> None:
        self._database.close()

    def add(self, user: str, text: str) -> None:
        vector = self._model.embed([text], norm=True)[0]
        self._database.execute(INSERT, (user, text, vector.tobytes()))

    def add_many(self, user: str, texts: list[str]) -> None:
        self._model.embed(texts, norm=True)

    def load(self, user: str, texts: list[str]) -> None:
        vectors = self._model.embed(texts, norm=True).astype(np.float32)
        known = self._vectors.get(user, np.empty((0, DIMENSIONS), dtype=np.float32))
        self._vectors[user] = np.ascontiguousarray(np.vstack([known, vectors]))
        self._texts.setdefault(user, []).extend(texts)
        self._insert_rows(user, texts, vectors)

    def _insert_rows(self, user: str, texts: list[str], vectors: NDArray[np.float32]) -> None:
        rows = [(user, text, vector.tobytes()) for text, vector in zip(texts, vectors, strict=True)]
        self._database.execute("BEGIN")
        self._database.executemany(INSERT, rows)
        self._database.execute("COMMIT")

    def search(self, user: str, query: str) -> list[tuple[float, str]]:
        scores = self._vectors[user] @ self._model.embed([query], norm=True)[0]
        count = min(TOP_K, len(scores))
        best = np.argpartition(scores, -count)[-count:]
        texts = self._texts[user]
        return sorted(((float(scores[row]), texts[row]) for row in best), reverse=True)

    def texts(self, found: Any) -> list[str]:
        return [text for _, text in found]

    def ids(self, user: str, count: int) -> list[str]:
        select = "SELECT id FROM memories WHERE user_id = ? LIMIT ?"
        return [str(row) for (row,) in self._database.execute(select, (user, count))]

    def delete(self, memory_id: str) -> None:
        self._database.execute("DELETE FROM memories WHERE id = ?", (int(memory_id),))

    def delete_all(self, user: str) -> None:
        self._database.execute("DELETE FROM memories WHERE user_id = ?", (user,))

    async def add_concurrently(self, turns: list[Turn], writers: int) -> Written:
        """One after the other on one connection, whatever `writers` says."""
        self.open()
        begin = time.perf_counter()
        for user, text in turns:
            self.add(user, text)
        written = Written(time.perf_counter() - begin)
        self.close()
        return written


def create(home: Path) -> Contender:
    """The bare limit with its files under `home`."""
    return BareLimit(home)
