"""Which embedders are in force: that of the active space, and beside it that of the shadow.

A request takes the pair once, and everything it computes or compares is of that epoch. Where the
records say that the epoch is over, it is asked anew which one it is, and the request is done again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from holdfast.errors import ModelUnavailableError, StoreUnavailableError
from holdfast.model import Space
from holdfast.ports import Embedder, Epoch, QueryEmbedding, Spaces, SpaceSwitched, Spent

if TYPE_CHECKING:
    import numpy as np

T = TypeVar("T")

_TRIES_MAX = 8
"""Times a request is begun again because the spaces were switched meanwhile."""


class Pair(NamedTuple):
    """The embedders of one epoch."""

    epoch: int | None
    """None where no space will ever take the place of another."""
    embedder: Embedder
    """Of the active space."""
    shadow: Embedder | None = None
    """Of the space that is being filled, if it is at hand."""


class Unknown:
    """Stands for the embedder of a space that this process has none of."""

    in_process = False
    static = False

    def __init__(self, space: Space) -> None:
        self.space = space

    async def embed(self, texts: Sequence[str], spent: Spent | None = None) -> np.ndarray:
        raise self._error()

    async def embed_query(self, text: str, spent: Spent | None = None) -> QueryEmbedding:
        raise self._error()

    async def close(self) -> None:
        """Nothing to release."""

    def _error(self) -> ModelUnavailableError:
        name = f"{self.space.provider}:{self.space.model}"
        return ModelUnavailableError(
            f"The vectors of this store are those of {name} by now, which is not configured here.",
            hint="Configure it as `embedder`, then start again.",
        )


class Embedders:
    """The embedders of a deployment; `now` is the pair in force, as far as this process knows."""

    def __init__(self, known: Sequence[Embedder], spaces: Spaces | None = None) -> None:
        """`known`: the wanted one first. Without `spaces` it is used for good."""
        self.known = tuple(known)
        self.spaces = spaces
        self.now = Pair(None, self.known[0])

    async def refresh(self) -> Pair:
        """Ask the records which pair is in force. Raises StoreError."""
        if self.spaces is not None:
            self.now = self._pair(await self.spaces.epoch())
        return self.now

    def wrap(self, wrapper: Callable[[Embedder], Embedder]) -> None:
        """Put something around each embedder."""
        self.known = tuple(map(wrapper, self.known))
        epoch, embedder, shadow = self.now
        self.now = Pair(
            epoch,
            self.of(embedder.space) or embedder,
            None if shadow is None else self.of(shadow.space),
        )

    def of(self, space: Space) -> Embedder | None:
        """The embedder of a space, if it is at hand."""
        return next((each for each in self.known if each.space == space), None)

    def _pair(self, epoch: Epoch) -> Pair:
        space = epoch.active.space
        shadow = None if epoch.shadow is None else self.of(epoch.shadow.space)
        return Pair(epoch.number, self.of(space) or Unknown(space), shadow)

    async def with_pair(self, ask: Callable[[Pair], Awaitable[T]]) -> T:
        """Ask with the embedders in force, again if the spaces are switched meanwhile."""
        for _ in range(_TRIES_MAX):
            try:
                return await ask(self.now)
            except SpaceSwitched:
                await self.refresh()
        raise StoreUnavailableError(
            "The embedder was changed again and again meanwhile; nothing was changed.",
            hint="Retry.",
        )
