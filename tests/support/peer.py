"""Another process with the same store open: it does what it is told, one line of JSON each way."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, cast

import msgspec

from holdfast import HoldfastError, Memory

_ROOT = Path(__file__).parents[2]


class Peer:
    """This process's side; use with `with`."""

    def __init__(self, folder: Path) -> None:
        paths = os.pathsep.join(["tests", os.environ.get("PYTHONPATH", "")])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "support.peer", str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=_ROOT,
            env={**os.environ, "PYTHONPATH": paths},
        )

    def tell(self, calls: list[tuple[str, dict[str, Any]]], start_at: float = 0.0) -> None:
        """Make these calls of `Memory`, one after the other, from this time of the clock on."""
        line = msgspec.json.encode({"start_at": start_at, "calls": calls})
        stdin = cast("IO[bytes]", self._process.stdin)
        stdin.write(line + b"\n")
        stdin.flush()

    def hear(self) -> list[Any]:
        """What the calls told last returned; `{"code": ...}` for an error of Holdfast's."""
        line = cast("IO[bytes]", self._process.stdout).readline()
        assert line, f"the peer ended with {self._process.wait(10)}"
        return cast("list[Any]", msgspec.json.decode(line))

    def call(self, verb: str, **given: Any) -> Any:
        """One call, at once."""
        self.tell([(verb, given)])
        [result] = self.hear()
        assert not (isinstance(result, dict) and "code" in result), result
        return result

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            cast("IO[bytes]", pipe).close()
        assert self._process.wait(20) == 0


def main() -> None:
    """Serve until the other side hangs up."""
    with Memory({"path": sys.argv[1]}) as memory:
        for line in sys.stdin.buffer:
            told = msgspec.json.decode(line)
            time.sleep(max(0.0, told["start_at"] - time.time()))
            results = [_result(memory, verb, given) for verb, given in told["calls"]]
            sys.stdout.buffer.write(msgspec.json.encode(results) + b"\n")
            sys.stdout.buffer.flush()


def _result(memory: Memory, verb: str, given: dict[str, Any]) -> Any:
    try:
        return getattr(memory, verb)(**given)
    except HoldfastError as error:
        return {"code": error.code, "message": str(error)}


if __name__ == "__main__":
    main()
