"""The fixtures that contract tests of a record store use."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from holdfast.testing.contracts.values import SPACE, Make
from holdfast.testing.replica import Store


class StoreFixtures:
    """`make` is for authors to override, with a store of its own for each test."""

    @pytest.fixture
    def make(self) -> Make:
        """A function that gives a new, unopened handle on one store, empty at first."""
        return pytest.fail("override the fixture `make` with one that makes your store")

    @pytest.fixture
    async def store(self, make: Make) -> AsyncIterator[Store]:
        """A handle that is open."""
        made = make()
        await made.open(SPACE)
        yield made
        await made.close()
