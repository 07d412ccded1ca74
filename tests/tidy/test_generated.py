"""Generated files are what their generators write, and a changed one is noticed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tidy import source

GENERATED = {
    "tools/generate_docs.py": [
        "docs/cli.md",
        "docs/errors.md",
        "docs/limits.md",
    ],
    "tools/generate_remote.py": ["src/holdfast/remote/client.py", "src/holdfast/remote/sync.py"],
    "tools/generate_sbom.py": ["docs/sbom.cdx.json"],
    "tools/generate_settings.py": ["docs/configuration.md"],
    "tools/generate_schema.py": ["src/holdfast/backends/sqlite/schema.sql"],
    "tools/generate_sync.py": ["src/holdfast/sync.py"],
}
"""Each generator and what it writes."""

MARK = re.compile(r"(<!-- |-- |)([^`]*: )?[Gg]enerated")
"""The line that says that what follows is generated."""
BODY = ("|", "    ", "\t")
"""How lines of tables, classes and statements begin."""

PLANTED = [(tool, target) for tool, targets in GENERATED.items() for target in targets]


def check(root: Path, tool: str) -> subprocess.CompletedProcess[str]:
    """Run a generator's check in a copy of the project."""
    environment = {**os.environ, "PYTHONPATH": str(root / "src")}
    command = [sys.executable, str(root / tool), "--check"]
    return subprocess.run(
        command, cwd=root, env=environment, capture_output=True, check=False, text=True
    )


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what generators read and write."""
    root = tmp_path_factory.mktemp("copy")
    ignore = shutil.ignore_patterns("__pycache__")
    for folder in ("src", "tools", "docs"):
        shutil.copytree(source.ROOT / folder, root / folder, ignore=ignore)
    for name in ("pyproject.toml", "requirements.lock"):
        shutil.copy(source.ROOT / name, root)
    return root


def test_every_generator_is_tested() -> None:
    tools = {source.name(path) for path in source.python_files("tools")}
    assert {tool for tool in tools if Path(tool).name.startswith("generate_")} == set(GENERATED)


@pytest.mark.parametrize("tool", sorted(GENERATED))
def test_generated_files_are_current(copy: Path, tool: str) -> None:
    result = check(copy, tool)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(("tool", "target"), PLANTED)
def test_a_changed_file_is_noticed(copy: Path, tool: str, target: str) -> None:
    path = copy / target
    before = path.read_text(encoding="utf-8")
    lines = before.splitlines(keepends=True)
    mark = next(index for index, line in enumerate(lines) if MARK.match(line))
    part = [index for index in range(mark, len(lines)) if lines[index].startswith(BODY)]
    del lines[part[3]]
    path.write_text("".join(lines), encoding="utf-8")
    try:
        result = check(copy, tool)
        assert result.returncode != 0
        assert Path(target).name in result.stderr
    finally:
        path.write_text(before, encoding="utf-8")


@pytest.mark.parametrize("tool", sorted(GENERATED))
def test_a_missing_file_is_noticed(copy: Path, tool: str) -> None:
    path = copy / GENERATED[tool][0]
    moved = path.rename(path.with_suffix(".away"))
    try:
        assert check(copy, tool).returncode != 0
    finally:
        moved.rename(path)
