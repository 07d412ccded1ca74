"""Starts victims in a fraction of a millisecond: a process that imported everything and forks.

It runs no threads (checked before every fork), so that its children inherit none. Its master sends
an order and the write end of a pipe; it answers with the child's process id. A dead child stays a
zombie until its master asks for its status, so that its id means nobody else meanwhile.
"""

from __future__ import annotations

import importlib
import os
import signal
import socket
import subprocess
import sys
import traceback
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.crash.orders import Order, decode_order, encode

_ROOT = Path(__file__).parents[2]
_MESSAGE_BYTES = 1 << 20


class Zygote:
    """The master's side; use with `with`."""

    def __init__(self, victim: str = "tests.crash.victim") -> None:
        """`victim`: the module whose `live` its children run."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _MESSAGE_BYTES)
        paths = [str(_ROOT), str(_ROOT / "tests"), os.environ.get("PYTHONPATH", "")]
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.crash.zygote", str(theirs.fileno()), victim],
                pass_fds=[theirs.fileno()],
                cwd=_ROOT,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
            )
        self._socket = ours

    def start(self, order: Order) -> tuple[int, int]:
        """A new victim's process id and the read end of what it says."""
        reading, writing = os.pipe()
        socket.send_fds(self._socket, [encode(order)], [writing])
        os.close(writing)
        return int(self._socket.recv(64)), reading

    def bury(self, pid: int) -> int:
        """Wait for a victim's end: the negative signal that killed it, or its exit code."""
        self._socket.send(b"%d" % pid)
        return int(self._socket.recv(64))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()
        self._process.wait(10)


def _serve(master: socket.socket, victim: str) -> None:
    """Fork a victim for every order, until the master is gone."""
    while True:
        data, files, _, _ = socket.recv_fds(master, _MESSAGE_BYTES, 1)
        if not data:
            return
        if not files:
            _, status = os.waitpid(int(data), 0)
            master.send(b"%d" % os.waitstatus_to_exitcode(status))
            continue
        threads = len(os.listdir("/proc/self/task"))
        if threads != 1:
            raise RuntimeError(f"the zygote has {threads} threads; a fork would lose them")
        pid = os.fork()
        if pid == 0:
            master.close()
            _become_victim(victim, decode_order(data), files[0])
        os.close(files[0])
        master.send(b"%d" % pid)


def _become_victim(victim: str, order: Order, out: int) -> None:
    code = 1
    try:
        code = importlib.import_module(victim).live(order, out)
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        sys.stderr.flush()
        os._exit(code)


def _preload(victim: str) -> None:
    """Import whatever a victim needs, migrations included."""
    import alembic.autogenerate
    import alembic.command
    import sqlalchemy.dialects.sqlite

    import holdfast.backends.schema
    from holdfast.core.text import analyze, analyze_query

    analyze("warm", actor=None, role="user", key=b"")
    module = importlib.import_module(victim)
    assert all((alembic, sqlalchemy, holdfast, module, analyze_query))


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _preload(sys.argv[2])
    _serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2])
