"""The parts of a fleet as real processes, each of which can be killed."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import httpx

from support.served import PLAIN

DEPLOY: Final = Path(__file__).parents[2] / "deploy"
ADMIN_KEY: Final = "the-admin-key-of-the-fleet"
_PATIENCE_S: Final = 60.0

NGINX: Final = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin") or ""
HAPROXY: Final = shutil.which("haproxy", path=f"{os.environ.get('PATH', '')}:/usr/sbin") or ""
REDIS: Final = shutil.which("redis-server") or ""


def free_port() -> int:
    """A port that nobody listens on."""
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port: int = free.getsockname()[1]
        return port


def listens(port: int) -> bool:
    """Whether somebody answers there."""
    try:
        socket.create_connection(("127.0.0.1", port), 0.5).close()
    except OSError:
        return False
    return True


class Machine:
    """A process that listens on a port, and can be killed and started again."""

    def __init__(
        self, name: str, words: Sequence[str], port: int, folder: Path, **environ: str
    ) -> None:
        self.name, self.port = name, port
        self._words, self._folder, self._environ = words, folder, environ
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / f"{name}.log"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self, ready: Callable[[], bool] | None = None) -> None:
        """Start it and wait until it listens."""
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(
                self._words,
                cwd=self._folder,
                env={**os.environ, **self._environ},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )
        self.await_up(ready)

    def await_up(self, ready: Callable[[], bool] | None = None) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        up = ready or (lambda: listens(self.port))
        while not up():
            assert self._process is not None
            assert self._process.poll() is None, f"{self.name} ended: {self.said}"
            assert time.monotonic() < deadline, f"{self.name} does not start: {self.said}"
            time.sleep(0.05)

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace")[-4_000:]

    def kill(self, sig: int = signal.SIGKILL) -> None:
        """End it, the hard way unless told otherwise."""
        if self._process is not None:
            if self._process.poll() is None:
                self._process.send_signal(sig)
            self._process.wait(30)
            self._process = None

    def signal(self, sig: int) -> None:
        """SIGSTOP and SIGCONT: a process that hangs, and does not any more."""
        assert self._process is not None
        self._process.send_signal(sig)


class Instance(Machine):
    """One `holdfast serve`, which is up when it says that it is ready."""

    def await_up(self, ready: Callable[[], bool] | None = None) -> None:
        super().await_up(ready or self._ready)

    def _ready(self) -> bool:
        try:
            answer = httpx.get(f"{self.url}/health/ready", verify=PLAIN, timeout=2.0)
        except httpx.TransportError:
            return False
        return answer.status_code == 200


def instance(number: int, folder: Path, environ: Mapping[str, str]) -> Machine:
    """One `holdfast serve`."""
    port = free_port()
    words = [sys.executable, "-m", "holdfast", "serve", "--port", str(port)]
    settings = {"HOLDFAST_ADMIN_KEY": ADMIN_KEY, "HOLDFAST_HOME": str(folder / "home"), **environ}
    return Instance(f"holdfast-{number}", words, port, folder, **settings)


def redis(folder: Path) -> Machine:
    """A Redis that keeps nothing."""
    port = free_port()
    words = [REDIS, "--port", str(port), "--save", "", "--bind", "127.0.0.1"]
    return Machine("redis", words, port, folder)


def nginx(folder: Path, instances: Sequence[Machine]) -> Machine:
    """The nginx that `deploy/nginx.conf` describes, before these instances."""
    port = free_port()
    config = _named(DEPLOY / "nginx.conf", instances).replace("listen 8080;", f"listen {port};")
    (folder / "nginx.conf").write_text(f"daemon off;\nuser {_user()};\n{config}")
    words = [NGINX, "-p", str(folder), "-c", str(folder / "nginx.conf")]
    return Machine("nginx", words, port, folder)


def haproxy(folder: Path, instances: Sequence[Machine]) -> Machine:
    """The HAProxy that `deploy/haproxy.cfg` describes, before these instances."""
    port = free_port()
    config = _named(DEPLOY / "haproxy.cfg", instances).replace(
        "bind :8081", f"bind 127.0.0.1:{port}"
    )
    (folder / "haproxy.cfg").write_text(config)
    return Machine("haproxy", [HAPROXY, "-db", "-f", str(folder / "haproxy.cfg")], port, folder)


def _named(file: Path, instances: Sequence[Machine]) -> str:
    """A configuration with the addresses of these instances in place of the names."""
    text = file.read_text()
    for number, one in enumerate(instances, 1):
        text, times = re.subn(rf"\bholdfast-{number}:8888\b", f"127.0.0.1:{one.port}", text)
        assert times == 1, f"{file.name} does not name instance {number} once"
    return text


def _user() -> str:
    import getpass

    return getpass.getuser()


def closing_all(machines: Sequence[Any]) -> None:
    """Kill every machine that is there."""
    for one in machines:
        one.kill()
