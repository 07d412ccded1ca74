"""Models behind ports: text to vectors, questions to answers, texts to a ranking."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from holdfast.model import Json, Space, Struct, Usage
from holdfast.ports.index import QueryEmbedding

if TYPE_CHECKING:
    import numpy as np


Spent = Callable[[Usage], None]
"""Told what one request to a provider took, when its answer is there; by a cache, as `Spared`, what
a request that it made unnecessary would have taken."""


class Embedder(Protocol):
    """Text to vectors.

    `spent` is told of each request that a provider answered, in order, before the call returns or
    raises, useless answers included; tokens the provider did not tell are 0. The model of a usage
    is `provider:model` of the space. What is computed here tells nothing, and neither do texts
    without content.
    """

    space: Space
    in_process: bool
    """True if it computes here: no network, no failure, a fraction of a millisecond a text."""
    static: bool
    """True if a word has one vector in any text, and `embed_query` gives pieces. Others see a
    question as a whole, and are asked it without the names of those who speak."""

    async def embed(self, texts: Sequence[str], spent: Spent | None = None) -> np.ndarray:
        """L2-normalised float32 [len(texts), dimensions]; a text without content gives zeros.

        Row i depends on text i alone, and is the same each time. No texts give [0, dimensions].

        Raises ModelUnavailableError, ModelRefusedError, BadAnswerError (wrong shape, NaN).
        """

    async def embed_query(self, text: str, spent: Spent | None = None) -> QueryEmbedding:
        """One query, in the same space and of the same length; same errors."""

    async def close(self) -> None:
        """Release connections. Idempotent."""


class Answer(Struct, frozen=True, kw_only=True):
    """What a model said: text meant to be JSON, and what it cost."""

    text: str
    usage: Usage
    truncated: bool = False


class LLM(Protocol):
    """One structured question to a language model."""

    name: str
    """provider:model, for the ledger and for people."""

    async def complete(
        self, system: str, user: str, *, schema: Mapping[str, Json], timeout_s: float
    ) -> Answer:
        """Ask for JSON that fits `schema` (JSON Schema). The text is not validated here.

        Raises ModelUnavailableError (with retry_after_s when told), ModelRefusedError,
        BadAnswerError (nothing usable came back: empty, refused).
        """

    async def close(self) -> None:
        """Release connections. Idempotent."""


class BoundLLM(LLM, Protocol):
    """One whose answers can be bounded, so that it is known what one can cost at most."""

    address: str | None
    """The URL it is asked at; None if that is not known."""
    answer_tokens: int | None
    """The most tokens of an answer by its configuration; None: it says nothing."""

    def bound(self, tokens: int) -> int:
        """From now on no answer has more tokens than this, or than was configured; how many.

        A provider that does not take the bound is not asked: ModelRefusedError.
        """


class Ranking(Struct, frozen=True, kw_only=True):
    """How well each text answers a query, 0..1, in their order, and what it cost if it did."""

    scores: tuple[float, ...]
    usage: Usage | None = None


class Reranker(Protocol):
    """Reads a query and texts together; `name` is provider:model, as an LLM's."""

    name: str

    async def rerank(self, query: str, texts: Sequence[str], *, timeout_s: float) -> Ranking:
        """Up to RERANK_BATCH_MAX texts of up to RERANK_CHARS_MAX characters; errors as an LLM's."""

    async def close(self) -> None:
        """Release connections and threads. Idempotent."""
