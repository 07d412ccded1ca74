"""Keeps a Python process off the network: only loopback and Unix sockets may be reached.

`tests/conftest.py` installs it for the tests, and puts this folder on PYTHONPATH so that every
Python the tests start loads it by itself under this name. An audit hook sees every connection that
Python makes, whatever library asks for it, and cannot be taken off again.

HOLDFAST_TEST_REACHES makes it strict: a process may reach, and listen at, these `host:port` only,
not even others of this machine. HOLDFAST_TEST_SOCKETS names a file to which every attempt is
added, whether let through or not, so that one whose error is swallowed is seen too.
HOLDFAST_TEST_ONLINE=1 lets everything through, for the tests that ask real services.
"""

from __future__ import annotations

import ipaddress
import os
import sys

attempts: list[str] = []
"""Addresses somebody tried to reach. Kept because a library may swallow the error."""

_ONLINE = os.environ.get("HOLDFAST_TEST_ONLINE") == "1"
_REACHES = os.environ.get("HOLDFAST_TEST_REACHES")
_SOCKETS = os.environ.get("HOLDFAST_TEST_SOCKETS")
_LOCAL = ("", "localhost", "127.", "::1", "0.0.0.0")
_TO_ADDRESS = ("socket.connect", "socket.sendto", "socket.sendmsg")
_TO_NAME = ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr")


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
    if event in _TO_ADDRESS:
        address = args[1]
        return address[0] if isinstance(address, tuple) else None
    if event in _TO_NAME:
        return args[0]
    return None


def _audit(event: str, args: tuple[object, ...]) -> None:
    if not event.startswith("socket.") or _ONLINE:
        return
    if _REACHES is not None:
        _strict(event, args, _REACHES.split(","))
        return
    host = _host(event, args)
    if not is_local(host):
        attempts.append(f"{event} {host!r}")
        raise NetworkBlockedError(f"{event} to {host!r}: tests reach only this machine")


def _strict(event: str, args: tuple[object, ...], reaches: list[str]) -> None:
    """Note what a process reaches for, and stop it where that was not configured."""
    if event in (*_TO_ADDRESS, "socket.bind"):
        address = args[1]
        if address is None:  # a message on a connection that was made before
            return
        place = f"{address[0]}:{address[1]}" if isinstance(address, tuple) else repr(address)
        allowed = place in reaches
    elif event in _TO_NAME:
        place = str(args[0])
        allowed = args[0] is None or _is_number(place)  # nobody is asked for these
        if allowed:
            return
    else:
        return
    if _SOCKETS is not None:
        with open(_SOCKETS, "a", encoding="utf-8") as file:
            file.write(f"{event.removeprefix('socket.')} {place}\n")
    if not allowed:
        attempts.append(f"{event} {place}")
        raise NetworkBlockedError(f"{event} to {place}: that was not configured")


def _is_number(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


_first = sys.modules.get("sitecustomize")
if _first is not None and __name__ != "sitecustomize" and hasattr(_first, "NetworkBlockedError"):
    # a worker of pytest-xdist has loaded this file at its start: one hook, one list
    attempts, NetworkBlockedError = _first.attempts, _first.NetworkBlockedError
else:
    sys.addaudithook(_audit)
