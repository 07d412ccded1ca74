"""The vectors that `tune_ranking.py` and `calibrate_ranking.py` learn from."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from holdfast.backends.local_embedder import LocalEmbedder
from holdfast.config import Part
from holdfast.ports import Embedder, QueryEmbedding
from holdfast.registry import make_embedder

Rows = NDArray[np.float32]


class Vectors(Protocol):
    """Texts and questions to vectors."""

    contextual: bool
    """Whether a question is seen as a whole, and so without the names of the speakers."""

    def of(self, texts: Sequence[str]) -> Rows:
        """One row per text."""

    def of_query(self, text: str, bare: str) -> QueryEmbedding:
        """`bare`: the question without the names of the speakers."""

    def save(self) -> None:
        """Keep what was computed for the next time."""


class Static:
    """The embedder of the default install: fast enough to need no cache."""

    contextual = False

    def __init__(self) -> None:
        self._embedder = LocalEmbedder()

    def of(self, texts: Sequence[str]) -> Rows:
        """See `Vectors`."""
        return self._embedder.encode(texts)

    def of_query(self, text: str, bare: str) -> QueryEmbedding:
        """See `Vectors`; the words of the whole question are weighted one by one."""
        return self._embedder.encode_query(text)

    def save(self) -> None:
        """Nothing is kept."""


class Contextual:
    """A sentence-transformers model, and a file of the vectors it has already given."""

    contextual = True

    def __init__(self, model: Path, cache: Path) -> None:
        self._model = model
        self._embedder: Embedder | None = None
        self._cache = cache
        self._known: dict[str, Rows] = {}
        if cache.exists():
            stored = np.load(cache)
            self._known = dict(
                zip(json.loads(stored["texts"].tobytes()), stored["vectors"], strict=True)
            )

    def of(self, texts: Sequence[str]) -> Rows:
        """See `Vectors`."""
        new = sorted({text for text in texts if text not in self._known}, key=len)
        if new:
            self._known.update(zip(new, self._computed(new), strict=True))
        return np.stack([self._known[text] for text in texts])

    def of_query(self, text: str, bare: str) -> QueryEmbedding:
        """See `Vectors`."""
        return QueryEmbedding(vector=self.of([bare])[0])

    def save(self) -> None:
        """Write the file anew."""
        texts = np.frombuffer(json.dumps(list(self._known)).encode(), dtype=np.uint8)
        np.savez(self._cache, texts=texts, vectors=np.stack(list(self._known.values())))

    def _computed(self, texts: Sequence[str]) -> Rows:
        if self._embedder is None:
            part = Part(provider="huggingface", config={"model": str(self._model)})
            self._embedder = make_embedder(part)
        return asyncio.run(self._embedder.embed(texts))


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """The options that choose the embedder."""
    parser.add_argument("--model", type=Path, help="folder of a model, instead of wordllama")
    parser.add_argument(
        "--vectors", type=Path, default=Path("vectors.npz"), help="where those of --model are kept"
    )


def vectors_from(model: Path | None, cache: Path) -> Vectors:
    """The default embedder's vectors, or those of a model folder, which are kept in a file."""
    return Static() if model is None else Contextual(model, cache)


def profile_name(assistant: bool, vectors: Vectors) -> str:
    """What the profile is called in `holdfast.core.weights`."""
    return ("ASSISTANT" if assistant else "PEOPLE") + ("_CONTEXTUAL" if vectors.contextual else "")
