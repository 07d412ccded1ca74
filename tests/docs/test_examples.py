"""The examples of the README and the documents do what they say, in a home of their own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from docs.blocks import PAGES, ROOT, blocks, pages_with
from tidy import source

MUST_HAVE_PYTHON = {"README.md", "docs/start.md", "docs/library.md", "docs/configuration.md"}
MUST_HAVE_SHELL = {"README.md", "docs/start.md", "docs/cli.md"}
LINK = re.compile(r"(?<!!)\[[^\]]+\]\((?!https?:|#)([^)#]+)(?:#[^)]*)?\)")

NAMED = re.compile(r"`([a-z_0-9]+(?:/[a-z_0-9]+)*(?:\.py|/))`")
"""A file of Python or a folder, as pages name it."""


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run in `folder`, with the installed `holdfast` first on the path."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PATH": path, "HOME": str(folder), "PYTHONWARNINGS": "error"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        text=True,
    )


def text(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", pages_with("python"))
def test_python_examples_run(page: str, tmp_path: Path) -> None:
    script = tmp_path / "page.py"
    script.write_text("\n".join(blocks(text(page), "python")), encoding="utf-8")
    result = run([sys.executable, str(script)], tmp_path)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("page", pages_with("sh"))
def test_shell_examples_run(page: str, tmp_path: Path) -> None:
    script = tmp_path / "page.sh"
    script.write_text("\n".join(blocks(text(page), "sh")), encoding="utf-8")
    result = run(["bash", "-euxo", "pipefail", str(script)], tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr


def test_pages_that_teach_have_examples() -> None:
    assert set(pages_with("python")) >= MUST_HAVE_PYTHON
    assert set(pages_with("sh")) >= MUST_HAVE_SHELL


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_examples_that_are_not_run_are_at_least_python(page: Path) -> None:
    for code in blocks(page.read_text(encoding="utf-8"), "python", run=False):
        compile(code, page.name, "exec")


@pytest.mark.parametrize(
    "page",
    [*PAGES, *sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs" / "decisions").glob("*.md"))],
    ids=lambda path: path.name,
)
def test_links_lead_somewhere(page: Path) -> None:
    targets = LINK.findall(page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


def absent(text: str) -> list[str]:
    """Files (`x/y.py`) and folders (`x/`) that a page names, and that are not there."""
    files = [f"/{source.name(path)}" for path in source.tracked()]

    def is_there(name: str) -> bool:
        return any(
            f"/{name}" in file if name[-1] == "/" else file.endswith(f"/{name}") for file in files
        )

    return [name for name in NAMED.findall(text) if not is_there(name)]


@pytest.mark.parametrize(
    "page",
    [ROOT / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))],
    ids=lambda path: path.name,
)
def test_files_that_a_page_names_are_there(page: Path) -> None:
    assert absent(page.read_text(encoding="utf-8")) == []


def test_a_file_that_is_not_there_is_seen() -> None:
    text = "`core/rank.py`, `core/gone.py`, `backends/qdrant/`, `backends/gone/`, `tests/x/`"
    assert absent(text) == ["core/gone.py", "backends/gone/", "tests/x/"]


def test_the_map_of_the_core_names_every_file() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    table = text.partition("To find a subject in `core/`")[2].partition("## ")[0]
    files = {path.stem for path in (ROOT / "src/holdfast/core").glob("*.py")} - {"__init__"}
    assert set(re.findall(r"`(\w+)`", table)) == files


def test_every_page_can_be_reached_from_the_readme() -> None:
    seen, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop().resolve()
        if page in seen or page.suffix != ".md":
            continue
        seen.add(page)
        waiting += [page.parent / target for target in LINK.findall(page.read_text("utf-8"))]
    pages = {*PAGES, *(ROOT / "docs" / "decisions").glob("*.md")}
    assert {page.name for page in pages} - {page.name for page in seen} == set()


def test_a_failing_example_is_seen(tmp_path: Path) -> None:
    page = "```python\nassert 1 == 2\n```\n\n<!-- not run: sample -->\n```python\nx\n```\n"
    assert blocks(page, "python") == ["assert 1 == 2\n"]
    assert blocks(page, "python", run=False) == ["x\n"]
    result = run([sys.executable, "-c", blocks(page, "python")[0]], tmp_path)
    assert result.returncode != 0
