"""The load generator, a process of its own: `python -m serverside.load`.

Reads a plan from standard input and the calls from a file, one a line, and prints what happened:

    plan   {"port", "token", "clients", "calls": FILE, "seconds_max", "rate"?, "pid"?, "rss_every"?}
    call   {"kind", "method", "path", "body"}

Without `rate` the loop is closed: each client waits for its answer before it asks again, so a slow
server is asked less. With it the loop is open: each client has a connection and moments of its own
at which its calls are due, `rate` a second of all clients together, at random but the same in every
run. Latency counts from the moment a call was due, whether or not the one before it was answered by
then: what a slow answer keeps waiting is counted too.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop
from sidebyside.process_memory import resident_bytes

from serverside.connection import Connection, connect, request

Call = tuple[str, bytes]
"""Its kind and its bytes."""


@dataclass
class Happened:
    """What a run did."""

    ns: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    """Latencies of good answers, by kind."""
    errors: Counter[str] = field(default_factory=Counter)
    rss: list[int] = field(default_factory=list)
    """Bytes resident in the server, now and then."""
    seconds: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """For the parent."""
        return {"ns": self.ns, "errors": self.errors, "rss": self.rss, "seconds": self.seconds}


class Load:
    """Asks a server what the plan says."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self._port: int = plan["port"]
        self._clients: int = plan["clients"]
        self._seconds_max: float = plan["seconds_max"]
        self._rate: float | None = plan.get("rate")
        self._pid: int | None = plan.get("pid")
        self._rss_every: int = plan.get("rss_every", 0)
        self._calls = _calls(Path(plan["calls"]), plan.get("token"))
        self._answered = 0
        self.happened = Happened()

    async def run(self) -> None:
        """Asks until there are no more calls or the time is over."""
        connections = [await connect(self._port) for _ in range(self._clients)]
        begin = time.perf_counter()
        if self._rate is None:
            end = begin + self._seconds_max
            await asyncio.gather(*(self._closed(each, end) for each in connections))
        else:
            each_rate = self._rate / self._clients
            clients = enumerate(connections)
            await asyncio.gather(*(self._open(c, begin, n, each_rate) for n, c in clients))
        self.happened.seconds = time.perf_counter() - begin
        for each in connections:
            each.close()

    async def _closed(self, connection: Connection, end: float) -> None:
        while time.perf_counter() < end:
            call = next(self._calls, None)
            if call is None:
                return
            connection = await self._ask(connection, call, time.perf_counter_ns())

    async def _open(self, connection: Connection, begin: float, number: int, rate: float) -> None:
        """One client of an open loop, which asks so often a second."""
        pauses = random.Random(number)
        due = begin
        while (due := due + pauses.expovariate(rate)) < begin + self._seconds_max:
            await asyncio.sleep(due - time.perf_counter())
            call = next(self._calls, None)
            if call is None:
                return
            connection = await self._ask(connection, call, int(due * 1e9))

    async def _ask(self, connection: Connection, call: Call, begin_ns: int) -> Connection:
        kind, asked = call
        try:
            status, _ = await connection.ask(asked)
        except OSError as error:
            self.happened.errors[f"{kind}: {type(error).__name__}"] += 1
            return await connect(self._port)
        if status < 300:
            self.happened.ns[kind].append(time.perf_counter_ns() - begin_ns)
        else:
            self.happened.errors[f"{kind}: {status}"] += 1
        self._answered += 1
        if self._rss_every and self._answered % self._rss_every == 0:
            self.happened.rss.append(resident_bytes(self._pid))
        return connection


def _calls(file: Path, token: str | None) -> Iterator[Call]:
    """The calls of a file, made into bytes before the clock starts."""
    made = []
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            call = json.loads(line)
            body = b"" if call["body"] is None else json.dumps(call["body"]).encode()
            made.append((call["kind"], request(call["method"], call["path"], body, token)))
    return iter(made)


def main() -> None:
    """Carries out the plan on standard input."""
    load = Load(json.loads(sys.stdin.readline()))
    uvloop.run(load.run())
    # a buffer of its own: without one, a pipe that is full would cut a long answer off
    with open(sys.stdout.fileno(), "wb", closefd=False) as out:
        out.write(json.dumps(load.happened.as_json()).encode())


if __name__ == "__main__":
    main()
