"""What `holdfast doctor` looks at. Each check finds something out and never stops the others."""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import holdfast
from holdfast.cli import output
from holdfast.cli.access import done
from holdfast.cli.options import Common
from holdfast.cli.store import opened, resolved
from holdfast.errors import CacheUnavailableError, HoldfastError

if TYPE_CHECKING:
    from holdfast import Memory
    from holdfast.config import Resolved

DISK_BYTES_LOW = 1 << 30
"""Free space below which the doctor warns."""

PARTS = (
    "numpy",
    "msgspec",
    "tokenizers",
    "safetensors",
    "wordllama",
    "PyStemmer",
    "SQLAlchemy",
    "alembic",
    "typer",
    "rich",
)
EXTRAS = ("pydantic-ai-slim", "sentence-transformers", "matplotlib", "redis")

_PATIENT = "doctor"
_OTHER_VARIABLES = (
    "HOLDFAST_HOME",
    "HOLDFAST_CONFIG",
    "HOLDFAST_USER",
    "HOLDFAST_URL",
    "HOLDFAST_API_KEY",
    "HOLDFAST_MASTER_KEYS",
)
"""Variables that are read, and set nothing of the configuration."""

State = Literal["ok", "warning", "broken"]


@dataclass(frozen=True)
class Check:
    """One finding."""

    name: str
    state: State
    finding: str
    seconds: float | None = None


Finding = tuple[State, str]


def examine(common: Common, *, probe: bool) -> list[Check]:
    """Runs every check. `probe` allows the one that asks the configured language model."""
    from holdfast.config import RECORDS

    checks = [_run("python", _python), _run("parts", _parts)]
    try:
        found = resolved(common)
    except HoldfastError as error:
        return [*checks, Check("settings", "broken", _told(error))]
    home = Path(found.config.path)
    embedded = found.config.records.provider == RECORDS
    places = [_run("folder", lambda: _folder(home)), _run("disk", lambda: _disk(home))]
    return [
        *checks,
        _run("settings", lambda: _settings(found)),
        *(places if embedded else ()),
        _run("store", lambda: _store(common, home if embedded else None)),
        _run("index", lambda: _index(common, found.config.index.provider)),
        _run("cache", lambda: _cache(found)),
        _run("backups", lambda: _backups(common, configured=found.config.backup is not None)),
        _run("embedder", lambda: _embedder(common)),
        _run("language model", lambda: _model(common, probe=probe)),
    ]


def _told(error: HoldfastError) -> str:
    return f"{error.message} ({error.code}) {error.hint}".strip()


def _run(name: str, check: Callable[[], Finding]) -> Check:
    began = time.perf_counter()
    try:
        state, finding = check()
    except HoldfastError as error:
        state, finding = "broken", _told(error)
    except OSError as error:
        state, finding = "broken", f"{error.filename or name}: {error.strerror or error}"
    return Check(name, state, finding, round(time.perf_counter() - began, 4))


def _python() -> Finding:
    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    return "ok", f"Python {platform.python_version()} on {system}"


def _parts() -> Finding:
    found = {name: _version(name) for name in (*PARTS, *EXTRAS)}
    missing = [name for name in PARTS if found[name] is None]
    versions = [f"{name} {version}" for name, version in found.items() if version]
    text = (
        f"holdfast {holdfast.__version__}, SQLite {sqlite3.sqlite_version}, {', '.join(versions)}"
    )
    if missing:
        return "broken", f"not installed: {', '.join(missing)}; {text}"
    return "ok", text


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _settings(found: Resolved) -> Finding:
    settings = found.settings()
    changed = [name for name, setting in settings.items() if setting["source"] != "default"]
    told = f"set: {', '.join(changed)}" if changed else "all default"
    misspelt = list(_misspelt(os.environ))
    return ("warning", f"{'; '.join(misspelt)}; {told}") if misspelt else ("ok", told)


def _misspelt(environ: Iterable[str]) -> Iterator[str]:
    """Variables that nothing reads, one or two letters from one that sets something."""
    from difflib import get_close_matches

    from holdfast.config.checks import variables

    known = [*variables(), *_OTHER_VARIABLES]
    for name in sorted(environ):
        near = get_close_matches(name[:64], known, n=1, cutoff=0.9)
        if name.startswith("HOLDFAST_") and name not in known and near:
            yield output.printable(f"{name[:64]} sets nothing (is {near[0]} meant?)")


def _nearest(folder: Path) -> Path:
    """The folder itself, or the nearest one above it that exists."""
    return next(place for place in (folder, *folder.absolute().parents) if place.exists())


def _folder(home: Path) -> Finding:
    place = _nearest(home)
    if not place.is_dir():
        return "broken", f"{place} is not a folder"
    with tempfile.TemporaryFile(dir=place) as file:
        file.write(b"holdfast")
    return "ok", f"{home} can be written" + ("" if home.exists() else " (made on first use)")


def _disk(home: Path) -> Finding:
    free = shutil.disk_usage(_nearest(home)).free
    return ("ok" if free >= DISK_BYTES_LOW else "warning"), f"{output.size(free)} free"


def _store(common: Common, home: Path | None) -> Finding:
    """What is in the store; an embedded one in its home is not made for being looked at."""
    if home is not None and (not home.exists() or not any(home.iterdir())):
        return "ok", "empty: nothing was remembered here yet"
    with opened(common) as memory:
        counts = memory.stats()
        failed = memory.events(status="FAILED", page_size=1)["results"]
    held = f"{counts['memories']:,} memories, {counts['turns']:,} turns"
    text = f"{held}, {output.size(counts['bytes'])}"
    if counts.get("row_level_security") is False:
        text += "; the user of records.config.url is above row-level security: use no superuser"
    if failed:
        text += "; extraction failed for some: holdfast events --status failed"
    return "warning" if failed or "row_level_security" in counts else "ok", text


def _index(common: Common, provider: str) -> Finding:
    from holdfast.config import INDEX  # loaded by now, and not before a command runs

    if provider == INDEX:
        return "ok", "in this process, made from the records"
    status = done(common, lambda admin: admin.index.status())
    if status.shards_away:
        away = ", ".join(status.shards_away)
        return "broken", f"{status.name}: shards that do not answer: {away}; what they lack waits"
    if not status.reachable:
        return "broken", f"{status.name} does not answer ({status.error}); searches do without it"
    text = f"{status.name}: {status.points:,} points of {status.memories:,} memories"
    if status.projects_behind:
        return "warning", f"{text}; {status.projects_behind:,} projects are behind"
    return "ok", text


def _cache(found: Resolved) -> Finding:
    from holdfast.config import RedisSettings
    from holdfast.metrics import Metrics
    from holdfast.registry import cache_settings, make_cache

    settings = cache_settings(found.config.cache)
    if not isinstance(settings, RedisSettings):
        return "ok", f"in each process, up to {output.size(settings.bytes_max)}"

    async def ask() -> float:
        cache = await make_cache(settings, Metrics(), 0)
        try:
            began = time.perf_counter()
            await cache.probe()
            return time.perf_counter() - began
        finally:
            await cache.close()

    try:
        took = asyncio.run(ask())
    except CacheUnavailableError:
        return "warning", "Redis does not answer: answers and vectors are made anew each time"
    return "ok", f"Redis answers in {output.duration(took)}"


def _backups(common: Common, *, configured: bool) -> Finding:
    if not configured:
        return "ok", "none configured: nothing comes back when the disk is lost"
    status = done(common, lambda admin: admin.backups.status())
    if status.newest is None or status.age_s is None:
        return "warning", "there is none yet: holdfast backup create"
    text = f"the newest is {output.duration(status.age_s)} old"
    if status.failed_at is not None:
        return "warning", f"{text}; the last one that was due failed: see the server's log"
    return ("warning", f"{text}: too old") if status.too_old else ("ok", text)


def _embedder(common: Common) -> Finding:
    with _scratch(common) as memory:
        memory.add("The doctor keeps bees.", user_id=_PATIENT, infer=False)
        began = time.perf_counter()
        answer = memory.search("Who keeps bees?", filters={"user_id": _PATIENT})
        took = time.perf_counter() - began
    name = resolved(common).config.embedder.provider
    if answer.get("degraded"):
        return "broken", f"{name}: searched without {', '.join(answer['degraded'])}"
    if not answer["results"]:
        return "broken", f"{name}: stored a memory and did not find it"
    return "ok", f"{name}: stored a memory and found it in {output.duration(took)}"


def _model(common: Common, *, probe: bool) -> Finding:
    part = resolved(common).config.llm
    if part is None:
        return "ok", "none configured: messages are kept word for word"
    name = " ".join(filter(None, [part.provider, str(part.config.get("model", ""))]))
    if not probe:
        return "ok", f"{name} configured, not asked (--probe asks it)"
    with _scratch(common) as memory:
        answer = memory.add("I keep three hives of bees in Kent.", user_id=_PATIENT)
    if answer.get("status") == "SUCCEEDED":
        return "ok", f"{name}: extracted {len(answer['results'])} facts"
    reason = answer.get("error") or "no answer in time"
    return "broken", f"{name}: {reason} ({answer.get('error_code', 'MODEL')})"


@contextmanager
def _scratch(common: Common) -> Iterator[Memory]:
    """A store of its own with the configured models, removed afterwards."""
    with (
        tempfile.TemporaryDirectory(prefix="holdfast-doctor-") as folder,
        opened(common, Path(folder)) as memory,
    ):
        yield memory
