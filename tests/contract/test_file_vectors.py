"""The engine that tests of several processes use keeps the contract as well."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.testing.contracts.vectors import MakeVectors, VectorsContract
from support.file_vectors import FileVectors


class TestFileVectors(VectorsContract):
    @pytest.fixture
    def make(self, tmp_path: Path) -> MakeVectors:
        return lambda collection="first": FileVectors(tmp_path / "engine.db", collection)
