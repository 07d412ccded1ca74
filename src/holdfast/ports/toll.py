"""What stands before each request that costs something."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from holdfast.model import Usage
from holdfast.ports.models import Spent


class Toll(Protocol):
    """Stands before each request to a provider."""

    def serves(self, model: str, answer_tokens: int) -> None:
        """A model stands behind it, whose answers have so many tokens at most."""

    def paying(self, worst: Callable[[], Usage]) -> AbstractAsyncContextManager[Spent]:
        """Around one request: room in the budgets for the most it can take is held before, and
        what it took, which the block tells, is counted after.

        `worst` is only asked where there are budgets. Raises BudgetExceededError, before anything
        is asked, if one has no room; what `worst` raises; StoreError.
        """
