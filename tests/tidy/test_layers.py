"""Imports run downwards only; planted imports that do not are found."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tidy import source

PLANTED = {
    "core/text.py": ("import holdfast.backends", "Imports run downwards"),
    "engine/__init__.py": ("import holdfast.backends", "Imports run downwards"),
    "backends/__init__.py": ("import holdfast.wrap", "Imports run downwards"),
    "model.py": ("import holdfast.ports", "Imports run downwards"),
    "core/__init__.py": ("import sqlite3", "The core decides"),
    "wrap/__init__.py": ("import sqlalchemy", "Only back ends know vendors"),
    "newcomer.py": ("", "Imports run downwards"),
}
"""File of the package, what is added to it, and the contract that must break."""


def lint_imports(root: Path) -> subprocess.CompletedProcess[str]:
    """Check the layers of the copy of the project that lies in `root`."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    environment = {**os.environ, "PYTHONPATH": str(root / "src")}
    return subprocess.run(
        command, cwd=root, env=environment, check=False, capture_output=True, text=True
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the package and its layer contracts."""
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(source.PACKAGE, tmp_path / "src" / "holdfast", ignore=ignore)
    shutil.copy(source.ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_imports_run_downwards(copy: Path) -> None:
    result = lint_imports(copy)
    assert result.returncode == 0, result.stdout
    assert "Contracts: 3 kept, 0 broken" in result.stdout


@pytest.mark.parametrize("where", sorted(PLANTED))
def test_planted_import_is_found(copy: Path, where: str) -> None:
    line, contract = PLANTED[where]
    path = copy / "src" / "holdfast" / where
    path.write_text((path.read_text() if path.exists() else "") + f"\n{line}\n")
    result = lint_imports(copy)
    assert result.returncode == 1, result.stdout
    assert contract in result.stdout
