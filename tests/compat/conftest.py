"""A server for each test of a real client."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.served import Served, served


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Served]:
    """A server with an empty store."""
    with served(tmp_path / "store") as running:
        yield running
