"""The parent's end of a worker: start it, send it commands, give up on it after a time."""

from __future__ import annotations

import json
import selectors
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sidebyside import environments

CALL_TIMEOUT_S = 300.0
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 20.0
LOG_TAIL_LINES = 3


class ContenderError(Exception):
    """A contender failed or took too long; the message holds the end of what it wrote."""


class WorkerProcess:
    """A contender's process; one command at a time. Use as a context manager."""

    def __init__(self, name: str, home: Path, turns_file: Path) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.name = name
        self._log = home / "worker.log"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [
                    str(environments.interpreter(name)),
                    *("-m", "sidebyside.worker", name, str(home), str(turns_file)),
                ],
                env=environments.variables(name, home),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def call(
        self, command: str, timeout_s: float = CALL_TIMEOUT_S, **arguments: Any
    ) -> dict[str, Any]:
        """Has the worker carry out a command and gives its answer.

        Raises:
            ContenderError: it ended, or did not answer within `timeout_s` (it is killed then).
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps([command, arguments]) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise ContenderError(self._reason(command)) from error
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if not selector.select(timeout_s):
                self._process.kill()
                raise ContenderError(f"{self.name} {command}: no answer in {timeout_s:.0f} s")
        line = self._process.stdout.readline()
        if not line:
            raise ContenderError(self._reason(command))
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _reason(self, command: str) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return f"{self.name} {command}: " + " / ".join(lines[-LOG_TAIL_LINES:])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Ends the process: its input is closed, and it is killed if it does not stop."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.close()
            self._process.wait(STOP_TIMEOUT_S)
        except (subprocess.TimeoutExpired, BrokenPipeError):
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


def start_times(name: str, home: Path) -> list[float]:
    """Seconds of import, first construction, first add and first search in a fresh process.

    Raises:
        ContenderError: the process failed.
    """
    home.mkdir(parents=True, exist_ok=True)
    try:
        done = subprocess.run(
            [str(environments.interpreter(name)), "-m", "sidebyside.start", name, str(home)],
            env=environments.variables(name, home),
            capture_output=True,
            text=True,
            timeout=START_TIMEOUT_S,
            check=True,
        )
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip().splitlines() or ["no message"])[-LOG_TAIL_LINES:]
        raise ContenderError(f"{name} start: " + " / ".join(last)) from error
    except subprocess.TimeoutExpired as error:
        raise ContenderError(f"{name} start: not done in {START_TIMEOUT_S:.0f} s") from error
    return [float(value) for value in done.stdout.strip().splitlines()[-1].split()]
