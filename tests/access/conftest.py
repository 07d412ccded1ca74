"""A deployment with several projects, and ways to look at it as somebody in particular."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from holdfast.admin import AsyncAdmin


@pytest.fixture
async def admin(tmp_path: Path) -> AsyncIterator[AsyncAdmin]:
    """The deployment, empty but for a project "other" beside the one of the start."""
    async with AsyncAdmin({"path": str(tmp_path / "store"), "workers": 0}) as opened:
        await opened.create_project("Other", project_id="other")
        yield opened
