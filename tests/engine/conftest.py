"""A memory on a fresh folder, asynchronous and blocking."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from holdfast import AsyncMemory, Memory


@pytest.fixture
async def memory(tmp_path: Path) -> AsyncIterator[AsyncMemory]:
    async with AsyncMemory({"path": str(tmp_path / "store")}) as opened:
        yield opened


@pytest.fixture
def blocking(tmp_path: Path) -> Iterator[Memory]:
    with Memory({"path": str(tmp_path / "store")}) as opened:
        yield opened
