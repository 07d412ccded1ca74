"""Embedding models behind the Embedder port: remote ones through pydantic-ai, and a local one.

Texts longer than a model takes are cut into pieces; the text's vector is the mean of theirs,
weighted by length. A text without content gets zeros and costs nothing.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from holdfast import limits
from holdfast.backends.models.errors import translate
from holdfast.errors import BadAnswerError, ModelRefusedError, ModelUnavailableError
from holdfast.model import Space, Struct, Usage
from holdfast.ports import QueryEmbedding, Spent

if TYPE_CHECKING:
    import numpy as np
    from pydantic_ai.embeddings import EmbeddingModel

Purpose = Literal["document", "query"]

BYTES_PER_TOKEN: Final = 2.5
"""UTF-8 bytes a token stands for at the least, in nearly all text of any script."""

BATCH_TOKENS_MAX: Final = 200_000
"""Estimated tokens in one request; OpenAI's bound is 300,000."""

SHRINKS_MAX: Final = 6
"""How often the length of a piece is halved because a model finds it too long."""

_TOO_LONG: Final = re.compile(
    r"context.?(?:length|size|window)|too (?:long|large|many tokens)|maximum (?:input|sequence)"
    r"|input length|max.{0,20}tokens|token limit",
    re.IGNORECASE,
)


class Piece(Struct, frozen=True, kw_only=True):
    """A part of a text that a model takes at once."""

    owner: int
    """Position of its text."""
    text: str
    size: int
    """UTF-8 bytes."""


def cut(texts: Sequence[str], tokens_max: int) -> Iterator[Piece]:
    """The pieces of every text that has content, cut at white space where there is some."""
    bytes_max = max(16, int(tokens_max * BYTES_PER_TOKEN))
    for owner, text in enumerate(texts):
        raw = text.encode("utf-8", "replace").strip()
        while raw:
            end = _cut_end(raw, bytes_max)
            part = raw[:end].strip()
            yield Piece(owner=owner, text=part.decode(), size=len(part))
            raw = raw[end:].strip()


def _cut_end(raw: bytes, bytes_max: int) -> int:
    """Where to cut: at the end, after white space in the last half, or between two characters."""
    if len(raw) <= bytes_max:
        return len(raw)
    space = max(raw.rfind(b" ", bytes_max // 2, bytes_max), raw.rfind(b"\n", 0, bytes_max))
    if space >= bytes_max // 2:
        return space
    end = bytes_max
    while raw[end] & 0xC0 == 0x80:  # within a character of several bytes
        end -= 1
    return end


def batches(pieces: Sequence[Piece]) -> Iterator[list[Piece]]:
    """Pieces in requests of bounded count and size, in order."""
    tokens = 0.0
    number = count = 0
    keyed = []
    for piece in pieces:
        cost = piece.size / BYTES_PER_TOKEN
        if count == limits.EMBED_BATCH_MAX or (count and tokens + cost > BATCH_TOKENS_MAX):
            number, count, tokens = number + 1, 0, 0.0
        count, tokens = count + 1, tokens + cost
        keyed.append((number, piece))
    for _, group in groupby(keyed, key=lambda pair: pair[0]):
        yield [piece for _, piece in group]


def pool(rows: np.ndarray, pieces: Sequence[Piece], texts: int, dimensions: int) -> np.ndarray:
    """Vectors of the texts from those of their pieces: float32 [texts, dimensions], L2-normalised.

    `rows` is [len(pieces), dimensions] in any scale; texts without pieces get zeros.
    """
    import numpy as np

    pooled = np.zeros((texts, dimensions))
    if pieces:
        sizes = np.array([[piece.size] for piece in pieces], dtype=np.float64)
        np.add.at(pooled, [piece.owner for piece in pieces], _unit(rows) * sizes)
    vectors: np.ndarray = _unit(pooled).astype(np.float32)
    return vectors


def _unit(rows: np.ndarray) -> np.ndarray:
    import numpy as np

    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: np.ndarray = rows / np.where(lengths > 0, lengths, 1.0)
    return unit


def check_rows(values: Any, count: int, space: Space, name: str) -> np.ndarray:
    """Vectors as they came, as float64 [count, dimensions].

    Raises BadAnswerError for another number of vectors, other dimensions, or numbers that are none.
    """
    import numpy as np

    try:
        rows = np.asarray(values, dtype=np.float64)
    except (ValueError, TypeError):
        raise BadAnswerError(f"{name} gave vectors of unequal length, or none.") from None
    if rows.ndim != 2 or len(rows) != count:
        raise BadAnswerError(f"{name} gave {len(rows)} vectors for {count} texts.")
    if rows.shape[1] != space.dimensions:
        raise BadAnswerError(
            f"{name} gave {rows.shape[1]} dimensions instead of {space.dimensions}.",
            hint='Set "embedding_dims" in its config to what the model gives.',
        )
    if not np.isfinite(rows).all():
        raise BadAnswerError(f"{name} gave a vector with NaN or infinity in it.")
    return rows


class PydanticEmbedder:
    """One remote embedding model. Its repr and errors name it and hold no credential."""

    in_process = False
    static = False

    def __init__(
        self,
        space: Space,
        model: EmbeddingModel,
        close: Callable[[], Awaitable[None]],
        *,
        tokens_max: int,
        resize: bool = False,
        address: str | None = None,
    ) -> None:
        """`resize` asks the model for the dimensions of `space`, which are not its own; `address`:
        the URL it is asked at."""
        self.space = space
        self.address = address
        self.name = f"{space.provider}:{space.model}"
        self._model = model
        self._close = close
        self._tokens_max = tokens_max
        self._resize = resize
        self._closed = False

    def __repr__(self) -> str:
        return f"PydanticEmbedder({self.name!r})"

    async def embed(self, texts: Sequence[str], spent: Spent | None = None) -> np.ndarray:
        """Vectors of texts to be stored; see `ports.Embedder`."""
        return await self._embed(texts, "document", spent)

    async def embed_query(self, text: str, spent: Spent | None = None) -> QueryEmbedding:
        """The vector of a query; some models treat it differently."""
        return QueryEmbedding(vector=(await self._embed([text], "query", spent))[0])

    async def close(self) -> None:
        """Release connections. Idempotent."""
        if not self._closed:
            self._closed = True
            await self._close()

    async def _embed(
        self, texts: Sequence[str], purpose: Purpose, spent: Spent | None
    ) -> np.ndarray:
        for _ in range(SHRINKS_MAX):
            tokens_max = self._tokens_max
            paid: list[Usage] = []
            try:
                return await self._embed_cut(texts, purpose, paid.append, tokens_max)
            except _TooLongError:
                self._tokens_max = min(self._tokens_max, max(8, tokens_max // 2))
                if paid:  # begun anew, it would take more than one call can
                    raise ModelUnavailableError(
                        f"{self.name} takes shorter texts than was known."
                    ) from None
            finally:
                if spent is not None:
                    for usage in paid:
                        spent(usage)
        raise ModelRefusedError(f"{self.name} finds even short texts too long.")

    async def _embed_cut(
        self, texts: Sequence[str], purpose: Purpose, spent: Spent | None, tokens_max: int
    ) -> np.ndarray:
        import numpy as np

        pieces = list(cut(texts, tokens_max))
        found = [await self._request(batch, purpose, spent) for batch in batches(pieces)]
        rows = np.concatenate(found) if found else np.zeros((0, self.space.dimensions))
        return pool(rows, pieces, len(texts), self.space.dimensions)

    async def _request(
        self, batch: Sequence[Piece], purpose: Purpose, spent: Spent | None
    ) -> np.ndarray:
        from pydantic_ai.embeddings import EmbeddingSettings
        from pydantic_ai.exceptions import ModelContextWindowExceededError, ModelHTTPError

        wanted = EmbeddingSettings(dimensions=self.space.dimensions) if self._resize else None
        inputs = [piece.text for piece in batch]
        with translate(self.name):
            try:
                result = await self._model.embed(inputs, input_type=purpose, settings=wanted)
            except ModelContextWindowExceededError:
                raise _TooLongError from None
            except ModelHTTPError as error:
                if error.status_code in {400, 413, 422} and _TOO_LONG.search(str(error.body)):
                    raise _TooLongError from None
                raise
            except (ValueError, TypeError, AttributeError):
                # The SDK reads the answer without checking its form first.
                raise BadAnswerError(f"{self.name} answered without vectors.") from None
        if spent is not None:
            spent(Usage(model=self.name, input_tokens=result.usage.input_tokens))
        return check_rows(result.embeddings, len(inputs), self.space, self.name)


class _TooLongError(Exception):
    """A piece is longer than the model takes."""


class Encoder(Protocol):
    """What is used of `sentence_transformers.SentenceTransformer`."""

    max_seq_length: int | None

    def encode(self, sentences: list[str], **options: Any) -> Any:
        """Vectors of the sentences."""


class SentenceEmbedder:
    """A sentence-transformers model in this process, on a thread of its own. Costs nothing."""

    in_process = True
    static = False

    def __init__(self, space: Space, encoder: Encoder) -> None:
        self.space = space
        self.name = f"{space.provider}:{space.model}"
        self._encoder = encoder
        self._tokens_max = int(encoder.max_seq_length or 256)
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="holdfast-embedder")

    def __repr__(self) -> str:
        return f"SentenceEmbedder({self.name!r})"

    async def embed(self, texts: Sequence[str], spent: Spent | None = None) -> np.ndarray:
        """Vectors of texts to be stored; see `ports.Embedder`."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._embed, list(texts), "document")

    async def embed_query(self, text: str, spent: Spent | None = None) -> QueryEmbedding:
        """The vector of a query, with the model's query prompt if it has one."""
        loop = asyncio.get_running_loop()
        rows = await loop.run_in_executor(self._threads, self._embed, [text], "query")
        return QueryEmbedding(vector=rows[0])

    async def close(self) -> None:
        """End the thread. Idempotent."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _embed(self, texts: list[str], purpose: Purpose) -> np.ndarray:
        import numpy as np

        pieces = list(cut(texts, self._tokens_max))
        if not pieces:
            return np.zeros((len(texts), self.space.dimensions), dtype=np.float32)
        encode = getattr(self._encoder, f"encode_{purpose}", self._encoder.encode)
        values = encode([piece.text for piece in pieces], show_progress_bar=False)
        rows = check_rows(values, len(pieces), self.space, self.name)
        return pool(rows, pieces, len(texts), self.space.dimensions)
