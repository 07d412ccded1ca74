"""Real Redis servers on free ports of this machine, for one test or one module each."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

BINARY = shutil.which("redis-server") or ""
MISSING = "redis-server is not installed: apt-get install redis-server"
_START_S = 15.0


def free_port() -> int:
    """A port nobody listens on now."""
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        return int(free.getsockname()[1])


class Redis:
    """One server; `options` are those of its command line."""

    def __init__(self, folder: Path, *options: str, port: int = 0, sentinel: Path | None = None):
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.port = port or free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._options = options
        self._sentinel = sentinel
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        place = ("--dir", str(self.folder), "--bind", "127.0.0.1", "--save", "")
        if self._sentinel is not None:
            command = [BINARY, str(self._sentinel), "--sentinel"]
        else:
            plain = "0" if "--tls-port" in self._options else str(self.port)
            command = [BINARY, "--port", plain, *place, *self._options]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + _START_S
        while not self._answers():
            assert time.monotonic() < deadline, "redis-server does not start"
            time.sleep(0.02)

    def _answers(self) -> bool:
        tls = "--tls-port" in self._options
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as line:
                if tls:
                    return True
                line.sendall(b"PING\r\n")
                return line.recv(64).startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False

    def say(self, *words: str) -> bytes:
        """What it answers to a command, as it comes over the line."""
        with socket.create_connection(("127.0.0.1", self.port), 5) as line:
            parts = [f"*{len(words)}\r\n", *(f"${len(w.encode())}\r\n{w}\r\n" for w in words)]
            line.sendall("".join(parts).encode())
            return line.recv(1 << 20)

    def held(self) -> list[bytes]:
        """Every key it holds."""
        lines = self.say("KEYS", "*").split(b"\r\n")[1:]
        return [line for line in lines if line and line[:1] != b"$"]

    def calls(self) -> int:
        """Commands it has carried out that read, write or run a script for a client."""
        stats = self.say("INFO", "commandstats").decode()
        counted = ("cmdstat_mget", "cmdstat_get:", "cmdstat_set:", "cmdstat_eval", "cmdstat_unlink")
        lines = [line for line in stats.splitlines() if line.startswith(counted)]
        return sum(int(line.partition("calls=")[2].partition(",")[0]) for line in lines)

    def freeze(self) -> None:
        """Let it hang: it keeps its connections and answers nothing."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)

    def kill(self) -> None:
        """End it at once; what it held is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None


@contextmanager
def running(servers: Sequence[Redis]) -> Iterator[None]:
    """Start these, and end them whatever comes."""
    try:
        for server in servers:
            server.start()
        yield
    finally:
        for server in servers:
            server.kill()
