"""Processes that may reach only what is named, and what they reached for.

Two witnesses: the audit hook of `offline/sitecustomize.py`, which also stops what it sees, and,
where `strace` is installed, the system calls themselves. Code in C makes connections that no audit
hook is told of: uvloop, libpq, gRPC.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

_CALLS = ("bind", "connect", "sendto", "sendmsg", "sendmmsg")
_CALL = re.compile(rf"\b({'|'.join(_CALLS)})\((.*)")
_ADDRESS = re.compile(
    r'sin6?_port=htons\((\d+)\).*?(?:inet_addr\("([^"]+)"\)|inet_pton\(AF_INET6, "([^"]+)")'
)


@cache
def traceable() -> bool:
    """Whether the system calls of a process can be seen here."""
    if shutil.which("strace") is None:
        return False
    return (
        subprocess.run(["strace", "-qq", "true"], check=False, capture_output=True).returncode == 0
    )


def told(trace: str) -> set[str]:
    """The addresses in what strace wrote, as `call host:port`, without families that stay inside.

    A datagram socket that is connected to ask the system for a route sends nothing; it is told too.
    """
    found = set()
    for line in trace.splitlines():
        if (call := _CALL.search(line)) and (address := _ADDRESS.search(call.group(2))):
            port, four, six = address.groups()
            found.add(f"{call.group(1)} {four or six}:{port}")
    return found


class Watched:
    """A process that is watched, and its two records."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self.process = process
        self._folder = folder

    def ended(self, timeout_s: float = 120.0) -> str:
        """Wait for its good end; what it printed."""
        out, err = self.process.communicate(timeout=timeout_s)
        assert self.process.returncode == 0, f"{out}\n{err}"
        return out

    @property
    def sockets(self) -> set[str]:
        """What it reached for or listened at, as `call host:port`."""
        return self._read("sockets") | {*told("\n".join(self._read("trace")))}

    @property
    def asked_of_python(self) -> set[str]:
        """The part of it that went through Python's own sockets."""
        return self._read("sockets")

    def _read(self, name: str) -> set[str]:
        file = self._folder / name
        return set(file.read_text("utf-8").splitlines()) if file.exists() else set()


@contextmanager
def watched(
    command: Sequence[str],
    folder: Path,
    *,
    reaches: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
    trace: bool = True,
) -> Iterator[Watched]:
    """Start Python with this command line; it may reach these `host:port` and nothing else."""
    environment = {
        **os.environ,
        "HOLDFAST_HOME": str(folder / "home"),
        "HOLDFAST_TEST_REACHES": ",".join(reaches),
        "HOLDFAST_TEST_SOCKETS": str(folder / "sockets"),
        **(environ or {}),
    }
    calls = f"trace={','.join(_CALLS)}"
    # -D: the process that is begun is Python itself, so that signals and its end are its own
    tracer = ["strace", "-D", "-f", "-qq", "-e", calls, "-o", str(folder / "trace")]
    process = subprocess.Popen(
        [*(tracer if trace and traceable() else []), sys.executable, *command],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield Watched(process, folder)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
