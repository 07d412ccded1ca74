"""The Makefile's commands: few, described, and those the documents name exist."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tidy import source

NEEDED = {"demo", "test", "check", "bench", "eval", "fmt", "clean", "help"}


AGAIN = "WORKERS=0 PYTEST_ARGS=--last-failed --last-failed-no-failures none"
"""Runs what has just failed, and nothing else."""


def described() -> dict[str, str]:
    text = (source.ROOT / "Makefile").read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-z-]+):.*?## (.+)$", text, re.MULTILINE))


def test_the_promised_commands_exist() -> None:
    assert set(described()) >= NEEDED
    assert len(described()) <= 15, "few commands"


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


MAKE = """#!/usr/bin/env bash
echo "$*" >>"$CALLS"
times=$(grep -cE "^$1( |$)" "$CALLS")
for fails in $FAILS; do [ "$fails" = "$1:$times" ] && exit 7; done
exit 0
"""
"""Stands for `make`: notes its calls; `FAILS` names those that fail, as `target:time`."""


def gate(folder: Path, fails: str = "") -> tuple[int, list[str]]:
    """What the gate ends with, and the calls of `make` in it."""
    for name, text in {"make": MAKE, "dpkg": "#!/bin/sh\n"}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    calls = folder / "calls"
    environ = {"PATH": f"{folder}:/usr/bin:/bin", "CALLS": str(calls), "FAILS": fails}
    script = ["bash", str(source.ROOT / ".ci" / "run")]
    done = subprocess.run(
        script, check=False, env=environ, stdin=subprocess.DEVNULL, capture_output=True
    )
    return done.returncode, calls.read_text().splitlines()


def test_the_gate_runs_the_checks_and_the_tests(tmp_path: Path) -> None:
    code, calls = gate(tmp_path)
    assert code == 0
    assert sorted(calls[1:]) == ["audit-deps", "check", "test", "test-compat"]
    assert (source.ROOT / ".ci" / "run").stat().st_mode & 0o111


@pytest.mark.parametrize("target", ["test", "test-compat"])
def test_tests_that_fail_are_run_once_more_alone(target: str, tmp_path: Path) -> None:
    code, calls = gate(tmp_path, f"{target}:1")
    assert code == 0
    again = [call for call in calls if call.split()[0] == target][1:]
    assert again == [target if target == "test-compat" else f"test {AGAIN}"]


@pytest.mark.parametrize(
    "fails",
    [
        ".venv/.installed-dev:1",
        "check:1",
        "audit-deps:1",
        "test:1 test:2",
        "test-compat:1 test-compat:2",
    ],
)
def test_whatever_fails_closes_the_gate(fails: str, tmp_path: Path) -> None:
    code, _ = gate(tmp_path, fails)
    assert code == 7
