"""Keeps a Python process off the network: only loopback and Unix sockets may be reached.

`tests/conftest.py` installs it for the tests, and puts this folder on PYTHONPATH so that every
Python the tests start loads it by itself under this name. An audit hook sees every connection,
whatever library makes it, and cannot be taken off again. HOLDFAST_TEST_ONLINE=1 lets everything
through, for the tests that ask real services.
"""

from __future__ import annotations

import os
import sys

attempts: list[str] = []
"""Addresses somebody tried to reach. Kept because a library may swallow the error."""

_ONLINE = os.environ.get("HOLDFAST_TEST_ONLINE") == "1"
_LOCAL = ("", "localhost", "127.", "::1", "0.0.0.0")


class NetworkBlockedError(RuntimeError):
    """Somebody tried to leave this machine during a test."""


def is_local(host: object) -> bool:
    """Whether an address stays on this machine; names other than localhost do not."""
    if host is None:
        return True
    if isinstance(host, bytes):
        host = host.decode("ascii", "replace")
    if not isinstance(host, str):
        return False
    return host in _LOCAL or host.startswith("127.")


def _host(event: str, args: tuple[object, ...]) -> object:
    """The host an audit event is about; None if it stays on this machine."""
    if event in ("socket.connect", "socket.sendto"):
        address = args[1]
        return address[0] if isinstance(address, tuple) else None
    if event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
        return args[0]
    return None


def _audit(event: str, args: tuple[object, ...]) -> None:
    if not event.startswith("socket.") or _ONLINE:
        return
    host = _host(event, args)
    if not is_local(host):
        attempts.append(f"{event} {host!r}")
        raise NetworkBlockedError(f"{event} to {host!r}: tests reach only this machine")


_first = sys.modules.get("sitecustomize")
if _first is not None and __name__ != "sitecustomize" and hasattr(_first, "NetworkBlockedError"):
    # a worker of pytest-xdist has loaded this file at its start: one hook, one list
    attempts, NetworkBlockedError = _first.attempts, _first.NetworkBlockedError
else:
    sys.addaudithook(_audit)
