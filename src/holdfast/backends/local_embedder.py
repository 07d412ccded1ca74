"""The embedder of the default install: the static model inside the wordllama wheel.

Only wordllama's two data files are read. Its code is not imported: importing it configures the root
logger and loads an HTTP client. Its pooling pads; gathering rows and summing runs gives the same
vectors several times faster.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator, Sequence
from functools import lru_cache
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from holdfast.errors import MissingExtraError
from holdfast.model import Space
from holdfast.ports import QueryEmbedding, Spent

if TYPE_CHECKING:
    from tokenizers import Tokenizer

DIMENSIONS: Final = 256
_TOKENIZER_FILE: Final = "tokenizers/l2_supercat_tokenizer_config.json"
_WEIGHTS_FILE: Final = "weights/l2_supercat_256.safetensors"
_CHUNK_CHARS: Final = 4_096
"""Texts are tokenised in pieces of this length: the tokeniser's memory grows with its input."""
_INLINE_CHARS: Final = 16_384
"""Characters that are embedded on the event loop: about a millisecond."""
_BATCH_TOKENS: Final = 16_384
"""Token vectors gathered at a time (16 MB)."""
_BATCH_TEXTS: Final = 512
_WORDS_KEPT: Final = 16_384
"""Words whose tokens are remembered: about 4 MB. Most words of a text were met before."""
_WORD_CHARS: Final = 48
"""Longer words are data, and not met again."""


class LocalEmbedder:
    """wordllama `l2_supercat`, 256 dimensions: the L2-normalised mean of static token vectors.

    Thread safe. Computes in process; needs no network. MissingExtraError if wordllama is not there.
    """

    in_process = True
    static = True

    def __init__(self) -> None:
        folder = _model_folder()
        self.space = Space(provider="wordllama", model="l2_supercat", dimensions=DIMENSIONS)
        self._tokenizer = _tokenizer(folder / _TOKENIZER_FILE)
        self._table = _table(folder / _WEIGHTS_FILE)
        self._word = lru_cache(maxsize=_WORDS_KEPT)(self._tokenised)

    async def embed(self, texts: Sequence[str], spent: Spent | None = None) -> NDArray[np.float32]:
        """L2-normalised float32 [len(texts), 256]; a text without content gives zeros.

        Much text is embedded in a thread, so that the event loop goes on.
        """
        if sum(map(len, texts)) > _INLINE_CHARS:
            return await asyncio.to_thread(self.encode, texts)
        return self.encode(texts)

    async def embed_query(self, text: str, spent: Spent | None = None) -> QueryEmbedding:
        """The query's vector, and the vector and character range of each of its tokens."""
        return self.encode_query(text)

    async def close(self) -> None:
        """Nothing to release."""

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """What `embed` does, for callers without an event loop."""
        if len(texts) == 1 and len(texts[0]) <= _CHUNK_CHARS:
            return self._encode_one(texts[0])
        pooled = np.zeros((len(texts), DIMENSIONS), dtype=np.float32)
        for start in range(0, len(texts), _BATCH_TEXTS):
            self._sum_tokens(
                texts[start : start + _BATCH_TEXTS], pooled[start : start + _BATCH_TEXTS]
            )
        return _normalised(pooled)

    def encode_query(self, text: str) -> QueryEmbedding:
        """What `embed_query` does, for callers without an event loop."""
        clean = _encodable(text)
        ids: list[int] = []
        spans: list[tuple[int, int]] = []
        for offset, chunk in _chunks(clean):
            encoding = self._tokenizer.encode(chunk, add_special_tokens=False)
            ids.extend(encoding.ids)
            places = encoding.offsets
            spans += [(start + offset, end + offset) for start, end in places] if offset else places
        if not ids:
            return QueryEmbedding(vector=np.zeros(DIMENSIONS, dtype=np.float32))
        pieces = self._table.take(ids, axis=0)
        return QueryEmbedding(vector=_mean(pieces), pieces=pieces, spans=tuple(spans))

    def _encode_one(self, text: str) -> NDArray[np.float32]:
        """`encode` for one short text, as most adds are: a third of the time."""
        clean = _encodable(text)
        [ids] = self._tokens([clean]) if clean.strip() else [()]
        if not ids:
            return np.zeros((1, DIMENSIONS), dtype=np.float32)
        return _mean(self._table.take(ids, axis=0)).reshape(1, -1)

    def _sum_tokens(self, texts: Sequence[str], out: NDArray[np.float32]) -> None:
        """Add the token vectors of each text to its row; normalising makes a sum do for a mean."""
        chunks: list[str] = []
        owners: list[int] = []
        for row, text in enumerate(texts):
            for _, chunk in _chunks(_encodable(text)):
                chunks.append(chunk)
                owners.append(row)
        batch: list[Sequence[int]] = []
        rows: list[int] = []
        tokens = 0
        for row, ids in zip(owners, self._tokens(chunks), strict=True):
            if not ids:
                continue
            batch.append(ids)
            rows.append(row)
            tokens += len(ids)
            if tokens >= _BATCH_TOKENS:
                self._add(batch, rows, out)
                batch, rows, tokens = [], [], 0
        if batch:
            self._add(batch, rows, out)

    def _add(
        self, batch: Sequence[Sequence[int]], rows: Sequence[int], out: NDArray[np.float32]
    ) -> None:
        lengths = np.fromiter(map(len, batch), dtype=np.intp, count=len(batch))
        starts = np.concatenate(((0,), np.cumsum(lengths)[:-1]))
        flat = np.fromiter(chain.from_iterable(batch), dtype=np.intp, count=int(lengths.sum()))
        np.add.at(out, rows, np.add.reduceat(self._table[flat], starts, axis=0))

    def _tokens(self, chunks: Sequence[str]) -> list[Sequence[int]]:
        """The token ids of each chunk; word by word where that gives the same."""
        found: list[Sequence[int] | None] = [self._by_word(chunk) for chunk in chunks]
        places = [place for place, ids in enumerate(found) if ids is None]
        if places:
            whole = [chunks[place] for place in places]
            encodings = self._tokenizer.encode_batch_fast(whole, add_special_tokens=False)
            for place, encoding in zip(places, encodings, strict=True):
                found[place] = encoding.ids
        return cast("list[Sequence[int]]", found)

    def _by_word(self, text: str) -> list[int] | None:
        """The token ids of a text from those of its words; None where they may differ.

        The tokeniser writes blanks as "\u2581" and puts one before its input. No token has it but
        at its beginning, so those of a word after a single blank are those it has alone.
        """
        if "<" in text or "\u2581" in text:  # special tokens, such as "</s>", and the blank itself
            return None
        ids: list[int] = []
        for word in text.split(" "):
            if not 0 < len(word) <= _WORD_CHARS:
                return None
            ids += self._word(word)
        return ids

    def _tokenised(self, word: str) -> tuple[int, ...]:
        return tuple(self._tokenizer.encode(word, add_special_tokens=False).ids)


def _model_folder() -> Path:
    spec = find_spec("wordllama")
    if spec is None or spec.origin is None:
        raise MissingExtraError(
            "the default embedder needs the package wordllama; install it or choose another"
        )
    return Path(spec.origin).parent


_shared: dict[Path, Any] = {}
_shared_lock = threading.Lock()


def _tokenizer(path: Path) -> Tokenizer:
    """One tokenizer for the process: it is immutable after this."""
    from tokenizers import Tokenizer

    with _shared_lock:
        if path not in _shared:
            # The library warns when a process forks unless this documented switch is set.
            os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
            tokenizer = Tokenizer.from_file(str(path))
            tokenizer.no_padding()
            tokenizer.no_truncation()
            _shared[path] = tokenizer
        found: Tokenizer = _shared[path]
        return found


def _table(path: Path) -> NDArray[np.float32]:
    """Token vectors [32000, 256]; one copy for the process, read only."""
    from safetensors import safe_open

    with _shared_lock:
        if path not in _shared:
            with safe_open(path, framework="numpy") as weights:
                table = weights.get_tensor("embedding.weight").astype(np.float32)
            table.flags.writeable = False
            _shared[path] = table
        found: NDArray[np.float32] = _shared[path]
        return found


def _encodable(text: str) -> str:
    """Lone surrogates cannot be tokenised; they become the replacement character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text


def _chunks(text: str) -> Iterator[tuple[int, str]]:
    """Pieces of a text and their offsets, cut before a word where there is one."""
    if not text.strip():
        return
    start = 0
    while len(text) - start > _CHUNK_CHARS:
        end = start + _CHUNK_CHARS
        cut = text.rfind(" ", start + _CHUNK_CHARS // 2, end)
        end = cut if cut > 0 else end
        yield start, text[start:end]
        # The tokeniser puts a blank before its input: the one cut at is given back by it.
        start = end + (cut > 0)
    yield start, text[start:]


def _mean(pieces: NDArray[np.float32]) -> NDArray[np.float32]:
    """L2-normalised, so that a sum does for it."""
    total: NDArray[np.float32] = np.add.reduce(pieces, axis=0)
    norm = float(total @ total) ** 0.5
    return total / np.float32(norm or 1.0)


def _normalised(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    norms[norms == 0.0] = 1.0
    vectors /= norms[:, None]
    return vectors
