"""A client connection that costs the load generator as little as may be: HTTP/1.1, kept alive."""

from __future__ import annotations

import asyncio
import re
from typing import Any, cast

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_STATUS = slice(9, 12)


class Connection(asyncio.Protocol):
    """One request at a time; answers must tell their Content-Length, as JSON answers do."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._need: int | None = None
        self._waiting: asyncio.Future[tuple[int, bytes]] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by its class

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._need is None:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            told = _LENGTH.search(self._buffer, 0, end)
            self._need = end + 4 + (int(told[1]) if told else 0)
        if len(self._buffer) < self._need or self._waiting is None:
            return
        answer, self._waiting = self._waiting, None
        head = self._buffer.find(b"\r\n\r\n") + 4
        status, body = int(self._buffer[_STATUS]), bytes(self._buffer[head : self._need])
        del self._buffer[: self._need]
        self._need = None
        answer.set_result((status, body))

    def connection_lost(self, error: Exception | None) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(error or ConnectionResetError("the server hung up"))

    def ask(self, request: bytes) -> asyncio.Future[tuple[int, bytes]]:
        """Sends a whole request; its status and body, or OSError if the connection breaks."""
        assert self._transport is not None
        self._waiting = asyncio.get_running_loop().create_future()
        if self._transport.is_closing():
            self._waiting.set_exception(ConnectionResetError("the server hung up"))
        else:
            self._transport.write(request)
        return self._waiting

    def close(self) -> None:
        """Hangs up."""
        if self._transport is not None:
            self._transport.close()


async def connect(port: int) -> Connection:
    """A connection to a server on this machine."""
    made: Any = await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", port)
    connection: Connection = made[1]
    return connection


def request(method: str, path: str, body: bytes, token: str | None = None) -> bytes:
    """The bytes of a request with a JSON body."""
    head = [f"{method} {path} HTTP/1.1", "host: 127.0.0.1", "content-type: application/json"]
    if token:
        head.append(f"authorization: Token {token}")
    head.append(f"content-length: {len(body)}")
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body
