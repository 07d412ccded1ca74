"""HTTP by hand on a socket, for what no client library would send."""

from __future__ import annotations

import json
import socket
import time
from types import TracebackType
from typing import Any, Self

from support.served import ADMIN_KEY


class Wire:
    """A connection to a server's URL."""

    def __init__(self, url: str, timeout_s: float = 20.0) -> None:
        host, port = url.removeprefix("http://").split(":")
        self.socket = socket.create_connection((host, int(port)), timeout_s)
        self._rest = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.socket.close()

    def send(self, data: bytes | str) -> None:
        self.socket.sendall(data.encode() if isinstance(data, str) else data)

    def drip(self, data: bytes, pause_s: float) -> bool:
        """Send byte by byte; False when the server had enough."""
        for byte in data:
            try:
                self.socket.sendall(bytes([byte]))
            except OSError:
                return False
            time.sleep(pause_s)
        return True

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of the next answer."""
        while b"\r\n\r\n" not in self._rest:
            self._more()
        head, _, self._rest = self._rest.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {
            name.lower(): value for name, _, value in (line.partition(": ") for line in lines)
        }
        size = int(headers.get("content-length", 0))
        while len(self._rest) < size:
            self._more()
        body, self._rest = self._rest[:size], self._rest[size:]
        return int(first.split()[1]), headers, body

    def closed(self, within_s: float) -> bool:
        """Whether the server closes the connection within this time."""
        self.socket.settimeout(within_s)
        try:
            while self.socket.recv(65_536):
                pass
        except TimeoutError:
            return False
        except ConnectionError:
            return True
        return True

    def _more(self) -> None:
        data = self.socket.recv(65_536)
        if not data:
            raise EOFError(f"the server closed; so far it said {self._rest!r}")
        self._rest += data


def request(method: str, path: str, body: Any = None, **headers: str) -> bytes:
    """A request as bytes, with the administrator's key."""
    data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: x", f"Authorization: Token {ADMIN_KEY}"]
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if body is not None:
        named = {"Content-Type": "application/json", "Content-Length": str(len(data)), **named}
    lines += [f"{name}: {value}" for name, value in named.items()]
    return "\r\n".join([*lines, "", ""]).encode() + data
