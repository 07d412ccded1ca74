"""`holdfast serve` and `holdfast worker` as processes of their own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

ADMIN_KEY = "the-admin-key-of-the-tests"
PATIENCE_S = 60.0


class Running:
    """A process and what it said on standard error, which is read all the time."""

    def __init__(self, *words: str, home: Path, environ: Mapping[str, str] | None = None) -> None:
        environment = {
            **os.environ,
            "HOLDFAST_HOME": str(home),
            "PYTHONUNBUFFERED": "1",
            **(environ or {}),
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "holdfast", *words],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
        )
        self._lines: list[str] = []
        self._said = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._said:
                self._lines.append(line)
                self._said.notify_all()

    @property
    def said(self) -> str:
        with self._said:
            return "".join(self._lines)

    def hear(self, pattern: str, timeout_s: float = PATIENCE_S) -> re.Match[str]:
        """Wait until it says something; the match."""
        deadline = time.monotonic() + timeout_s
        with self._said:
            while not (found := re.search(pattern, "".join(self._lines))):
                left = deadline - time.monotonic()
                assert left > 0, f"never said {pattern!r}: {''.join(self._lines)}"
                assert self.process.poll() is None or self._reader.is_alive(), self._lines
                self._said.wait(min(left, 0.2))
        return found

    @property
    def url(self) -> str:
        """Where it listens."""
        return self.hear(r"address +(https?://\S+)").group(1)

    def send(self, sig: int) -> None:
        self.process.send_signal(sig)

    def wait(self, timeout_s: float = PATIENCE_S) -> int:
        """Its exit code."""
        code = self.process.wait(timeout_s)
        self._reader.join(5)
        return code

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
        self._reader.join(5)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()


@contextmanager
def running(
    *words: str,
    home: Path,
    settings: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Iterator[Running]:
    """Start a command with these settings in a file; killed at the end if it is still there."""
    options: list[str] = []
    if settings is not None:
        file = home / "settings.json"
        home.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(settings))
        options = ["--config", str(file.rename(file.with_suffix(".yaml")))]  # JSON is YAML
    started = Running(*words, *options, home=home, environ=environ)
    try:
        yield started
    finally:
        started.end()


def talker(url: str, key: str = ADMIN_KEY, **more: Any) -> httpx.Client:
    """A client with a key."""
    return httpx.Client(
        base_url=url, headers={"Authorization": f"Token {key}"}, timeout=PATIENCE_S, **more
    )
