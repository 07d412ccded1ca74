"""The soak as a command: its flags, what it looks at after each round, and when it fails."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from support.thorough import THOROUGH
from tests.fleet import soaking
from tests.fleet.machines import HAPROXY, NGINX

ROOT = Path(__file__).parents[2]
MINUTES = "3" if THOROUGH else "0.4"


def command(*words: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
    """As documented: from the root of the repository, and without any path being set."""
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    given = [sys.executable, "-m", "tests.fleet.soak", *words]
    return subprocess.run(
        given, cwd=ROOT, env=environ, timeout=timeout_s, capture_output=True, text=True, check=False
    )


def test_the_documented_command_runs() -> None:
    told = command("--help")
    assert told.returncode == 0, told.stderr
    for flag in ("--minutes", "--callers", "--calm", "--postgres", "--environ"):
        assert flag in told.stdout


@pytest.mark.skipif(not (NGINX and HAPROXY), reason="needs nginx and haproxy")
def test_a_short_soak_of_a_real_fleet() -> None:
    ended = command("--calm", "--minutes", MINUTES, "--callers", "4", timeout_s=600)
    assert ended.returncode == 0, ended.stderr
    assert '"round": 2' in ended.stdout
    assert "nothing lost, nothing grew" in ended.stderr


class Rounds:
    """Rounds that were made, of a fleet that is not there."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[dict[str, Any]] = []
        self.faults: list[str] = []
        self.files = [40]
        self.environ: dict[str, str] = {}
        self.with_postgres = False
        self._clock = 0.0
        postgres = SimpleNamespace(connections=lambda _name, patience_s: 8)
        self.fleet = SimpleNamespace(
            troubles=["a kill"], instances=[SimpleNamespace(name="one")], postgres=postgres
        )
        monkeypatch.setattr(soaking, "_fleet", self._made)
        monkeypatch.setattr(soaking, "campaign", self._campaign)
        monkeypatch.setattr(soaking, "look", self._look)
        monkeypatch.setattr(soaking, "time", SimpleNamespace(monotonic=self._now))

    @contextmanager
    def _made(
        self, _folder: Path, environ: dict[str, str], *, with_postgres: bool
    ) -> Iterator[Any]:
        self.environ, self.with_postgres = environ, with_postgres
        yield self.fleet

    async def _campaign(self, _fleet: Any, troubles: list[Any], **more: Any) -> Any:
        self.asked.append({"troubles": troubles, **more})
        return SimpleNamespace(counts={"adds": 1}, faults=self.faults, kept={})

    def _look(self, _instance: Any) -> dict[str, int]:
        return {"pid": 1, "mb": 200, "threads": 9, "files": self.files[-1]}

    def _now(self) -> float:
        self._clock += 6.0  # a look at the clock for each round
        return self._clock

    def run(self, monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["soak", *words])
        return soaking.main()


@pytest.fixture
def rounds(monkeypatch: pytest.MonkeyPatch) -> Rounds:
    return Rounds(monkeypatch)


def test_its_flags_arrive(
    rounds: Rounds, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--minutes", "1", "--callers", "3", "--postgres", "--environ", '{"A": "b"}')
    assert rounds.run(monkeypatch, *words) == 0
    assert (rounds.environ, rounds.with_postgres) == ({"A": "b"}, True)
    assert len(rounds.asked) == 9, "for so many minutes"
    assert {one["callers"] for one in rounds.asked} == {3}
    assert {len(one["troubles"]) for one in rounds.asked} == {1}
    assert len({one["seed"] for one in rounds.asked}) == 9
    assert "nothing lost, nothing grew" in capsys.readouterr().err


def test_calm_kills_nothing(rounds: Rounds, monkeypatch: pytest.MonkeyPatch) -> None:
    assert rounds.run(monkeypatch, "--minutes", "1", "--calm") == 0
    assert {len(one["troubles"]) for one in rounds.asked} == {0}


def test_what_is_lost_ends_it(
    rounds: Rounds, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rounds.faults.append("a memory is lost")
    assert rounds.run(monkeypatch, "--minutes", "1") == 1
    assert "a memory is lost" in capsys.readouterr().err


def test_what_grows_ends_it(
    rounds: Rounds, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def growing(_instance: Any) -> dict[str, int]:
        rounds.files.append(rounds.files[-1] + 50)
        return {"pid": 1, "mb": 200, "threads": 9, "files": rounds.files[-1]}

    monkeypatch.setattr(soaking, "look", growing)
    assert rounds.run(monkeypatch, "--minutes", "1") == 1
    assert "files" in capsys.readouterr().err
