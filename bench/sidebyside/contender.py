"""What a contender can do: the few operations that are measured, spelt the same for all of them."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from sidebyside.writers import Written

NAMES = ("bare", "holdfast", "mem0")
TOP_K = 20
Turn = tuple[str, str]
"""User id and text."""


class Contender(Protocol):
    """One store in one process, kept in a folder of its own.

    Only the call itself is timed: `search` therefore gives the contender's own answer, and `texts`
    turns it into the memories found, outside of the clock.
    """

    def open(self) -> None:
        """Opens the store in its folder, made if there is none, with the embedder ready."""

    def close(self) -> None:
        """Closes the store; `open` may follow and finds what was stored."""

    def add(self, user: str, text: str) -> None:
        """Stores one memory as one call of the library, without inference."""

    def add_many(self, user: str, texts: list[str]) -> None:
        """Stores many memories of one user as one call of the library, without inference."""

    def load(self, user: str, texts: list[str]) -> None:
        """Stores many memories in the fastest way there is, for stores that are only searched."""

    def search(self, user: str, query: str) -> Any:
        """The `TOP_K` best memories of the user, in the contender's own form."""

    def texts(self, found: Any) -> list[str]:
        """The memory texts of what `search` gave."""

    def ids(self, user: str, count: int) -> list[str]:
        """Ids of up to `count` memories of the user."""

    def delete(self, memory_id: str) -> None:
        """Deletes one memory."""

    def delete_all(self, user: str) -> None:
        """Deletes all memories of the user."""

    async def add_concurrently(self, turns: list[Turn], writers: int) -> Written:
        """Opens an asynchronous store, stores the turns from `writers` tasks, closes it.

        Opening, closing and one add before the others are not in the seconds.
        """


def create(name: str, home: Path) -> Contender:
    """The contender of that name, not yet open, keeping its files under `home`."""
    module = importlib.import_module(f"sidebyside.contender_{name}")
    contender: Contender = module.create(home)
    return contender
