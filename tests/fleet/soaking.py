"""A fleet in trouble for as long as you like: `python -m tests.fleet.soak`.

After each round memory, threads and open files of every instance are looked at, and with --postgres
the connections to it: what grows, within the life of a process, is a fault as much as what is lost.
With --calm nothing is killed, so that processes live long enough to tell.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from support.postgres import Server
from tests.fleet.campaign import Fleet, campaign
from tests.fleet.growth import Look, grown, look

_DATABASE = "fleet"
_CACHE_BYTES, _VIEW_BYTES = 2**22, 2**24
"""Small, so that they are full soon: a cache that fills is no leak, and would hide one."""


def main() -> int:
    """Run rounds until time is over; 1 if anything was lost, doubled, stale or refused, or grew."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--callers", type=int, default=8)
    parser.add_argument("--calm", action="store_true", help="no troubles: only growth is looked at")
    parser.add_argument(
        "--postgres", action="store_true", help="records in Postgres, an index in pgvector, Redis"
    )
    parser.add_argument("--environ", type=json.loads, default={}, help="settings, as JSON")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="holdfast-fleet-") as folder:
        Path(folder).chmod(0o755)  # nginx's workers are another user
        with _fleet(Path(folder), args.environ, with_postgres=args.postgres) as fleet:
            return _soak(fleet, args.minutes, args.callers, calm=args.calm)


@contextmanager
def _fleet(folder: Path, environ: Mapping[str, str], *, with_postgres: bool) -> Iterator[Fleet]:
    """A started fleet, gone at the end with everything behind it."""
    server, more = None, dict(environ)
    if with_postgres:
        server = Server(18, durable=True)
        server.ask(f"CREATE DATABASE {_DATABASE} OWNER holdfast")
        server.ask("CREATE EXTENSION vector", database=_DATABASE)
        for part, engine in (("RECORDS", "postgres"), ("INDEX", "pgvector")):
            more[f"HOLDFAST_{part}_PROVIDER"] = engine
            more[f"HOLDFAST_{part}_URL"] = server.tcp_url(_DATABASE)
    with_redis = with_postgres or "HOLDFAST_CACHE_PROVIDER" in more
    cache = {
        "provider": "redis" if with_redis else "process",
        "config": {"bytes_max": _CACHE_BYTES},
    }
    settings = folder / "settings.yaml"  # of which JSON is a kind
    settings.write_text(json.dumps({"cache": cache, "view_bytes_max": _VIEW_BYTES}))
    more.setdefault("HOLDFAST_CONFIG", str(settings))
    fleet = Fleet(folder, more, with_redis=with_redis, postgres=server)
    try:
        fleet.start()
        yield fleet
    finally:
        fleet.end()
        if server is not None:
            server.remove()


def _soak(fleet: Fleet, minutes: float, callers: int, *, calm: bool) -> int:
    end, number, looks = time.monotonic() + 60 * minutes, 0, list[tuple[str, Look]]()
    while time.monotonic() < end:
        number += 1
        troubles = [] if calm else fleet.troubles
        book = asyncio.run(campaign(fleet, troubles, callers=callers, seed=number, pause_s=5))
        held = [(one.name, look(one)) for one in fleet.instances]
        if fleet.postgres is not None:
            connections = fleet.postgres.connections(_DATABASE, patience_s=0)
            held.append(("postgres", {"connections": connections}))
        looks += held
        _write(sys.stdout, json.dumps({"round": number, **book.counts, "held": dict(held)}))
        if book.faults:
            _write(sys.stderr, "\n".join(book.faults))
            return 1
        book.kept.clear()  # checked; a listing of all that ever was would take longer every round
    faults = grown(looks)
    _write(sys.stderr, "\n".join(faults) or "nothing lost, nothing grew")
    return 1 if faults else 0


def _write(stream: TextIO, text: str) -> None:
    stream.write(text + "\n")
    stream.flush()
