"""The Makefile's commands: few, described, and those the documents name exist."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

import pytest

from tidy import source

NEEDED = {"demo", "test", "check", "bench", "eval", "fmt", "clean", "help"}


AGAIN = 'PYTEST_ARGS="--last-failed --last-failed-no-failures none"'
"""Runs what has just failed, and nothing else."""


def described() -> dict[str, str]:
    text = (source.ROOT / "Makefile").read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-z-]+):.*?## (.+)$", text, re.MULTILINE))


def test_the_promised_commands_exist() -> None:
    assert set(described()) >= NEEDED
    assert len(described()) <= 14, "few commands"


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_alone_lists_them_all() -> None:
    environment = {key: value for key, value in os.environ.items() if "MAKE" not in key}
    result = subprocess.run(
        ["make"], cwd=source.ROOT, env=environment, capture_output=True, check=True, text=True
    )
    assert [line.split()[1] for line in result.stdout.splitlines()] == list(described())


def test_documents_name_only_commands_that_exist() -> None:
    pages = [path for path in source.text_files() if path.suffix == ".md"]
    assert len(pages) > 8
    named = {
        command
        for page in pages
        for command in re.findall(
            r"^\s*make ([a-z-]+)|`make ([a-z-]+)[` ]", page.read_text("utf-8"), re.M
        )
    }
    assert {a or b for a, b in named} - set(described()) == set()


def test_ci_runs_the_checks_and_the_tests() -> None:
    text = (source.ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert text.startswith("#!/usr/bin/env bash\n")
    assert "set -euo pipefail" in text
    assert [line for line in text.splitlines() if line.startswith("make ")] == [
        "make check",
        f"make test || make test WORKERS=0 {AGAIN}",
        "make test-compat || make test-compat",
    ]
    assert (source.ROOT / ".ci" / "run").stat().st_mode & 0o111
