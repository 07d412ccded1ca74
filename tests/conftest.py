"""What holds for every test: no network, a home of its own, seeded chance, nothing left behind."""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from support import leaks
from support.offline import sitecustomize as offline
from support.thorough import THOROUGH

OFFLINE = str(Path(offline.__file__).parent)
SEED = 20261123

settings.register_profile("repeatable", derandomize=True, deadline=None, print_blob=True)
settings.register_profile("search", deadline=None, print_blob=True, max_examples=2_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


def pytest_configure() -> None:
    """Set up what every process of the run shares, and the processes it starts inherit."""
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    os.environ["PYTHONPATH"] = os.pathsep.join([OFFLINE, *filter(None, paths)])
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # No hour of the day is right by accident: far from UTC, and not by whole hours.
    os.environ["TZ"] = "Asia/Kathmandu"
    time.tzset()
    for name in [name for name in os.environ if name.endswith("_API_KEY")]:
        if not name.startswith("HOLDFAST_TEST_"):
            del os.environ[name]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of a class that names in `USUALLY` the tests to run, leave the others to thorough runs."""
    left = [] if THOROUGH else [item for item in items if not _usual(item)]
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if _usual(item)]


def _usual(item: pytest.Item) -> bool:
    kind = getattr(item, "cls", None)
    names: tuple[str, ...] | None = getattr(kind, "USUALLY", None)
    if names is None:
        return True
    unknown = [name for name in names if not hasattr(kind, name)]
    if unknown:
        raise pytest.UsageError(f"{kind.__qualname__}.USUALLY names no tests: {unknown}")
    return getattr(item, "originalname", item.name) in names


@pytest.fixture(autouse=True)
def _no_network() -> Iterator[None]:
    """Fail a test that tried to reach another machine, even if the error was swallowed."""
    offline.attempts.clear()
    yield
    assert not offline.attempts, f"the test tried to leave this machine: {offline.attempts}"


@pytest.fixture(autouse=True)
def _nothing_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail a test after which a thread, a task or a database file of Holdfast is still open."""
    threads, databases = leaks.holdfast_threads(), leaks.open_databases()
    watch = leaks.TaskWatch(asyncio.runners._cancel_all_tasks)
    monkeypatch.setattr(asyncio.runners, "_cancel_all_tasks", watch)
    yield
    left = leaks.settled(leaks.holdfast_threads, threads)
    assert not left, f"threads still running: {sorted(thread.name for thread in left)}"
    files = leaks.settled(leaks.open_databases, databases)
    assert not files, f"databases still open: {sorted(files)}"
    assert not watch.left, f"tasks still pending: {watch.left}"


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data directory of this test alone; HOLDFAST_HOME names it."""
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOLDFAST_HOME", str(folder))
    return folder


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Make chance repeat from run to run."""
    random.seed(SEED)
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed(SEED)
