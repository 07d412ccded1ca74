"""Vectors of a remote embedder, kept by what their text says, so that a text is paid for once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from holdfast.core.bounds import likely_texts
from holdfast.core.packing import Packing
from holdfast.limits import CACHE_CLAIM_S, CACHE_WRITES_MAX
from holdfast.metrics import Metrics
from holdfast.model import Space, Spared
from holdfast.ports import Cache, Embedder, QueryEmbedding, Spent
from holdfast.wrap.flights import Afterwards, Flights

if TYPE_CHECKING:
    import numpy as np

_LOOK_AGAIN_S: Final = 0.03
"""Seconds until it is looked again whether another process has made a vector."""


class CachedEmbedder:
    """An embedder that is asked only what is not known. What was known costs nothing.

    In one process a question, or a batch, that is just being asked is waited for, not asked twice;
    of several processes that share the cache one asks a question, and the others wait for it.
    What was not asked for that reason is told as `Spared`, with about the tokens it would have
    taken.
    """

    in_process = False

    def __init__(
        self,
        inner: Embedder,
        cache: Cache,
        packing: Packing,
        *,
        ttl_s: float,
        owner: str,
        metrics: Metrics | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`owner` names this process in claims."""
        self.space: Space = inner.space
        self.static: bool = inner.static
        self._inner = inner
        self._cache = cache
        self._packing = packing
        self._model = f"{inner.space.provider}:{inner.space.model}"
        self._space = msgspec.msgpack.encode(inner.space)
        self._row_bytes = 4 * inner.space.dimensions
        self._ttl_s = ttl_s
        self._owner = owner
        self._metrics = metrics or Metrics()
        self._sleep = sleep
        self._questions: Flights[QueryEmbedding] = Flights()
        self._batches: Flights[np.ndarray] = Flights()
        self._afterwards = Afterwards(CACHE_WRITES_MAX)

    async def embed(self, texts: Sequence[str], spent: Spent | None = None) -> np.ndarray:
        import numpy as np

        names = {text: self._name("text", text) for text in texts if text.strip()}
        values = await self._cache.get(list(names.values()))
        known = dict(self._known(names.items(), values))
        missing = [text for text in dict.fromkeys(texts) if text not in known]
        asked = [names[text] for text in missing if text in names]
        self._count("shared_hit" if self._cache.shared else "hit", len(known))
        self._count("miss", len(asked))
        self._spare(known, 0 if missing else 1, spent)
        if missing:
            together = self._packing.name("batch", *(text.encode() for text in missing))
            made = await self._batches.run(together, lambda told: self._make(missing, told), spent)
            self._keep({names[t]: row for t, row in zip(missing, made, strict=True) if t in names})
            known |= dict(zip(missing, made, strict=True))
        if not texts:
            return np.zeros((0, self.space.dimensions), dtype=np.float32)
        return np.stack([known[text] for text in texts])

    async def _make(self, texts: Sequence[str], spent: Spent) -> np.ndarray:
        return await self._inner.embed(texts, spent)

    async def embed_query(self, text: str, spent: Spent | None = None) -> QueryEmbedding:
        if not text.strip():
            return await self._inner.embed_query(text, spent)
        name = self._name("question", text)
        joined = name in self._questions
        if joined:
            self._count("joined", 1)
        found = await self._questions.run(
            name, lambda told: self._question(name, text, told), spent
        )
        if joined:
            self._spare([text], 1, spent)
        return found

    async def _question(self, name: str, text: str, spent: Spent) -> QueryEmbedding:
        found = await (self._waited_for(name) if self._cache.shared else self._looked_up(name))
        if found is not None:
            self._spare([text], 1, spent)
            return QueryEmbedding(vector=found)
        self._count("miss", 1)
        try:
            made = await self._inner.embed_query(text, spent)
        except BaseException:
            if self._cache.shared:  # others need not wait for what does not come
                self._afterwards.do(self._cache.drop([name]))
            raise
        if made.pieces is None:  # static embedders give pieces, and are not remote
            self._keep({name: made.vector})
        return made

    async def _looked_up(self, name: str) -> np.ndarray | None:
        [value] = await self._cache.get([name])
        return self._hit(name, value, "hit")

    async def _waited_for(self, name: str) -> np.ndarray | None:
        """A vector that is there, or that another process makes in time; None: make it."""
        waited_s = 0.0
        while True:
            claim = await self._cache.claim(name, self._owner, CACHE_CLAIM_S)
            if claim.mine or claim.value is not None or waited_s >= CACHE_CLAIM_S:
                return self._hit(name, claim.value, "shared_hit")
            await self._sleep(_LOOK_AGAIN_S)
            waited_s += _LOOK_AGAIN_S

    def _hit(self, name: str, value: bytes | None, outcome: str) -> np.ndarray | None:
        row = self._row(name, value)
        if row is not None:
            self._count(outcome, 1)
        return row

    def _name(self, kind: str, text: str) -> str:
        """Embedders may read texts and questions differently, so they are kept apart."""
        return self._packing.name(kind, self._space, text.encode())

    def _known(
        self, names: Iterable[tuple[str, str]], values: Sequence[bytes | None]
    ) -> Iterable[tuple[str, np.ndarray]]:
        for (text, name), value in zip(names, values, strict=True):
            row = self._row(name, value)
            if row is not None:
                yield text, row

    def _row(self, name: str, value: bytes | None) -> np.ndarray | None:
        import numpy as np

        if value is None:
            return None
        payload = self._packing.unpack(name, value)
        if payload is None or len(payload) != self._row_bytes:
            self._metrics.count("cache_failure", "damaged")
            return None
        return np.frombuffer(payload, dtype="<f4").astype(np.float32)

    def _keep(self, rows: Mapping[str, np.ndarray]) -> None:
        values = {
            name: self._packing.pack(name, row.astype("<f4", copy=False).tobytes())
            for name, row in rows.items()
        }
        if values:
            self._afterwards.do(self._cache.put(values, self._ttl_s))

    def _spare(self, texts: Iterable[str], calls: int, spent: Spent | None) -> None:
        """Tell of texts that nobody was asked about."""
        known = list(texts)
        if known and spent is not None:
            took = likely_texts(self._model, known)
            spent(Spared(model=took.model, input_tokens=took.input_tokens, calls=calls))

    def _count(self, outcome: str, amount: int) -> None:
        if amount:
            self._metrics.count("cache_lookup", "vector", outcome, amount=amount)

    async def settle(self) -> None:
        """Wait until what was made is kept, for those who measure."""
        await self._afterwards.settle()

    async def close(self) -> None:
        await self._afterwards.close()
        await self._inner.close()
